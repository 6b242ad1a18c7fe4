"""Pages are found by key, not by scanning or sorting as PostgreSQL's own plans tell."""

from collections.abc import Iterator
from typing import Any

import pytest
from harness.books import ALICE, BOB, run_commands
from harness.postgres import GivenPostgres, StartedPostgres, create_database, drop_database
from sqlalchemy import event

from wallet_service.ledger.commands import Deposit
from wallet_service.storage.database import Database, open_database
from wallet_service.storage.queries import read_lines

LINES = 3000
PAGE = 51


@pytest.fixture(scope="module")
def busy(postgres: StartedPostgres | GivenPostgres, postgres_template: str) -> Iterator[Database]:
    """A database where Alice and Bob have a few thousand entries each."""
    url = create_database(postgres, template=postgres_template)
    database = open_database(url)
    for start in range(0, LINES, 1000):
        for key in (ALICE, BOB):
            run_commands(
                database,
                *(
                    Deposit(
                        caller="service",
                        request_id=f"{key.user_id}-{number}",
                        target=key,
                        amount_minor=1,
                    )
                    for number in range(start, start + 1000)
                ),
            )
    with database.writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    yield database
    database.close()
    drop_database(postgres, url)


def _read_and_explain(database: Database, **page: Any) -> tuple[list[int], list[dict[str, Any]]]:
    """Read a page; return its sequences, and the steps by which PostgreSQL finds it."""
    executed: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        executed.append((statement, parameters))

    event.listen(database.reader, "before_cursor_execute", note)
    try:
        lines = read_lines(database, ALICE, row_limit=PAGE, **page)
    finally:
        event.remove(database.reader, "before_cursor_execute", note)
    statement, parameters = executed[-1]
    with database.reader.connect() as connection:
        explained = connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters
        ).scalar_one()
    return [line.entry.sequence for line in lines], list(_steps(explained[0]["Plan"]))


def _steps(step: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield step
    for inner in step.get("Plans", ()):
        yield from _steps(inner)


@pytest.mark.parametrize(
    ("newest_first", "after", "expected"),
    [
        (True, None, range(LINES, LINES - PAGE, -1)),
        (True, LINES // 2, range(LINES // 2 - 1, LINES // 2 - 1 - PAGE, -1)),
        (True, 20, range(19, 0, -1)),
        (False, None, range(1, PAGE + 1)),
        (False, LINES // 2, range(LINES // 2 + 1, LINES // 2 + 1 + PAGE)),
        (False, LINES - 20, range(LINES - 19, LINES + 1)),
    ],
)
def test_any_page_is_found_by_key_and_touches_no_more_rows_than_it_has(
    busy: Database, *, newest_first: bool, after: int | None, expected: range
) -> None:
    sequences, steps = _read_and_explain(busy, newest_first=newest_first, after=after)

    assert sequences == list(expected)
    assert "Seq Scan" not in {step["Node Type"] for step in steps}
    indexes = {step["Index Name"] for step in steps if "Index Name" in step}
    assert indexes == {"entries_pkey", "transactions_pkey"}
    # A bitmap may be sorted where little is left; what counts is how little.
    assert max(step["Actual Rows"] * step["Actual Loops"] for step in steps) <= PAGE
