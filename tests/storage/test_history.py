"""Moments and labels in an account's history, on both databases, against plain Python."""

import random
from bisect import bisect_left
from dataclasses import replace

import pytest
from harness.books import ALICE, BOB, run_commands
from sqlalchemy import insert

from wallet_service.ledger.books import Account, Entry
from wallet_service.ledger.commands import AccountKey, Deposit
from wallet_service.storage.database import Database
from wallet_service.storage.history import LineFilter, read_page
from wallet_service.storage.moments import Moment, find_last_entries
from wallet_service.storage.schema import accounts, entries

#: Numbers of entries at which a bisection may go wrong: none, one, and around powers of two.
LENGTHS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 100)
LABELS = [
    {"order": "1"},
    {"order": ""},
    {'a "quoted" key': "it's"},
    {"a.b": "c.d"},
    {"$.a[0]": "%s :name {x}"},
    {"ключ 🪙": "значение 円"},
    {"back\\slash": "\\"},
    {"order": "1", "a.b": "c.d"},
    {"true": "true", "1": "1"},
]


def _write_history(database: Database, key: AccountKey, times: list[int]) -> list[Entry]:
    """Write an account's entries at some times; only what a moment is found by is true of them."""
    history = [
        Entry(*key, sequence, f"00000000-0000-8000-8000-{sequence:012}", 1, sequence, b"", time)
        for sequence, time in enumerate(times, start=1)
    ]
    account = replace(
        Account(*key), posted_minor=len(times), sequence=len(times), created_at=1, updated_at=1
    )
    names = accounts.columns.keys()
    row = {name: getattr(account, name) for name in names} | {"limits": None}
    with database.transaction() as connection:
        connection.execute(insert(accounts), row)
        if history:
            connection.execute(insert(entries), [entry._asdict() for entry in history])
    return history


def test_moments_are_found_where_a_plain_bisection_finds_them(database: Database) -> None:
    choices = random.Random(17)
    histories: dict[AccountKey, list[Entry]] = {}
    for number, length in enumerate(LENGTHS):
        key = AccountKey(f"user-{number}", "RUB")
        # Few different times, so that many entries share theirs.
        times = sorted(choices.choices(range(10, 10 + length // 2 + 1), k=length))
        histories[key] = _write_history(database, key, times)
    moments = [
        Moment(key, time)
        for key, history in histories.items()
        for time in range(8, 14 + len(history))
    ]
    moments += [Moment(key, time) for key in histories for time in (-(2**62), 0, 2**62)]

    found = database.read(lambda look: find_last_entries(database, look, moments))

    assert found.keys() == set(moments)
    for moment, entry in found.items():
        history = histories[moment.key]
        index = bisect_left(history, moment.time, key=lambda entry: entry.created_at)
        assert entry == (history[index - 1] if index else None), moment


def test_a_moment_of_an_account_that_was_never_opened_is_not_found(database: Database) -> None:
    _write_history(database, ALICE, [10])

    found = database.read(
        lambda look: find_last_entries(database, look, [Moment(ALICE, 11), Moment(BOB, 11)])
    )

    assert set(found) == {Moment(ALICE, 11)}


@pytest.mark.parametrize("wanted", LABELS, ids=str)
def test_lines_are_found_by_exactly_their_labels(
    database: Database, wanted: dict[str, str]
) -> None:
    told = [{}, *LABELS, {"order": "2"}, {"a": '{"b": "c.d"}'}]
    run_commands(
        database,
        *(
            Deposit(
                caller="service",
                request_id=str(number),
                target=ALICE,
                amount_minor=1,
                metadata=labels,
            )
            for number, labels in enumerate(told)
        ),
    )

    page = read_page(
        database, ALICE, LineFilter(metadata=wanted), after=None, newest_first=False, page_size=50
    )

    expected = [number for number, labels in enumerate(told) if wanted.items() <= labels.items()]
    assert expected
    assert [int(line.transaction.request_id) for line in page.lines] == expected
    assert page.next_after is None
