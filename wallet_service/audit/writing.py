"""How sums, times and lines are written, in whatever the audit prints."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from wallet_service.ledger.errors import LedgerCorrupt
from wallet_service.ledger.money import EXPONENTS, decimal

_US = 1_000_000


def sum_of(amount_minor: int, currency_code: str) -> str:
    """Write a sum in the unit of its currency that `unit_of` names."""
    # What was recorded is shown for ever, also once its currency is no longer current.
    if currency_code not in EXPONENTS:
        return str(amount_minor)
    return decimal(amount_minor, currency_code)


def unit_of(currency_code: str) -> str:
    """Name what sums are counted in: "RUB", or "BGN-MINOR" where nobody knows its digits now."""
    return currency_code if currency_code in EXPONENTS else f"{currency_code}-MINOR"


def moment_of(time_us: int) -> datetime:
    """Return a time that is given in microseconds since 1970."""
    return datetime.fromtimestamp(time_us // _US, UTC) + timedelta(microseconds=time_us % _US)


def stored_moment(time_us: int, *, row: str, column: str) -> datetime:
    """Return a time as `moment_of`; raises `LedgerCorrupt` for one that no calendar has."""
    try:
        return moment_of(time_us)
    except (ValueError, OverflowError) as error:
        raise LedgerCorrupt(row=row, problem=f"{column} {time_us} is beyond all years") from error


def csv_line(values: Sequence[Any]) -> str:
    """Write one line of CSV."""
    line = io.StringIO()
    csv.writer(line).writerow(values)  # with its own line end, or one within a value is not quoted
    return line.getvalue().removesuffix("\r\n") + "\n"
