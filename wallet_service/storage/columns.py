"""Rows turned: what holds for one value of a column holds for all of them."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import JSON, Column, Table

#: Values by column, all columns of one length.
Columns = dict[Column[Any], Sequence[Any]]


def by_column(columns: Iterable[Column[Any]], rows: Sequence[tuple[Any, ...]]) -> Columns:
    """Turn rows, whose values stand in the order of some columns."""
    return dict(zip(columns, zip(*rows, strict=True), strict=True))


def filled_columns(table: Table, rows: Sequence[tuple[Any, ...]]) -> Columns:
    """Turn whole rows of a table, leaving out the columns that none of them has a value in."""
    return {
        column: values
        for (column, is_nullable, is_json), values in zip(
            _facts(table), zip(*rows, strict=True), strict=True
        )
        if not is_nullable or _has_values(values, is_json=is_json)
    }


@functools.cache
def _facts(table: Table) -> list[tuple[Column[Any], bool, bool]]:
    """List a table's columns, each with whether it is nullable and whether it is JSON."""
    return [
        (column, bool(column.nullable), isinstance(column.type, JSON)) for column in table.columns
    ]


def _has_values(values: Sequence[Any], *, is_json: bool) -> bool:
    if is_json:
        return any(values)  # an empty object is stored as null
    return values.count(None) < len(values)
