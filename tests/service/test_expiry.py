"""Holds whose time runs out: refused at once, released soon, by however many servers just once."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from harness.calls import Answer, Serving, row_locked, serving, user, wait_until
from harness.people import People, hold_now, hold_of, money_of, people_of, rub
from harness.stored import all_rows
from sqlalchemy import text
from structlog.testing import capture_logs
from wallet_client.v1.types_pb2 import HOLD_STATE_EXPIRED, Hold, Transaction
from wallet_client.v1.wallet_admin_service_pb2 import UpdateAccountRequest
from wallet_client.v1.wallet_service_pb2 import (
    CaptureHoldRequest,
    CreateHoldRequest,
    GetTransactionRequest,
    TransferRequest,
    VoidHoldRequest,
)

from wallet_service.engine import sweeper
from wallet_service.ledger.ids import transaction_id
from wallet_service.storage.database import open_database

EXPIRED = ("FAILED_PRECONDITION", "HOLD_EXPIRED")
ONE_SECOND = Duration(seconds=1)
AT_ONCE = Duration(nanos=1000)


def wait_for_expiry(people: People, hold: Hold) -> None:
    wait_until(lambda: hold_now(people, hold).state == HOLD_STATE_EXPIRED)


def resolve_both_ways(people: People, hold: Hold, when: str) -> list[Answer]:
    return [
        people.bob.send(CaptureHoldRequest(hold_id=hold.hold_id, request_id=f"c-{when}")),
        people.bob.send(VoidHoldRequest(hold_id=hold.hold_id, request_id=f"v-{when}")),
    ]


def test_a_hold_whose_time_is_over_is_released_by_itself(people: People) -> None:
    hold = hold_of(people.alice, 300, to_user_id="bob", expire_after=ONE_SECOND)
    lifetime = hold.expire_time.ToMicroseconds() - hold.create_time.ToMicroseconds()
    held = money_of(people, "alice")

    wait_for_expiry(people, hold)

    assert lifetime == 1_000_000
    assert held == [(1000, 300)]
    assert money_of(people, "alice", "bob") == [(1000, 0), (500, 0)]
    spent = people.alice.send(TransferRequest(to_user_id="bob", amount=rub(1000), request_id="all"))
    assert spent.code.name == "OK"


def test_a_release_is_recorded_for_both_parties(people: People) -> None:
    hold = hold_of(people.alice, 300, to_user_id="bob", expire_after=AT_ONCE)
    wait_for_expiry(people, hold)

    release_id = transaction_id("@system", f"expire/{hold.hold_id}")
    for caller in (people.alice, people.bob, people.bank):
        request = GetTransactionRequest(transaction_id=release_id)
        release = caller.send(request).response.transaction
        assert (release.kind, release.state) == (
            Transaction.KIND_EXPIRE,
            Transaction.STATE_POSTED,
        )
        assert (release.hold_id, release.amount.minor_units) == (hold.hold_id, 300)
        assert (release.request_id, release.HasField("entry")) == ("", False)
        assert release.create_time.ToMicroseconds() >= hold.expire_time.ToMicroseconds()


def test_an_expired_hold_is_neither_captured_nor_voided(people: People) -> None:
    hold = hold_of(people.alice, 300, to_user_id="bob", expire_after=AT_ONCE)

    # Swept or not, its time is over.
    unswept = resolve_both_ways(people, hold, "before")
    wait_for_expiry(people, hold)
    swept = resolve_both_ways(people, hold, "after")

    assert [each.outcome for each in unswept + swept] == [EXPIRED] * 4
    assert [each.is_marked_replayed for each in unswept + swept] == [False] * 4
    assert money_of(people, "alice", "bob") == [(1000, 0), (500, 0)]


def test_what_is_left_of_a_captured_hold_expires(people: People) -> None:
    hold = hold_of(people.alice, 300, to_user_id="bob", expire_after=ONE_SECOND)
    people.bob.send(
        CaptureHoldRequest(
            hold_id=hold.hold_id, amount=rub(100), keep_remainder=True, request_id="c"
        )
    )

    wait_for_expiry(people, hold)

    assert hold_now(people, hold).captured.minor_units == 100
    assert money_of(people, "alice", "bob") == [(900, 0), (600, 0)]


@pytest.mark.parametrize("state", ["FROZEN", "NO_DEBITS", "NO_CREDITS"])
def test_expiry_passes_on_a_blocked_account(people: People, state: str) -> None:
    hold = hold_of(people.alice, 300, to_user_id="bob", expire_after=ONE_SECOND)
    blocked = UpdateAccountRequest(
        user_id="alice", state=f"ACCOUNT_STATE_{state}", request_id="block"
    )
    assert people.bank.send(blocked).code.name == "OK"

    wait_for_expiry(people, hold)

    assert money_of(people, "alice") == [(1000, 0)]


def test_a_hold_without_an_end_and_a_captured_one_do_not_expire(people: People) -> None:
    forever = hold_of(people.alice, 100)
    captured = hold_of(people.alice, 200, to_user_id="bob", expire_after=ONE_SECOND)
    later = hold_of(people.alice, 300, expire_after=ONE_SECOND)
    people.bob.send(CaptureHoldRequest(hold_id=captured.hold_id, request_id="c"))
    before = [hold_now(people, each) for each in (forever, captured)]

    wait_for_expiry(people, later)

    assert [hold_now(people, each) for each in (forever, captured)] == before
    assert money_of(people, "alice", "bob") == [(800, 100), (700, 0)]


def create(people: People, number: int) -> None:
    request = CreateHoldRequest(amount=rub(1), expire_after=ONE_SECOND, request_id=f"h{number}")
    assert people.alice.send(request).code.name == "OK"


def test_many_servers_release_each_hold_once(database_url: str, tmp_path: Path) -> None:
    count = 250
    with ExitStack() as stack:
        servers: list[Serving] = [
            stack.enter_context(serving(database_url, tmp_path)) for _ in range(2)
        ]
        people = stack.enter_context(people_of(servers[0].target))
        for number in range(count):
            create(people, number)
        wait_until(lambda: money_of(people, "alice") == [(1000, 0)])
        rows = all_rows(database_url)
        with user(servers[1].target, "alice") as elsewhere:
            spent = elsewhere.send(
                TransferRequest(to_user_id="bob", amount=rub(1000), request_id="all")
            )

    assert len(rows["transactions"]) == 2 + 2 * count
    assert len(rows["entries"]) == 2
    assert spent.code.name == "OK"


def test_holds_that_cannot_be_released_keep_no_others_waiting(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "_HOLDS_AT_ONCE", 2)
    with (
        serving(postgres_url, tmp_path, lock_timeout_ms=100) as wallet,
        people_of(wallet.target) as people,
        capture_logs() as logs,
    ):
        for number in range(3):
            create(people, number)
        with row_locked(postgres_url, "alice"):
            hold = hold_of(people.bob, 300, expire_after=ONE_SECOND)

            wait_for_expiry(people, hold)

            assert money_of(people, "alice", "bob") == [(1000, 3), (500, 0)]
            wait_until(
                lambda: ("holds_not_swept", 3) in [(log["event"], log.get("holds")) for log in logs]
            )
        wait_until(lambda: money_of(people, "alice") == [(1000, 0)])


@contextmanager
def tables_gone(database_url: str) -> Iterator[None]:
    """Take away, for a block, what the server looks at by itself."""
    database = open_database(database_url)
    for name, other in (("holds", "holds_gone"), ("accounts", "accounts_gone")):
        with database.transaction() as connection:
            connection.execute(text(f"ALTER TABLE {name} RENAME TO {other}"))
    yield
    for name, other in (("holds", "holds_gone"), ("accounts", "accounts_gone")):
        with database.transaction() as connection:
            connection.execute(text(f"ALTER TABLE {other} RENAME TO {name}"))
    database.close()


def test_what_the_server_does_by_itself_goes_on_after_any_error(
    database_url: str, tmp_path: Path
) -> None:
    def told(event: str) -> int:
        return [log["event"] for log in logs].count(event)

    with (
        serving(database_url, tmp_path) as wallet,
        people_of(wallet.target) as people,
        people.alice.watch(after_sequence=1) as stream,
        capture_logs() as logs,
    ):
        hold = hold_of(people.alice, 300, expire_after=ONE_SECOND)
        with tables_gone(database_url):
            wait_until(lambda: told("holds_not_swept"))
        assert told("watches_not_polled") == 1  # of many tries in the same time

        wait_for_expiry(people, hold)
        people.alice.send(TransferRequest(to_user_id="bob", amount=rub(7), request_id="news"))
        assert [each.amount.minor_units for each in stream.take(1)] == [7]
        with tables_gone(database_url):
            wait_until(lambda: told("watches_not_polled") == 2)
