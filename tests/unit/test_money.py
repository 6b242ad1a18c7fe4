"""Money is counted in integers and written as an exact decimal."""

from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from wallet_service.ledger.money import (
    AMOUNT_MINOR_MAX,
    BALANCE_MINOR_MAX,
    EXPONENTS,
    decimal,
)


@pytest.mark.parametrize(
    ("amount_minor", "currency_code", "written"),
    [
        (10_100, "RUB", "101.00"),
        (0, "RUB", "0.00"),
        (1, "RUB", "0.01"),
        (99, "RUB", "0.99"),
        (100, "RUB", "1.00"),
        (-1, "RUB", "-0.01"),
        (-12_345, "RUB", "-123.45"),
        (7, "JPY", "7"),
        (0, "JPY", "0"),
        (-7, "JPY", "-7"),
        (-5, "KWD", "-0.005"),
        (1_000, "KWD", "1.000"),
        (1, "CLF", "0.0001"),
        (2**63 - 1, "RUB", "92233720368547758.07"),
        (-(2**63), "KWD", "-9223372036854775.808"),
        (10**30 + 1, "RUB", f"1{'0' * 28}.01"),
    ],
)
def test_minor_units_are_written_as_major_units(
    amount_minor: int, currency_code: str, written: str
) -> None:
    assert decimal(amount_minor, currency_code) == written


@given(st.integers(-(2**70), 2**70), st.sampled_from(sorted(EXPONENTS)))
def test_what_is_written_is_exact(amount_minor: int, currency_code: str) -> None:
    written = decimal(amount_minor, currency_code)

    sign, digits, exponent = Decimal(written).as_tuple()
    assert exponent == -EXPONENTS[currency_code]
    assert (-1) ** sign * int("".join(map(str, digits))) == amount_minor


@pytest.mark.parametrize(
    ("currency_code", "exponent"),
    [("RUB", 2), ("USD", 2), ("EUR", 2), ("JPY", 0), ("KWD", 3), ("BHD", 3), ("CLF", 4)],
)
def test_exponents_are_those_of_the_standard(currency_code: str, exponent: int) -> None:
    assert EXPONENTS[currency_code] == exponent


@pytest.mark.parametrize("code", ["XAU", "XAG", "XDR", "XTS", "XXX", "rub", "", "RUR", "ABC"])
def test_metals_and_made_up_codes_are_no_currency(code: str) -> None:
    assert code not in EXPONENTS


def test_every_sum_that_can_arise_fits_64_bits() -> None:
    assert BALANCE_MINOR_MAX + AMOUNT_MINOR_MAX < 2**63
