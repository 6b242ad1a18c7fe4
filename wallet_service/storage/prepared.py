"""
PostgreSQL's prepared statements, by psycopg2.

A batch's parameters are arrays of up to thousands of values. As one text each they are parsed
quickly, where the driver's own way makes an expression of every value.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (a class)
from sqlalchemy import ClauseElement, Connection
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

#: PREPARE numbers its parameters: $1, $2, …
_NUMBERED = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


class Statement(NamedTuple):
    """A statement to send; `prepare` makes known on a connection, by its name, what it executes."""

    text: str
    parameters: tuple[str, ...] = ()
    name: str = ""
    prepare: str = ""


class Prepared:
    """A statement that each connection parses and plans only once."""

    def __init__(self, name: str, statement: ClauseElement) -> None:
        compiled = statement.compile(dialect=_NUMBERED)
        assert isinstance(compiled, SQLCompiler)
        self._parameters = compiled.positiontup or []
        self._name = name
        self._prepare = f"PREPARE {name} AS {compiled}"
        self._execute = f"EXECUTE {name}({', '.join(['%s'] * len(self._parameters))})"

    def bind(self, parameters: dict[str, str]) -> Statement:
        """Return what executes it with some parameters."""
        values = tuple(parameters[name] for name in self._parameters)
        return Statement(self._execute, values, self._name, self._prepare)


def send(connection: Connection, *statements: Statement) -> list[tuple[Any, ...]]:
    """Execute some statements by one message; return what the last one found."""
    with driver_cursor(connection, statements[-1].text) as cursor:
        for each in statements:
            if each.prepare and each.name not in connection.info:
                cursor.execute(each.prepare)
                connection.info[each.name] = True
        text = "; ".join(each.text for each in statements)
        cursor.execute(text, [value for each in statements for value in each.parameters])
        return cursor.fetchall() if cursor.description else []


@contextmanager
def driver_cursor(connection: Connection, what: str) -> Iterator[Cursor]:
    """Lend a cursor of the driver; its errors look like those of all other statements."""
    driver_connection = connection.connection.driver_connection
    assert isinstance(driver_connection, psycopg2.extensions.connection)
    try:
        with driver_connection.cursor() as cursor:
            yield cursor
    except psycopg2.Error as error:
        raise DBAPIError.instance(what, None, error, psycopg2.Error) from error
