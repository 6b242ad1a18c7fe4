"""The house keeps its shape: six floors, imports only point down, nothing grows too long."""

from collections.abc import Mapping

import pytest
from harness.sources import (
    Source,
    circle,
    floats,
    imports_of,
    long_functions,
    our_imports,
    service_sources,
)

FLOORS = (
    {"ledger"},
    {"storage"},
    {"engine", "audit"},
    {"transport"},
    {"server", "credentials", "health", "healthcheck"},
    {"__main__", "cli", "config", "workers", "processors", "development"},
)
GROUND = {"settings", "logs"}
SHARED_FLOORS = FLOORS[4:]  # single files, not rooms of their own: they may ask each other
FUNCTION_LINES_MAX = 50
FILE_LINES_MAX = 300

WIRE = {"grpc", "google", "grpc_health", "grpc_reflection", "grpc_status", "wallet_client"}
MAY_KNOW_WIRE = FLOORS[3] | FLOORS[4]
SQL = {"sqlalchemy", "alembic", "psycopg2", "sqlite3"}
MAY_CATCH_SQL_ERRORS = {"server", "cli"}

SOURCES = service_sources()


def _height(part: str) -> int:
    return next(height for height, floor in enumerate(FLOORS) if part in floor)


def _may_import(part: str, other: str) -> bool:
    """Tell whether one part of the service may know another."""
    if part == other:
        return True
    if part in GROUND or other in GROUND:
        return other in GROUND and (other == "logs" or part in FLOORS[4] | FLOORS[5])
    if any({part, other} <= floor for floor in SHARED_FLOORS):
        return True
    return _height(other) < _height(part)


def forbidden_imports(source: Source, sources: Mapping[str, Source]) -> list[str]:
    """Name what a module imports of ours and must not."""
    if source.part == "settings":
        return sorted(our_imports(source, sources) - {"wallet_service.ledger.money"})
    return sorted(
        name
        for name in our_imports(source, sources)
        if not _may_import(source.part, name.split(".")[1])
    )


def forbidden_libraries(source: Source) -> list[str]:
    """Name what a module imports of others and must not."""
    return sorted(
        name for name in imports_of(source) if _is_forbidden(source.part, *name.split(".")[:2])
    )


def _is_forbidden(part: str, library: str, module: str = "") -> bool:
    if library in WIRE:
        return part not in MAY_KNOW_WIRE
    if library not in SQL:
        return False
    is_error = (library, module) == ("sqlalchemy", "exc")
    return part != "storage" and not (is_error and part in MAY_CATCH_SQL_ERRORS)


def test_every_part_has_its_floor() -> None:
    parts = {source.part for source in SOURCES.values()} - {""}

    assert parts == GROUND.union(*FLOORS)
    assert len(SOURCES) > len(parts)


@pytest.mark.parametrize("name", SOURCES)
def test_imports_only_point_down(name: str) -> None:
    assert forbidden_imports(SOURCES[name], SOURCES) == []


@pytest.mark.parametrize("name", SOURCES)
def test_only_transport_knows_the_wire_and_only_storage_knows_sql(name: str) -> None:
    assert forbidden_libraries(SOURCES[name]) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle({name: our_imports(source, SOURCES) for name, source in SOURCES.items()}) == []


@pytest.mark.parametrize("name", SOURCES)
def test_functions_and_files_stay_short(name: str) -> None:
    assert long_functions(SOURCES[name], FUNCTION_LINES_MAX) == []
    assert len(SOURCES[name].text.splitlines()) <= FILE_LINES_MAX


@pytest.mark.parametrize(
    "name", [name for name in SOURCES if SOURCES[name].part in {"ledger", "storage"}]
)
def test_no_float_comes_near_money(name: str) -> None:
    assert floats(SOURCES[name]) == []


# The checks themselves can fail.


@pytest.mark.parametrize(
    ("importer", "line"),
    [
        ("ledger.decide", "from wallet_service.storage.load import load_books"),
        ("ledger.decide", "from wallet_service.settings import Settings"),
        ("storage.load", "import wallet_service.engine.retry"),
        ("engine.retry", "from wallet_service.audit import verify"),
        ("audit.verify", "from wallet_service.engine.retry import settle"),
        ("transport.servicer", "from wallet_service.settings import Settings"),
        ("transport.servicer", "from wallet_service import server"),
        ("server", "def late():\n    from wallet_service import workers"),
        ("settings", "from wallet_service.ledger.books import Books"),
        ("logs", "from wallet_service.ledger.money import decimal"),
        (
            "storage.load",
            "from wallet_service.logs import configure_logs\nimport wallet_service.cli",
        ),
    ],
)
def test_an_import_that_points_up_or_sideways_is_found(importer: str, line: str) -> None:
    assert forbidden_imports(Source(f"wallet_service.{importer}", line), SOURCES) != []


@pytest.mark.parametrize(
    ("importer", "line"),
    [
        ("engine.retry", "import grpc"),
        ("ledger.books", "from google.protobuf import message"),
        ("cli", "from wallet_client.v1 import types_pb2"),
        ("transport.servicer", "import sqlalchemy"),
        ("audit.verify", "from sqlalchemy.exc import DBAPIError"),
        ("server", "from sqlalchemy import text"),
        ("cli", "import sqlite3"),
        ("engine.execute", "def late():\n    import psycopg2.errors"),
    ],
)
def test_a_library_in_the_wrong_place_is_found(importer: str, line: str) -> None:
    assert forbidden_libraries(Source(f"wallet_service.{importer}", line)) != []


@pytest.mark.parametrize(
    ("importer", "line"),
    [
        ("server", "from sqlalchemy.exc import DBAPIError"),
        ("storage.load", "import sqlite3"),
        ("transport.status", "import grpc"),
    ],
)
def test_a_library_in_its_place_is_let_be(importer: str, line: str) -> None:
    assert forbidden_libraries(Source(f"wallet_service.{importer}", line)) == []


def test_a_circle_is_found_and_named() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_a_long_function_is_found_and_its_docstring_is_not_counted() -> None:
    text = 'def f():\n    """\n' + "    Words.\n" * 60 + '    """\n' + "    f()\n" * 50

    assert long_functions(Source("wallet_service.x", text), FUNCTION_LINES_MAX) == []
    grown = Source("wallet_service.x", f"{text}    f()\n")
    assert long_functions(grown, FUNCTION_LINES_MAX) == ["wallet_service.x.f"]


@pytest.mark.parametrize("line", ["rate = 0.5", "x = 1e3", "x = float('1')", "def f(x=.1): ..."])
def test_a_float_is_found(line: str) -> None:
    assert floats(Source("wallet_service.ledger.x", line)) == ["wallet_service.ledger.x:1"]
