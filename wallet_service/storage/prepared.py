"""
PostgreSQL's prepared statements, by psycopg2, and the arrays they are given as text.

A batch's parameters are arrays of up to thousands of values. As one text each they are parsed
quickly, where the driver's own way makes an expression of every value.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (a class)
from sqlalchemy import ClauseElement, Connection
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

#: PREPARE numbers its parameters: $1, $2, …
_NUMBERED = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


class Prepared:
    """A statement that each connection parses and plans only once."""

    def __init__(self, name: str, statement: ClauseElement) -> None:
        compiled = statement.compile(dialect=_NUMBERED)
        assert isinstance(compiled, SQLCompiler)
        parameters = compiled.positiontup or []
        self._name = name
        self._parameters = parameters
        self._prepare = f"PREPARE {name} AS {compiled}"
        self._execute = f"EXECUTE {name}({', '.join(['%s'] * len(parameters))})"

    def run(self, connection: Connection, **parameters: str) -> list[tuple[Any, ...]]:
        """Execute it; return what it found."""
        with driver_cursor(connection, self._name) as cursor:
            if self._name not in connection.info:
                cursor.execute(self._prepare)
                connection.info[self._name] = True
            cursor.execute(self._execute, [parameters[name] for name in self._parameters])
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
        raise DBAPIError(what, None, error) from error


def array(values: Iterable[object]) -> str:
    """Write numbers or ids as an array's text (PostgreSQL manual, section 8.15.2)."""
    return "{" + ",".join(map(str, values)) + "}"


def text_array(values: Iterable[str]) -> str:
    """Write some texts, at least one, as an array's text."""
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return '{"' + '","'.join(quoted) + '"}'


def bytes_array(values: Iterable[bytes]) -> str:
    """Write some bytes, at least one, as an array's text."""
    return text_array("\\x" + value.hex() for value in values)
