"""
Rows as the text that PostgreSQL reads.

Lines for COPY are described in its manual under COPY, "Text Format", arrays in section 8.15.2. Both
are written column by column.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import orjson
from sqlalchemy import JSON, BigInteger, Column, LargeBinary, Table, Text, Uuid
from sqlalchemy.types import TypeEngine

from wallet_service.storage.columns import Columns

#: Few enough to begin soon, many enough for one wait for the driver's turn among the threads.
_ROWS_A_PIECE = 256


def copy_into(table: Table, columns: Iterable[Column[Any]]) -> str:
    """Return the statement that reads lines."""
    return f"COPY {table.name} ({', '.join(column.name for column in columns)}) FROM STDIN"


def copy_lines(columns: Columns) -> Iterator[str]:
    """Write rows as lines, in pieces: PostgreSQL stores one while the next is written."""
    count = len(next(iter(columns.values())))
    for start in range(0, count, _ROWS_A_PIECE):
        texts = [
            _copy_column(column, values[start : start + _ROWS_A_PIECE])
            for column, values in columns.items()
        ]
        yield "".join([f"{line}\n" for line in map("\t".join, zip(*texts, strict=True))])


def arrays(columns: Columns) -> dict[str, str]:
    """Write each column as an array."""
    return {column.name: array(column, values) for column, values in columns.items()}


def array(column: Column[Any], values: Sequence[Any]) -> str:
    """Write a column's values as an array."""
    return _ARRAY_WRITERS[type(column.type)](values)


def _integers(values: Sequence[int | None]) -> str:
    # As JSON, whose numbers and null an array has too: one call for all of them.
    return "{" + orjson.dumps(values)[1:-1].decode() + "}"


def _bytes(values: Sequence[bytes | None]) -> str:
    return _braced([_NULL if value is None else rf'"\\x{value.hex()}"' for value in values])


def _objects(values: Sequence[Any]) -> str:
    return _braced([_quoted(orjson.dumps(value).decode()) if value else _NULL for value in values])


def _texts(values: Sequence[str | None]) -> str:
    if values and _are_plain(values):
        return '{"' + '","'.join(values) + '"}'  # type: ignore[arg-type]
    return _braced([_NULL if value is None else _quoted(value) for value in values])


_ARRAY_WRITERS: dict[type[TypeEngine[Any]], Callable[[Sequence[Any]], str]] = {
    BigInteger: _integers,
    LargeBinary: _bytes,
    JSON: _objects,
    Text: _texts,
    Uuid: _texts,
}

_NULL = "NULL"


def _braced(items: Iterable[str]) -> str:
    return "{" + ",".join(items) + "}"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", r"\\").replace('"', r"\"") + '"'


def _are_plain(values: Sequence[str | None]) -> bool:
    """Tell whether all values are there and need no escape in an array."""
    if None in values:
        return False
    text = "".join(values)  # type: ignore[arg-type]
    return "\\" not in text and '"' not in text


_COPY_NULL = r"\N"
_COPY_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
_NEEDS_ESCAPE = re.compile(r"[\\\t\n\r]")


def _copy_column(column: Column[Any], values: Sequence[Any]) -> Sequence[str]:
    """Write a column's values."""
    if isinstance(column.type, JSON):
        values = [value or None for value in values]
    if None not in values:
        return _copy_texts(column, values)
    texts = iter(_copy_texts(column, [value for value in values if value is not None]))
    return [_COPY_NULL if value is None else next(texts) for value in values]


def _copy_texts(column: Column[Any], values: Sequence[Any]) -> Sequence[str]:
    match column.type:
        case BigInteger():
            return list(map(str, values))
        case LargeBinary():
            return [r"\\x" + value.hex() for value in values]
        case JSON():
            values = [orjson.dumps(value).decode() for value in values]
    if _NEEDS_ESCAPE.search("".join(values)):
        return [value.translate(_COPY_ESCAPES) for value in values]
    return values
