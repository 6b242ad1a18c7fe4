"""The shape of every field of a request; all that is wrong with one is told at once."""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from wallet_service.ledger.errors import CurrencyUnsupported, ValidationFailed, Violation
from wallet_service.ledger.money import AMOUNT_MINOR_MAX, BALANCE_MINOR_MAX, EXPONENTS

REQUEST_ID_LENGTH_MAX = 128
DESCRIPTION_LENGTH_MAX = 256
METADATA_PAIRS_MAX = 32
METADATA_KEY_LENGTH_MAX = 64
METADATA_VALUE_LENGTH_MAX = 256

#: Violations named in one answer: more would not fit the trailers it travels in.
VIOLATIONS_MAX = 12
#: What is shown of a currency code that is none.
_CURRENCY_SHOWN_MAX = 16

_REQUEST_ID = re.compile(rf"[!-~]{{1,{REQUEST_ID_LENGTH_MAX}}}")
USER_ID_RULE = "must be 1 to 128 visible ASCII characters and not begin with '@'"
_USER_ID = re.compile(r"[!-?A-~][!-~]{0,127}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def is_user_id(text: str) -> bool:
    """Tell whether a user may be named so. `@…` are the service's own names."""
    return _USER_ID.fullmatch(text) is not None


def is_id(text: str) -> bool:
    """Tell whether this is a UUID; the ledger writes them in lower case, but reads either."""
    return _UUID.fullmatch(text) is not None


class Validation:
    """
    Collects what is wrong with one request; `finish` raises it.

    Args:
        prefix: Where the request stands within a larger one, "operations[3].transfer.".
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._violations: list[Violation] = []
        self._currency_error: CurrencyUnsupported | None = None

    def require(self, field: str, description: str, *, holds: bool) -> None:
        """Note a violation unless a field's rule holds."""
        if not holds:
            self._violations.append(Violation(self._prefix + field, description))

    def user_id(self, field: str, text: str, *, may_be_empty: bool) -> None:
        """Check a user's name."""
        if not (is_user_id(text) or (may_be_empty and not text)):
            self.require(field, USER_ID_RULE, holds=False)

    def request_id(self, field: str, text: str) -> None:
        """Check a caller's own name for a request."""
        if not _REQUEST_ID.fullmatch(text):
            rule = (
                "must be 1 to 128 visible ASCII characters, made by the caller and kept for retries"
            )
            self.require(field, rule, holds=False)

    def transaction_id(self, field: str, text: str) -> None:
        """Check the ledger's name of a transaction or hold."""
        self.require(field, "must be a UUID", holds=is_id(text))

    def amount_minor(self, field: str, amount_minor: int) -> None:
        """Check how much is to be moved."""
        if not 1 <= amount_minor <= AMOUNT_MINOR_MAX:
            text = f"must be 1 to {AMOUNT_MINOR_MAX} minor units, not {amount_minor}"
            self.require(field, text, holds=False)

    def balance_minor(self, field: str, balance_minor: int) -> None:
        """Check a sum that an account's balance is compared to."""
        self.require(
            field,
            f"must be within ±{BALANCE_MINOR_MAX} minor units, not {balance_minor}",
            holds=abs(balance_minor) <= BALANCE_MINOR_MAX,
        )

    def not_negative(self, field: str, number: int) -> None:
        """Check a count or sequence."""
        self.require(field, "must not be negative", holds=number >= 0)

    def known(self, field: str, value: int, enum: Any) -> None:
        """Check that a number is one of an enum's; 0 is its unspecified value."""
        if value not in enum.DESCRIPTOR.values_by_number:
            self.require(field, f"must be a known value, not {value}", holds=False)

    def names(self, field: str, values: Sequence[int], enum: Any) -> list[str]:
        """Check that numbers are an enum's, but not its unspecified one; return their names."""
        by_number = enum.DESCRIPTOR.values_by_number
        if len(values) > len(by_number):
            self.require(field, f"must be at most {len(by_number)} values", holds=False)
            return []
        known = {value for value in values if value in by_number and value != 0}
        unknown = ((index, value) for index, value in enumerate(values) if value not in known)
        for index, value in itertools.islice(unknown, VIOLATIONS_MAX):
            self.require(f"{field}[{index}]", f"must be a known value, not {value}", holds=False)
        return [by_number[value].name for value in sorted(known)]

    def currency_code(self, field: str, code: str) -> None:
        """Check that a currency exists."""
        if code not in EXPONENTS:
            self._currency_error = CurrencyUnsupported(
                field=self._prefix + field, currency_code=code[:_CURRENCY_SHOWN_MAX]
            )

    def same_currency(self, field: str, code: str, currency_code: str) -> None:
        """Check that a sum beside the request's own is in its currency, or names none."""
        self.require(
            f"{field}.currency_code",
            f"must be {currency_code[:_CURRENCY_SHOWN_MAX]} or empty",
            holds=code in {"", currency_code},
        )

    def description(self, field: str, text: str) -> None:
        """Check words for people."""
        self.require(
            field,
            f"must be at most {DESCRIPTION_LENGTH_MAX} characters without NUL",
            holds=len(text) <= DESCRIPTION_LENGTH_MAX and "\0" not in text,
        )

    def metadata(self, field: str, labels: Mapping[str, str]) -> None:
        """Check labels."""
        self.require(
            field,
            f"must be at most {METADATA_PAIRS_MAX} pairs",
            holds=len(labels) <= METADATA_PAIRS_MAX,
        )
        self.require(
            field,
            f"keys must be 1 to {METADATA_KEY_LENGTH_MAX} characters without NUL",
            holds=all(
                0 < len(key) <= METADATA_KEY_LENGTH_MAX and "\0" not in key for key in labels
            ),
        )
        self.require(
            field,
            f"values must be at most {METADATA_VALUE_LENGTH_MAX} characters without NUL",
            holds=all(
                len(value) <= METADATA_VALUE_LENGTH_MAX and "\0" not in value
                for value in labels.values()
            ),
        )

    def finish(self) -> None:
        """
        Pass a request on if nothing is wrong with it.

        Raises:
            ValidationFailed: Fields are; it names them all, up to `VIOLATIONS_MAX`.

            CurrencyUnsupported: Only the currency is.
        """
        if self._violations and self._currency_error:
            field = str(self._currency_error.values["field"])
            self.require(field, "must be a current ISO 4217 currency code", holds=False)
        if self._violations:
            raise ValidationFailed(self._violations[:VIOLATIONS_MAX])
        if self._currency_error:
            raise self._currency_error
