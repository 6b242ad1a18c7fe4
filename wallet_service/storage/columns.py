"""Rows turned: what holds for one value of a column holds for all of them."""

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
        for column, values in by_column(table.columns, rows).items()
        if not column.nullable or _has_values(column, values)
    }


def _has_values(column: Column[Any], values: Sequence[Any]) -> bool:
    if isinstance(column.type, JSON):
        return any(values)  # an empty object is stored as null
    return values.count(None) < len(values)
