"""
Find values that nobody of ours stored.

A column of PostgreSQL takes values of its type only. One of SQLite takes any, and over some of them
the driver stumbles, without a word on where they are.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    LargeBinary,
    Select,
    Table,
    Text,
    Uuid,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    type_coerce,
)

from wallet_service.storage.dialect import OddValue
from wallet_service.storage.schema import metadata

_ID_DIGITS = 32


def find_odd_value(connection: Connection, *, ids_only: bool = False) -> OddValue | None:
    """Return a value that is not stored as its column's type is; None if there is none."""
    for table in metadata.sorted_tables:
        columns = [each for each in table.columns if isinstance(each.type, Uuid) or not ids_only]
        if not columns:
            continue
        row = connection.execute(_odd_rows(table, columns).limit(1)).first()
        if row:
            *key, name = row
            return OddValue(_row_name(table, key), f"{name} is not {_wanted(table.c[name])}")
    return None


def _odd_rows(table: Table, columns: Sequence[Column[Any]]) -> Select[Any]:
    """Select the keys of rows that have such a value in some columns, and the column's name."""
    odd = [(_is_odd(column), literal(column.name)) for column in columns]
    keys: list[ColumnElement[Any]] = [type_coerce(each, Text) for each in table.primary_key]
    return select(*keys, case(*odd)).where(or_(*(is_odd for is_odd, _ in odd)))


def _is_odd(column: Column[Any]) -> ColumnElement[bool]:
    text = type_coerce(column, Text)
    match column.type:
        case BigInteger():
            return _is_no("integer", column)
        case LargeBinary():
            return _is_no("blob", column)
        case JSON():
            is_broken = and_(text.is_not(None), func.json_valid(text) == 0)
            return or_(_is_no("text", column), is_broken, _has_nul(text))
        case Uuid():
            return or_(
                _is_no("text", column),
                text.bool_op("NOT GLOB")("[0-9a-f]" * _ID_DIGITS),
                _has_nul(text),
            )
    return _is_no("text", column)


def _is_no(kind: str, column: Column[Any]) -> ColumnElement[bool]:
    return func.typeof(column).not_in([kind, "null"])


def _has_nul(text: ColumnElement[str]) -> ColumnElement[bool]:
    """Tell whether a text has a NUL, past which SQLite's own functions do not look."""
    return func.instr(text, func.char(0)) > 0


def _wanted(column: Column[Any]) -> str:
    match column.type:
        case BigInteger():
            return "an integer"
        case LargeBinary():
            return "bytes"
        case JSON():
            return "JSON"
        case Uuid():
            return f"{_ID_DIGITS} lower-case hexadecimal digits"
    return "text"


def _row_name(table: Table, key: list[Any]) -> str:
    match key:
        case [stored_id]:
            return f"{table.name} {_id_text(stored_id)}"
        case [user_id, currency_code]:
            return f"{table.name} {user_id}/{currency_code}"
    user_id, currency_code, sequence = key
    return f"{table.name} {user_id}/{currency_code} #{sequence}"


def _id_text(stored_id: object) -> str:
    """Write an id as everywhere else, as far as it is one."""
    try:
        return str(UUID(str(stored_id)))
    except ValueError:
        return str(stored_id)
