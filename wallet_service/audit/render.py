"""Statements as text for people and programs, written row by row."""

from collections.abc import Iterator
from typing import Any

import orjson

from wallet_service.audit.statement import StatementRow
from wallet_service.audit.writing import csv_line, stored_moment, sum_of, unit_of
from wallet_service.ledger.commands import AccountKey

_COLUMNS = ("sequence", "time", "kind", "counterparty", "description", "amount", "balance")
_TABLE = (
    "{sequence:>8}  {time:<24}  {kind:<10}  {counterparty:<24}  {amount:>18}  {balance:>18}"
    "  {description}"
)


def render(key: AccountKey, rows: Iterator[StatementRow], text_format: str) -> Iterator[str]:
    """Write a statement as `table`, `csv` or `json`, piece by piece."""
    records = (_record(key, row) for row in rows)
    if text_format == "json":
        yield from _json(key, records)
    elif text_format == "csv":
        yield csv_line(_COLUMNS)
        for record in records:
            yield csv_line([record[column] for column in _COLUMNS])
    else:
        yield f"{key.user_id}, {unit_of(key.currency_code)}, times in UTC\n"
        yield _TABLE.format(**dict(zip(_COLUMNS, _COLUMNS, strict=True))).rstrip() + "\n"
        for record in records:
            shown = {name: "" if value is None else value for name, value in record.items()}
            shown["description"] = _on_one_line(record["description"])
            yield _TABLE.format(**shown).rstrip() + "\n"


def _json(key: AccountKey, records: Iterator[dict[str, Any]]) -> Iterator[str]:
    opening = next(records)
    head = {**key._asdict(), "opening_balance": opening["balance"]}
    yield orjson.dumps(head).decode()[:-1] + ',"lines":['
    separator = ""
    for record in records:
        if record["kind"] == "CLOSING":
            closing = orjson.dumps(record["balance"]).decode()
            yield f'],"closing_balance":{closing}}}\n'
        else:
            yield separator + orjson.dumps(record).decode()
            separator = ","


def _record(key: AccountKey, row: StatementRow) -> dict[str, Any]:
    amount = None if row.amount_minor is None else sum_of(row.amount_minor, key.currency_code)
    return {
        "sequence": row.sequence,
        "time": None if row.time is None else _time(key, row.sequence, row.time),
        "kind": row.kind,
        "counterparty": row.counterparty,
        "description": row.description,
        "amount": amount,
        "balance": sum_of(row.balance_minor, key.currency_code),
    }


def _on_one_line(text: str) -> str:
    """Leave out what would break a table, or move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _time(key: AccountKey, sequence: int | None, time_us: int) -> str:
    row = f"entries {key.user_id}/{key.currency_code} #{sequence}"
    moment = stored_moment(time_us, row=row, column="created_at")
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
