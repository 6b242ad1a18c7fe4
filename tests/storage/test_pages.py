"""Pages of filtered listings: each row once and in order, wherever the looking is cut short."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from harness.books import ALICE, BOB
from sqlalchemy import event, insert

from wallet_service.ledger.books import Account, Hold
from wallet_service.ledger.commands import AccountKey
from wallet_service.storage.database import Database
from wallet_service.storage.pages import Page, Position, read_account_page, read_holds
from wallet_service.storage.schema import accounts, holds

Read = Callable[[Position | None], Page[Any]]

COUNT = 41
#: Rows looked at: one, few, all, and more than there are.
SCANS = (1, 7, COUNT, COUNT + 1)
PAGE_SIZES = (1, 2, 7, 100)
#: Kept in order, so that a walk crosses long stretches of what is not wanted.
STATES = ["ACTIVE"] * 3 + ["VOIDED"] * 20 + ["ACTIVE", "EXPIRED"] * 4 + ["VOIDED"] * 10


@pytest.fixture(params=SCANS)
def scan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many rows a filtered page looks at."""
    return _look_at(request.param, monkeypatch)


def _look_at(rows: int, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("wallet_service.storage.pages.SCAN_ROWS_MAX", rows)
    return rows


def _hold(number: int, key: AccountKey = ALICE, *, time: int, state: str) -> Hold:
    hold_id = f"00000000-0000-8000-8000-{number:012}"
    return Hold(hold_id, *key, None, 5, 0, state, time, time, None, "", {"number": str(number)})


def _write_holds(database: Database, *rows: Hold) -> None:
    with database.transaction() as connection:
        connection.execute(insert(holds), [row._asdict() for row in rows])


def _some_holds(database: Database) -> list[Hold]:
    """Write holds of Alice's, several to a moment, among Bob's; return hers, newest first."""
    ids = list(range(COUNT))
    random.Random(17).shuffle(ids)
    rows = [_hold(number, time=index // 3, state=STATES[index]) for index, number in enumerate(ids)]
    others = [_hold(100 + index, BOB, time=index // 3, state="ACTIVE") for index in range(COUNT)]
    _write_holds(database, *rows, *others)
    return sorted(rows, key=lambda hold: (hold.created_at, hold.hold_id), reverse=True)


def _account(key: AccountKey, state: str) -> Account:
    account = replace(Account(*key), state=state, created_at=1, updated_at=1)
    account.is_stored = True
    return account


def _write_accounts(database: Database, *rows: Account) -> None:
    names = accounts.columns.keys()
    with database.transaction() as connection:
        connection.execute(
            insert(accounts),
            [{name: getattr(row, name) for name in names} | {"limits": None} for row in rows],
        )


def _some_accounts(database: Database) -> list[Account]:
    """Write accounts, of some users several; return them by user and currency."""
    codes = ("AED", "RUB", "USD")
    keys = sorted(
        AccountKey(f"{'Zz'[index % 2]}oe-{index // 3}", codes[index % 3]) for index in range(COUNT)
    )
    rows = [_account(key, STATES[index]) for index, key in enumerate(keys)]
    _write_accounts(database, *rows)
    return rows


def _read_holds(database: Database, after: Position | None, **options: Any) -> Page[Hold]:
    """Read a page of Alice's holds."""
    return read_holds(database, ALICE, after=after, **{"states": (), **options})


def _read_accounts(database: Database, after: Position | None, **options: Any) -> Page[Account]:
    """Read a page of everybody's accounts, or of those wanted."""
    everybody: dict[str, Any] = {"user_id": None, "currency_code": None, "states": ()}
    return read_account_page(database, after=after, **{**everybody, **options})


def _walk(read: Read) -> list[Page[Any]]:
    pages = [read(None)]
    while pages[-1].next_after is not None:
        pages.append(read(pages[-1].next_after))
    return pages


def _seen(pages: Sequence[Page[Any]], page_size: int) -> list[Any]:
    assert all(len(page.rows) <= page_size for page in pages)
    return [row for page in pages for row in page.rows]


@pytest.mark.parametrize("states", [["ACTIVE"], ["EXPIRED", "ACTIVE"], ["CAPTURED"]], ids=str)
def test_each_hold_in_a_state_is_listed_once_newest_first(
    database: Database, scan: int, states: list[str]
) -> None:
    expected = [hold for hold in _some_holds(database) if hold.state in states]

    for page_size in PAGE_SIZES:
        pages = _walk(partial(_read_holds, database, states=states, page_size=page_size))

        assert _seen(pages, page_size) == expected
        # Each page goes on behind what it found, or else behind all that it looked at.
        assert len(pages) <= COUNT // scan + len(expected) + 1


@pytest.mark.parametrize(
    "wanted",
    [
        {"states": ["ACTIVE"]},
        {"states": ["CLOSED"]},
        {"currency_code": "RUB"},
        {"currency_code": "RUB", "states": ["EXPIRED", "ACTIVE"]},
        {"user_id": "zoe-1", "currency_code": "RUB"},
        {"user_id": "Zoe-2", "states": ["VOIDED"]},
    ],
    ids=str,
)
def test_each_account_that_fits_a_filter_is_listed_once_by_its_key(
    database: Database, scan: int, wanted: dict[str, Any]
) -> None:
    expected = [
        account
        for account in _some_accounts(database)
        if account.user_id == wanted.get("user_id", account.user_id)
        and account.currency_code == wanted.get("currency_code", account.currency_code)
        and account.state in wanted.get("states", STATES)
    ]

    for page_size in PAGE_SIZES:
        pages = _walk(partial(_read_accounts, database, page_size=page_size, **wanted))

        assert _seen(pages, page_size) == expected
        assert len(pages) <= COUNT // scan + len(expected) + 1


def test_a_page_may_be_short_or_empty_though_more_follow(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = ["ACTIVE", "VOIDED", "VOIDED", "VOIDED", "VOIDED", "ACTIVE", "VOIDED"]
    newest_first = [
        _hold(number, time=9 - number, state=state) for number, state in enumerate(states)
    ]
    _write_holds(database, *newest_first)
    _look_at(2, monkeypatch)

    pages = _walk(partial(_read_holds, database, states=["ACTIVE"], page_size=2))

    assert [[hold.created_at for hold in page.rows] for page in pages] == [[9], [], [], [4], []]


def test_an_unfiltered_page_is_never_cut_short(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_alice = _some_holds(database)
    everybody = _some_accounts(database)
    _look_at(1, monkeypatch)

    holds_read = _read_holds(database, None, page_size=COUNT)
    accounts_read = _read_accounts(database, None, page_size=COUNT)

    assert holds_read == (of_alice, None)
    assert accounts_read == (everybody, None)


def _do_between_statements(database: Database, do: Callable[[], None]) -> None:
    """Have something done once, after the next statement that reads."""
    event.listen(database.reader, "after_cursor_execute", lambda *_: do(), once=True)


@pytest.mark.parametrize("state", ["ACTIVE", "VOIDED"])
def test_holds_made_while_a_page_is_read_bring_no_hold_twice(
    database: Database, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    voided = [hold for hold in _some_holds(database) if hold.state == "VOIDED"]
    newer = [_hold(200 + number, time=1000, state=state) for number in range(6)]
    _look_at(7, monkeypatch)
    _do_between_statements(database, lambda: _write_holds(database, *newer))

    pages = _walk(partial(_read_holds, database, states=["VOIDED"], page_size=50))

    assert _seen(pages, 50) == voided


def test_accounts_opened_while_a_page_is_read_bring_no_account_twice(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [_account(AccountKey(f"user-{number}", "RUB"), "ACTIVE") for number in range(8)]
    _write_accounts(database, *rows)
    earlier = [_account(AccountKey(f"earlier-{number}", "USD"), "ACTIVE") for number in range(3)]
    _look_at(4, monkeypatch)
    _do_between_statements(database, lambda: _write_accounts(database, *earlier))

    pages = _walk(partial(_read_accounts, database, currency_code="RUB", page_size=50))

    assert _seen(pages, 50) == rows
