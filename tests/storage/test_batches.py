"""One batch through the database: what was decided is what is stored, all of it or nothing."""

import contextlib
import functools
import gc
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from harness.commands import create_hold, reverse
from sqlalchemy import Table, select, text, update
from sqlalchemy.exc import DBAPIError

from wallet_service.engine import execute
from wallet_service.engine.execute import Result, Submission, execute_batch
from wallet_service.engine.retry import settle
from wallet_service.ledger.books import Outcome, Rules, State
from wallet_service.ledger.commands import (
    AccountKey,
    Command,
    CreateHold,
    Deposit,
    ReverseTransaction,
    SpendingLimit,
    Transfer,
    UpdateAccount,
    Withdraw,
)
from wallet_service.ledger.errors import LedgerCorrupt, RequestIdReused
from wallet_service.storage.database import Database, open_database
from wallet_service.storage.records import account_of, transaction_of
from wallet_service.storage.schema import accounts, entries, holds, reversals, transactions

_numbers = itertools.count()
ODD_TEXTS = [
    "",
    "рубли, 円 and 🪙",
    "tab\there, line\nfeed, carriage\rreturn",
    r"\N \. \\ \t {not} an array, %s ' \" ;--",
    " \u2028 \u0085 \x7f ",
]


def _key(user_id: str) -> AccountKey:
    return AccountKey(user_id, "RUB")


def _deposit(user_id: str, amount_minor: int = 1000, **options: object) -> Deposit:
    named = {"caller": "service", "request_id": f"deposit-{next(_numbers)}", **options}
    return Deposit(target=_key(user_id), amount_minor=amount_minor, **named)  # type: ignore[arg-type]


def _transfer(source: str, target: str, amount_minor: int, **options: object) -> Transfer:
    named = {"caller": "service", "request_id": f"transfer-{next(_numbers)}", **options}
    return Transfer(
        source=_key(source),
        target=_key(target),
        amount_minor=amount_minor,
        **named,  # type: ignore[arg-type]
    )


def _withdraw(user_id: str, amount_minor: int) -> Withdraw:
    return Withdraw(
        caller="service",
        request_id=f"withdraw-{next(_numbers)}",
        source=_key(user_id),
        amount_minor=amount_minor,
    )


def _run(database: Database, *commands: Command) -> list[Result]:
    (results,) = execute_batch(database, [Submission(commands)], rules=Rules())
    return results


def _outcomes(results: Sequence[Result]) -> list[Outcome]:
    assert all(isinstance(result, Outcome) for result in results), results
    return [result for result in results if isinstance(result, Outcome)]


def _reset_of(refused: Outcome) -> datetime:
    return datetime.fromisoformat(str(refused.transaction.refusal_values["reset_time"]))


def _moment(time_us: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=time_us)


def _all_rows(database: Database) -> list[list[tuple[object, ...]]]:
    with database.reader.connect() as connection:
        return [
            [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in (accounts, transactions, entries)
        ]


# Few rows travel together with COMMIT, many by COPY.
@pytest.mark.parametrize("many", [0, 600])
@pytest.mark.parametrize("odd", ODD_TEXTS)
def test_a_batch_is_read_back_as_it_was_decided(database: Database, odd: str, many: int) -> None:
    outcomes = _outcomes(
        _run(
            database,
            *[_deposit("carol", description=odd) for _ in range(many)],
            _deposit("alice", description=odd),
            _deposit("bob", metadata={"order": odd, odd or "key": "value"}),
            _transfer("alice", "bob", 300, description=odd, metadata={odd or "key": odd}),
            _transfer("alice", "bob", 10**15, description=odd),
            _transfer("alice", "nobody", 1, metadata={}),
        )
    )

    _, stored_transactions, stored_entries = _all_rows(database)
    decided = sorted(outcome.transaction for outcome in outcomes)
    lines = sorted(entry for outcome in outcomes for entry in outcome.entries)
    assert [transaction_of(row) for row in stored_transactions] == decided
    assert stored_entries == lines
    states = [outcome.transaction.state for outcome in outcomes]
    assert states == [State.POSTED] * (many + 3) + [State.REFUSED] * 2


def test_accounts_are_stored_at_the_end_of_their_entries(database: Database) -> None:
    outcomes = _outcomes(
        _run(database, _deposit("alice"), _deposit("bob"), _transfer("alice", "bob", 300))
    )

    alice, bob = map(account_of, _all_rows(database)[0])

    assert (alice.posted_minor, alice.sequence, alice.held_minor) == (700, 2, 0)
    assert (bob.posted_minor, bob.sequence, bob.held_minor) == (1300, 2, 0)
    last = outcomes[2]
    assert [alice.head_hash, bob.head_hash] == [entry.hash for entry in last.entries]
    assert alice.updated_at == bob.updated_at == last.transaction.created_at


def test_a_duplicate_inside_a_batch_replays_the_first(database: Database) -> None:
    deposit = _deposit("alice", request_id="same")

    first, second = _outcomes(_run(database, deposit, deposit))

    assert (first.is_replayed, second.is_replayed) == (False, True)
    assert second.transaction == first.transaction
    assert second.entries == first.entries
    assert [len(rows) for rows in _all_rows(database)] == [1, 1, 1]


def test_a_replay_reads_the_first_outcome_with_its_entries(database: Database) -> None:
    commands = (
        _deposit("alice"),
        _deposit("bob"),
        _transfer("alice", "bob", 300, metadata={"a": "ж"}),
        _transfer("bob", "alice", 20),
        _transfer("alice", "bob", 5000),
    )
    first = _outcomes(_run(database, *commands))
    stored = _all_rows(database)

    again = _outcomes(_run(database, *commands))

    assert all(outcome.is_replayed for outcome in again)
    assert [each.transaction for each in again] == [each.transaction for each in first]
    assert [each.entries for each in again] == [each.entries for each in first]
    assert _all_rows(database) == stored


def test_other_content_under_a_used_id_fails_alone_and_changes_nothing(database: Database) -> None:
    _run(database, _deposit("alice", 1000, request_id="used"))

    reused, other = _run(database, _deposit("alice", 999, request_id="used"), _deposit("bob", 1))

    assert isinstance(reused, RequestIdReused)
    assert isinstance(other, Outcome)
    balances = [account_of(row).posted_minor for row in _all_rows(database)[0]]
    assert balances == [1000, 1]


def test_a_thousand_commands_are_one_batch(database: Database) -> None:
    users = [f"user-{number}" for number in range(50)]
    deposits = [_deposit(user) for user in users]
    transfers = [_transfer(users[n % 50], users[n * 7 % 50 - 1], 1 + n % 5) for n in range(950)]

    outcomes = _outcomes(_run(database, *deposits, *transfers))

    stored_accounts, stored_transactions, stored_entries = _all_rows(database)
    assert len(stored_transactions) == 1000
    assert stored_entries == sorted(entry for outcome in outcomes for entry in outcome.entries)
    assert sum(account_of(row).posted_minor for row in stored_accounts) == 50 * 1000


def test_rows_are_written_in_the_order_of_their_keys(postgres_url: str) -> None:
    database = open_database(postgres_url)
    deposits = [_deposit(f"user-{number:02}") for number in reversed(range(20))]
    holds_made = [create_hold(each.request_id, each.target.user_id, 10) for each in deposits]
    given_back = [
        reverse(f"back {each.request_id}", each.transaction_id, 10, is_service=True)
        for each in deposits
    ]

    _run(database, *deposits)
    opened, recorded = (
        _keys_as_written(database, accounts),
        _keys_as_written(database, transactions),
    )
    _run(database, *holds_made, *given_back)

    # Two servers that write the same rows at once wait for each other, never in a circle.
    for table, keys in (
        (accounts, opened),
        (transactions, recorded),
        (holds, _keys_as_written(database, holds)),
        (reversals, _keys_as_written(database, reversals)),
    ):
        assert len(keys) == 20, table
        assert keys == sorted(keys), table
    database.close()


def _keys_as_written(database: Database, table: Table) -> list[tuple[Any, ...]]:
    """Read a PostgreSQL table's keys in the order in which its rows, never changed, were made."""
    statement = select(*table.primary_key).order_by(text("ctid"))
    return [tuple(row) for row in database.read(lambda it: it.execute(statement).all())]


def test_a_batch_that_breaks_a_constraint_halfway_leaves_nothing(database: Database) -> None:
    _run(database, _deposit("alice"), _deposit("bob"))
    # Books that lie: Alice's last line is missing from her account, so her next one collides.
    with database.transaction() as connection:
        connection.execute(
            text(
                "INSERT INTO entries SELECT user_id, currency_code, sequence + 1, transaction_id,"
                " amount_minor, balance_minor, hash, created_at, outflow_minor, outflow_count"
                " FROM entries"
                " WHERE user_id = 'alice'"
            )
        )
    stored = _all_rows(database)

    with pytest.raises(LedgerCorrupt):
        _run(database, _deposit("bob"), _deposit("carol"), _transfer("alice", "bob", 300))

    assert _all_rows(database) == stored


def test_a_batch_whose_last_statement_fails_leaves_nothing(database: Database) -> None:
    _run(database, _deposit("alice"))
    with database.transaction() as connection:
        connection.execute(text("ALTER TABLE entries RENAME TO entries_gone"))
    with pytest.raises(DBAPIError):
        _run(database, _deposit("alice"), _deposit("bob"))
    with database.transaction() as connection:
        connection.execute(text("ALTER TABLE entries_gone RENAME TO entries"))

    assert [len(rows) for rows in _all_rows(database)] == [1, 1, 1]
    assert account_of(_all_rows(database)[0][0]).posted_minor == 1000


def test_a_transaction_that_is_not_committed_leaves_nothing_and_no_lock(
    database: Database,
) -> None:
    _run(database, _deposit("alice"))
    stored = _all_rows(database)

    for failure in (None, LookupError()):
        with contextlib.suppress(LookupError), database.write() as transaction:
            database.dialect.lock_accounts(
                transaction.connection, [_key("alice")], [], skip_busy=False
            )
            transaction.connection.execute(update(accounts).values(posted_minor=7))
            if failure:
                raise failure

    assert _all_rows(database) == stored
    assert _outcomes(_run(database, _deposit("alice")))


def test_time_never_runs_backwards_along_an_account(database: Database) -> None:
    (opened,) = _outcomes(_run(database, _deposit("alice")))
    future = opened.transaction.created_at + 3600 * 10**6
    with database.transaction() as connection:
        connection.execute(
            update(accounts).values(updated_at=future).where(accounts.c.user_id == "alice")
        )

    to_alice, to_bob = _outcomes(_run(database, _deposit("alice"), _deposit("bob")))
    (between,) = _outcomes(_run(database, _transfer("alice", "bob", 1)))

    assert to_alice.transaction.created_at == to_alice.entries[0].created_at == future
    assert to_bob.transaction.created_at < future
    assert {entry.created_at for entry in between.entries} == {future}


def test_a_limit_set_in_the_same_batch_counts_its_own_window_only(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    day_us = 24 * 3600 * 1_000_000
    today_us = 20_000 * day_us
    limit = SpendingLimit("ROLLING_DAY", 300)
    with monkeypatch.context() as days_ago:
        days_ago.setattr(execute, "_now_us", lambda: today_us - 3 * day_us)
        _run(database, _deposit("alice"), _withdraw("alice", 500))

    monkeypatch.setattr(execute, "_now_us", lambda: today_us)
    change = UpdateAccount(
        caller="service", request_id="limit", target=_key("alice"), limits=(limit,)
    )
    outcomes = _outcomes(_run(database, change, _withdraw("alice", 300), _withdraw("alice", 1)))

    assert [each.transaction.refusal_reason for each in outcomes] == [None, None, "LIMIT_EXCEEDED"]
    assert outcomes[2].transaction.refusal_values["remaining"] == 0
    # A window includes its first moment, so room is there in the next.
    assert _reset_of(outcomes[2]) == _moment(today_us + day_us + 1)


def test_room_never_comes_back_in_the_past(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    day_us = 24 * 3600 * 1_000_000
    today_us = 20_000 * day_us
    with monkeypatch.context() as days_ago:
        days_ago.setattr(execute, "_now_us", lambda: today_us - 5 * day_us)
        spent, *_ = _outcomes(_run(database, _deposit("alice"), _withdraw("alice", 100))[1:])
        back = ReverseTransaction(
            caller="service",
            request_id="back",
            is_service=True,
            original_id=spent.transaction.transaction_id,
        )
        _outcomes(_run(database, back))

    monkeypatch.setattr(execute, "_now_us", lambda: today_us)
    change = UpdateAccount(
        caller="service",
        request_id="limit",
        target=_key("alice"),
        limits=(SpendingLimit("ROLLING_DAY", 50),),
    )
    _run(database, change, _withdraw("alice", 50))
    (refused,) = _outcomes(_run(database, _withdraw("alice", 1)))

    assert _reset_of(refused) == _moment(today_us + day_us + 1)


@pytest.mark.parametrize(
    ("limit", "spent", "asked", "freeing"),
    [
        pytest.param(SpendingLimit("ROLLING_DAY", 110), [10, 50, 50], 1, 0, id="used up"),
        pytest.param(SpendingLimit("ROLLING_DAY", 100), [60, 10], 50, 0, id="not enough"),
        pytest.param(SpendingLimit("ROLLING_DAY", 100), [10, 1000, 5], 1, 1, id="far beyond"),
        pytest.param(SpendingLimit("ROLLING_DAY", 100), [10, 50, 50], 1, 1, id="room for nothing"),
        pytest.param(SpendingLimit("ROLLING_DAY", None, 5), [1, 1, 1, 1, 1], 1, 0, id="as many"),
        pytest.param(SpendingLimit("ROLLING_DAY", None, 2), [1, 1, 1, 1, 1], 1, 3, id="too many"),
    ],
)
def test_room_comes_back_once_all_beyond_a_lowered_limit_left_the_window(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    *,
    limit: SpendingLimit,
    spent: list[int],
    asked: int,
    freeing: int,
) -> None:
    hour_us, start_us = 3600 * 1_000_000, 20_000 * 24 * 3600 * 1_000_000
    now_us = [start_us]
    monkeypatch.setattr(execute, "_now_us", lambda: now_us[0])
    _run(database, _deposit("alice", 10_000))
    for amount_minor in spent:
        _outcomes(_run(database, _withdraw("alice", amount_minor)))
        now_us[0] += hour_us
    change = UpdateAccount(
        caller="service", request_id="limit", target=_key("alice"), limits=(limit,)
    )
    _run(database, change)

    (refused,) = _outcomes(_run(database, _withdraw("alice", asked)))
    reset_us = start_us + freeing * hour_us + 24 * hour_us + 1
    now_us[0] = reset_us - 1
    (too_early,) = _outcomes(_run(database, _withdraw("alice", asked)))
    now_us[0] = reset_us
    (again,) = _outcomes(_run(database, _withdraw("alice", 1)))

    assert _reset_of(refused) == _reset_of(too_early) == _moment(reset_us)
    assert again.transaction.refusal_reason is None


@pytest.mark.parametrize(
    "limit", [SpendingLimit("ROLLING_DAY", 100), SpendingLimit("ROLLING_DAY", None, 1)], ids=str
)
def test_what_only_came_in_gives_no_room_back(
    database: Database, monkeypatch: pytest.MonkeyPatch, limit: SpendingLimit
) -> None:
    day_us, now_us = 24 * 3600 * 1_000_000, 20_000 * 24 * 3600 * 1_000_000
    with monkeypatch.context() as an_hour_ago:
        an_hour_ago.setattr(execute, "_now_us", lambda: now_us - 3600 * 1_000_000)
        _run(database, _deposit("alice"))
    change = UpdateAccount(
        caller="service", request_id="limit", target=_key("alice"), limits=(limit,)
    )

    monkeypatch.setattr(execute, "_now_us", lambda: now_us)
    *_, refused = _outcomes(_run(database, change, _withdraw("alice", 100), _withdraw("alice", 1)))

    assert _reset_of(refused) == _moment(now_us + day_us + 1)


def test_what_holds_take_of_a_limit_comes_back_with_no_window(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour_us, start_us = 3600 * 1_000_000, 20_000 * 24 * 3600 * 1_000_000
    monkeypatch.setattr(execute, "_now_us", lambda: start_us)
    _run(database, _deposit("alice"), _withdraw("alice", 30))
    monkeypatch.setattr(execute, "_now_us", lambda: start_us + hour_us)
    hold = CreateHold(
        caller="service", request_id="hold", source=_key("alice"), target=None, amount_minor=80
    )
    limit = SpendingLimit("ROLLING_DAY", 100, 3)
    change = UpdateAccount(
        caller="service", request_id="limit", target=_key("alice"), limits=(limit,)
    )
    _run(database, _withdraw("alice", 30), hold, change)

    refused, never = _outcomes(_run(database, _withdraw("alice", 20), _withdraw("alice", 21)))

    # 20 are left beside the hold: the first 30 make no room, both do.
    assert _reset_of(refused) == _moment(start_us + 25 * hour_us + 1)
    assert never.transaction.refusal_values["reset_time"] == ""


def test_a_batch_is_of_the_time_at_which_it_had_its_locks(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(database, _deposit("alice"), _deposit("bob"))
    steps = []
    lock_accounts = database.dialect.lock_accounts

    def lock(*arguments: object, **options: object) -> object:
        steps.append("locked")
        return lock_accounts(*arguments, **options)  # type: ignore[arg-type]

    def now_us() -> int:
        steps.append("asked the time")
        return 4_000_000_000_000_000

    monkeypatch.setattr(database.dialect, "lock_accounts", lock)
    monkeypatch.setattr(execute, "_now_us", now_us)
    (paid,) = _outcomes(_run(database, _transfer("alice", "bob", 1)))

    assert steps == ["locked", "asked the time"]
    assert paid.transaction.created_at == now_us()


def test_a_batch_is_freed_without_the_garbage_collector(database: Database) -> None:
    carry_out = functools.partial(execute_batch, database, rules=Rules())
    gc.disable()
    try:
        settle(carry_out, [Submission([_deposit("alice", request_id="freed")])], timeout_s=5)
        alive = [each for each in gc.get_objects() if type(each) is Deposit]
    finally:
        gc.enable()

    assert "freed" not in [each.request_id for each in alive]
