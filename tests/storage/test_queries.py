"""What is asked often is found by key, not by scanning or sorting, as PostgreSQL's plans tell."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from harness.books import ALICE, BOB
from harness.postgres import GivenPostgres, StartedPostgres, create_database, drop_database
from sqlalchemy import event

from wallet_service.ledger.books import Account
from wallet_service.storage.database import Database, open_database
from wallet_service.storage.dialect import Limits
from wallet_service.storage.history import (
    SCAN_ROWS_MAX,
    LineFilter,
    read_entry_at,
    read_lines_after,
    read_page,
)
from wallet_service.storage.pages import Page, read_account_changes, read_account_page, read_holds
from wallet_service.storage.queries import BEFORE_ALL_HOLDS, read_due_holds, read_sequences

LINES = 1_200_000
PAGE = 3
PAGES = LINES // PAGE
OTHERS = 5000
HOLDS = 20_000
MANY_HOLDS = 200_000
MANY_ACCOUNTS = 50_000
CHANGES = 20_000
_ID = "('00000000-0000-8000-8000-' || lpad(number::text, 12, '0'))::uuid"
#: Alice's long history, two entries to a moment; many other accounts; holds, few of them open, and
#: Bob's many, two to a moment; what operators changed on Bob's account.
_FILL = (
    f"""
    INSERT INTO transactions (transaction_id, caller, request_id, kind, state, source_user_id,
        target_user_id, target_sequence, currency_code, amount_minor, description, created_at)
    SELECT {_ID}, 'service', number::text, 'DEPOSIT', 'POSTED', '@external', 'alice', number,
        'RUB', 1, '', number / 2
    FROM generate_series(1, {LINES}) AS number
    """,
    f"""
    INSERT INTO entries (user_id, currency_code, sequence, transaction_id, amount_minor,
        balance_minor, hash, created_at)
    SELECT 'alice', 'RUB', number, {_ID}, 1, number, '', number / 2
    FROM generate_series(1, {LINES}) AS number
    """,
    f"""
    INSERT INTO accounts (user_id, currency_code, posted_minor, held_minor, min_balance_minor,
        sequence, head_hash, state, created_at, updated_at)
    SELECT name, 'RUB', 0, 0, 0, CASE name WHEN 'alice' THEN {LINES} ELSE 0 END, '', 'ACTIVE', 1, 1
    FROM (
        SELECT 'alice' AS name
        UNION ALL SELECT 'user-' || number FROM generate_series(1, {OTHERS}) AS number
    ) AS names
    """,
    f"""
    INSERT INTO holds (hold_id, user_id, currency_code, amount_minor, captured_minor, state,
        created_at, updated_at, expires_at, description)
    SELECT {_ID}, 'user-' || mod(number, {OTHERS}), 'RUB', 1, 0,
        CASE WHEN mod(number, 100) = 0 THEN 'ACTIVE' ELSE 'VOIDED' END, number, number, number, ''
    FROM generate_series(1, {HOLDS}) AS number
    """,
    f"""
    INSERT INTO accounts (user_id, currency_code, posted_minor, held_minor, min_balance_minor,
        sequence, head_hash, state, created_at, updated_at)
    SELECT 'many-' || lpad(number::text, 6, '0'), 'RUB', 0, 0, 0, 0, '', 'ACTIVE', 1, 1
    FROM generate_series(1, {MANY_ACCOUNTS}) AS number
    """,
    f"""
    INSERT INTO holds (hold_id, user_id, currency_code, amount_minor, captured_minor, state,
        created_at, updated_at, description)
    SELECT {_ID}, 'bob', 'RUB', 1, 0, 'VOIDED', number / 2, number, ''
    FROM generate_series({HOLDS + 1}, {HOLDS + MANY_HOLDS}) AS number
    """,
    f"""
    INSERT INTO transactions (transaction_id, caller, request_id, kind, state, target_user_id,
        currency_code, amount_minor, description, created_at)
    SELECT {_ID}, 'olga', number::text, 'UPDATE_ACCOUNT', 'POSTED', 'bob', 'RUB', 0, '', number / 2
    FROM generate_series({LINES + 1}, {LINES + CHANGES}) AS number
    """,
    "ANALYZE",
)

Steps = list[dict[str, Any]]


@pytest.fixture(scope="module")
def busy(postgres: StartedPostgres | GivenPostgres, postgres_template: str) -> Iterator[Database]:
    """A database with a long history of Alice's and much besides."""
    url = create_database(postgres, template=postgres_template)
    database = open_database(url, Limits(statement_timeout_ms=120_000))
    with database.transaction() as connection:
        for statement in _FILL:
            connection.exec_driver_sql(statement)
    yield database
    database.close()
    drop_database(postgres, url)


def _explained(database: Database, look: Callable[[], Any]) -> tuple[Any, Steps]:
    """Look something up; return it, and the steps by which PostgreSQL finds it."""
    executed: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        executed.append((statement, parameters))

    event.listen(database.reader, "before_cursor_execute", note)
    try:
        found = look()
    finally:
        event.remove(database.reader, "before_cursor_execute", note)
    assert executed
    steps: Steps = []
    with database.reader.connect() as connection:
        for statement, parameters in executed:
            explained = connection.exec_driver_sql(
                f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters
            ).scalar_one()
            steps += _steps(explained[0]["Plan"])
    return found, steps


def _steps(step: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield step
    for inner in step.get("Plans", ()):
        yield from _steps(inner)


def _assert_found_by(steps: Steps, *indexes: str, sorts_ties: bool = False) -> None:
    used = {step["Index Name"] for step in steps if "Index Name" in step}
    assert used == set(indexes)
    dear = {"Seq Scan", "Sort"} if sorts_ties else {"Seq Scan", "Sort", "Incremental Sort"}
    assert not dear & {step["Node Type"] for step in steps}


def _rows_max(steps: Steps) -> float:
    return max(
        (step["Actual Rows"] + step.get("Rows Removed by Filter", 0)) * step["Actual Loops"]
        for step in steps
    )


def _sequences(page: Any) -> list[int]:
    return [line.entry.sequence for line in page.lines]


@pytest.mark.parametrize("number", [1, 2, PAGES // 2, PAGES])
@pytest.mark.parametrize("newest_first", [True, False])
def test_any_page_is_found_by_key_and_touches_no_more_rows_than_it_has(
    busy: Database, *, newest_first: bool, number: int
) -> None:
    skipped = (number - 1) * PAGE
    after = None if not skipped else LINES - skipped + 1 if newest_first else skipped

    page, steps = _explained(
        busy,
        lambda: read_page(
            busy, ALICE, LineFilter(), after=after, newest_first=newest_first, page_size=PAGE
        ),
    )

    expected = range(skipped + 1, skipped + PAGE + 1)
    if newest_first:
        expected = range(LINES - skipped, LINES - skipped - PAGE, -1)
    assert _sequences(page) == list(expected)
    assert (page.next_after is None) == (number == PAGES)
    _assert_found_by(steps, "entries_pkey", "transactions_pkey")
    assert _rows_max(steps) <= PAGE + 1


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_page_of_a_time_in_the_middle_is_found_by_key(
    busy: Database, *, newest_first: bool
) -> None:
    times = LineFilter(start_time=LINES // 4, end_time=LINES // 4 + 2)

    page, steps = _explained(
        busy,
        lambda: read_page(
            busy, ALICE, times, after=None, newest_first=newest_first, page_size=PAGE
        ),
    )

    first = LINES // 2
    expected = [first, first + 1, first + 2, first + 3]
    assert _sequences(page) == (expected[:0:-1] if newest_first else expected[:PAGE])
    _assert_found_by(steps, "entries_pkey", "transactions_pkey", "accounts_pkey")
    assert _rows_max(steps) < 100


def test_a_filter_that_finds_nothing_looks_at_a_bounded_number_of_rows(busy: Database) -> None:
    nothing = LineFilter(kinds=("TRANSFER",))

    page, steps = _explained(
        busy,
        lambda: read_page(busy, ALICE, nothing, after=None, newest_first=True, page_size=PAGE),
    )

    assert page.lines == []
    assert page.next_after == LINES - SCAN_ROWS_MAX + 1
    assert _rows_max(steps) <= SCAN_ROWS_MAX


@pytest.mark.parametrize("time", [0, LINES // 4, LINES])
def test_the_balance_of_a_moment_is_found_by_key(busy: Database, time: int) -> None:
    entry, steps = _explained(busy, lambda: read_entry_at(busy, ALICE, time))

    assert entry.balance_minor == min(2 * time + 1, LINES)
    _assert_found_by(steps, "entries_pkey", "accounts_pkey")
    assert _rows_max(steps) < 100


def test_new_lines_and_how_far_accounts_are_is_found_by_key(busy: Database) -> None:
    lines, steps = _explained(busy, lambda: read_lines_after(busy, ALICE, 100, row_limit=PAGE))
    sequences, more = _explained(busy, lambda: read_sequences(busy, [ALICE]))

    assert [line.entry.sequence for line in lines] == [101, 102, 103]
    assert sequences == {ALICE: LINES}
    _assert_found_by(steps + more, "entries_pkey", "transactions_pkey", "accounts_pkey")


@pytest.mark.parametrize(("now", "count"), [(0, 0), (350, 3), (HOLDS, 50)])
def test_due_holds_are_found_by_an_index_of_open_ones(busy: Database, now: int, count: int) -> None:
    due, steps = _explained(
        busy,
        lambda: read_due_holds(busy, now, after=BEFORE_ALL_HOLDS, row_limit=50),
    )

    assert [int(hold_id[-12:]) for _, hold_id in due] == [100 * n for n in range(1, count + 1)]
    _assert_found_by(steps, "holds_due", sorts_ties=True)
    assert _rows_max(steps) <= 51


def _numbers(holds_or_changes: Iterable[Any]) -> list[int]:
    """Tell by what number in the filling a row was made, from the id that comes first in it."""
    return [int(row[0][-12:]) for row in holds_or_changes]


def _page_of(first: int) -> list[int]:
    return list(range(first, first - PAGE, -1))


def test_an_accounts_holds_are_found_by_an_index(busy: Database) -> None:
    key = ALICE._replace(user_id="user-7")

    page, steps = _explained(
        busy, lambda: read_holds(busy, key, states=(), after=None, page_size=PAGE)
    )

    assert [hold.created_at for hold in page.rows] == [15_007, 10_007, 5007]
    _assert_found_by(steps, "holds_of_account")


@pytest.mark.parametrize("skipped", [0, PAGE, MANY_HOLDS // 2, MANY_HOLDS - PAGE])
def test_any_page_of_holds_touches_no_more_rows_than_it_has(busy: Database, skipped: int) -> None:
    first = HOLDS + MANY_HOLDS - skipped
    after = _position_of(first + 1) if skipped else None

    page, steps = _explained(
        busy, lambda: read_holds(busy, BOB, states=(), after=after, page_size=PAGE)
    )

    assert _numbers(page.rows) == _page_of(first)
    assert (page.next_after is None) == (skipped == MANY_HOLDS - PAGE)
    _assert_found_by(steps, "holds_of_account")
    assert _rows_max(steps) <= PAGE + 1


@pytest.mark.parametrize("skipped", [0, CHANGES // 2])
def test_any_page_of_an_accounts_changes_touches_no_more_rows_than_it_has(
    busy: Database, skipped: int
) -> None:
    first = LINES + CHANGES - skipped
    after = _position_of(first + 1) if skipped else None

    page, steps = _explained(
        busy, lambda: read_account_changes(busy, BOB, after=after, page_size=PAGE)
    )

    assert _numbers(page.rows) == _page_of(first)
    _assert_found_by(steps, "transactions_of_operators")
    assert _rows_max(steps) <= PAGE + 1


@pytest.mark.parametrize("number", [0, MANY_ACCOUNTS // 2, MANY_ACCOUNTS - PAGE])
def test_any_page_of_accounts_touches_no_more_rows_than_it_has(busy: Database, number: int) -> None:
    page, steps = _explained(
        busy,
        lambda: _accounts(busy, after=(f"many-{number:06}", "RUB"), states=(), page_size=PAGE),
    )

    assert [each.user_id for each in page.rows] == [
        f"many-{number + offset:06}" for offset in range(1, PAGE + 1)
    ]
    _assert_found_by(steps, "accounts_pkey")
    assert _rows_max(steps) <= PAGE + 1


@pytest.mark.parametrize("skipped", [0, MANY_HOLDS // 2])
def test_a_state_that_no_hold_is_in_looks_at_a_bounded_number_of_holds(
    busy: Database, skipped: int
) -> None:
    first = HOLDS + MANY_HOLDS - skipped
    after = _position_of(first + 1) if skipped else None

    page, steps = _explained(
        busy, lambda: read_holds(busy, BOB, states=["ACTIVE"], after=after, page_size=PAGE)
    )

    last = first - SCAN_ROWS_MAX + 1
    assert page == ([], _position_of(last))
    _assert_found_by(steps, "holds_of_account")
    assert _rows_max(steps) <= SCAN_ROWS_MAX


@pytest.mark.parametrize("wanted", [{"states": ["FROZEN"]}, {"currency_code": "USD"}], ids=str)
def test_a_filter_that_no_account_fits_looks_at_a_bounded_number_of_accounts(
    busy: Database, wanted: dict[str, Any]
) -> None:
    page, steps = _explained(
        busy, lambda: _accounts(busy, after=("many-000100", "RUB"), page_size=PAGE, **wanted)
    )

    assert page == ([], (f"many-{100 + SCAN_ROWS_MAX:06}", "RUB"))
    _assert_found_by(steps, "accounts_pkey")
    assert _rows_max(steps) <= SCAN_ROWS_MAX


@pytest.mark.parametrize("wanted", [["VOIDED"], ["VOIDED", "ACTIVE"]], ids=str)
def test_a_filtered_page_that_fills_soon_looks_at_no_more_rows(
    busy: Database, wanted: list[str]
) -> None:
    page, steps = _explained(
        busy, lambda: read_holds(busy, BOB, states=wanted, after=None, page_size=PAGE)
    )

    assert _numbers(page.rows) == _page_of(HOLDS + MANY_HOLDS)
    _assert_found_by(steps, "holds_of_account")
    assert _rows_max(steps) <= PAGE + 1


def _position_of(number: int) -> tuple[int, str]:
    return number // 2, _id_of(number)


def _id_of(number: int) -> str:
    return f"00000000-0000-8000-8000-{number:012}"


def _accounts(busy: Database, **options: Any) -> Page[Account]:
    """Read one page of everybody's accounts."""
    everybody: dict[str, Any] = {"user_id": None, "currency_code": None, "states": ()}
    return read_account_page(busy, **{**everybody, **options})
