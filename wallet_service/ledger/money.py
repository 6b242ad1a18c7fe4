"""
Money as integers of minor units: limits, currencies, and their decimal form.

Exponents come from the ISO 4217 tables as published by its maintenance agency (package `iso4217`).
"""

from iso4217 import Currency

#: The most one operation may move, in minor units.
AMOUNT_MINOR_MAX = 10**15

#: The most an account may hold, in minor units: with one more operation it still fits 64 bits.
BALANCE_MINOR_MAX = 9 * 10**18

#: Digits after the decimal point by currency code; gold and its like have none and are no money
#: here.
EXPONENTS: dict[str, int] = {
    currency.code: currency.exponent for currency in Currency if currency.exponent is not None
}


def decimal(amount_minor: int, currency_code: str) -> str:
    """
    Write minor units as an exact decimal of major units.

    Args:
        amount_minor: Any integer.

        currency_code: A key of `EXPONENTS`.

    Returns:
        10100 RUB as "101.00", 7 JPY as "7", -5 KWD as "-0.005".
    """
    exponent = EXPONENTS[currency_code]
    if exponent == 0:
        return str(amount_minor)
    digits = str(amount_minor).zfill(exponent + (2 if amount_minor < 0 else 1))
    return f"{digits[:-exponent]}.{digits[-exponent:]}"
