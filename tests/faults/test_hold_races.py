"""Many processes at one hold, one original or one batch: one winner, and never above it."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from harness.jobs import (
    capture_parts,
    resolve_holds,
    reverse_again_and_again,
    reverse_each,
    send_refused_batch,
    send_same_batches,
)
from harness.load import Clients, open_books, scaled
from harness.oracles import Stored, assert_books_hold
from harness.patience import eventually
from harness.processes import ServerProcess, run_wallet
from harness.tokens import service_token
from wallet_client import Wallet

from wallet_service.ledger.ids import transaction_id

PATIENCE_S = 120 * scaled(1)
#: From over before anybody can ask, to never.
LIFETIMES = [None, *(timedelta(milliseconds=each) for each in (1, 30, 60, 120))]


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with as many workers as its database can have."""
    workers = 2 if database_url.startswith("postgresql") else 1
    with ServerProcess(tmp_path, database_url, workers=workers) as process:
        yield process


@pytest.fixture
def service(server: ServerProcess) -> Iterator[Wallet]:
    with Wallet(server.target, service_token(), plaintext=True) as client:
        yield client


def _results(futures: list[Future[Any]]) -> list[Any]:
    return [future.result(PATIENCE_S) for future in futures]


def _judged(database_url: str, directory: Path, *, total_minor: int) -> Stored:
    """Judge the books by SQL alone, and by the service's own proof."""
    stored = assert_books_hold(database_url, [], total_minor=total_minor)
    proof = run_wallet("verify", directory=directory, database_url=database_url)
    assert proof.returncode == 0, proof.stderr
    return stored


def _posted(service: Wallet, user_id: str) -> int:
    return service.balance(user_id=user_id).posted.minor_units


def test_of_capture_void_and_expiry_exactly_one_wins(
    *, service: Wallet, server: ServerProcess, clients: Clients, database_url: str, tmp_path: Path
) -> None:
    count = scaled(10)
    total_minor = open_books(server.target, ["alice", "bob"], amount_minor=1000 * count)
    names = [f"race-{number}" for number in range(count)]
    ids = [transaction_id("service", name) for name in names]
    lifetimes = (LIFETIMES * count)[:count]
    holds = list(zip(names, ids, lifetimes, strict=True))

    racing = clients.run(resolve_holds, [(server.target, holds, number) for number in range(16)])
    reasons = list(zip(*_results(racing), strict=True))
    eventually(lambda: service.balance(user_id="alice").held.minor_units == 0)

    stored = _judged(database_url, tmp_path, total_minor=total_minor)
    states = {hold["hold_id"]: hold["state"] for hold in stored.holds}
    for hold_id, expire_after, why in zip(ids, lifetimes, reasons, strict=True):
        winners = [number for number, reason in enumerate(why) if not reason]
        expected = {0: "EXPIRED", 1: "VOIDED" if winners and winners[0] % 2 else "CAPTURED"}
        assert states[hold_id] == expected[len(winners)], why
        assert set(why) <= {"", "HOLD_NOT_ACTIVE", "HOLD_EXPIRED"}
        assert expire_after or winners, "a hold without end expired"
    ends = Counter(
        each["hold_id"]
        for each in stored.transactions
        if each["state"] == "POSTED" and each["kind"] in {"CAPTURE", "VOID", "EXPIRE"}
    )
    assert ends == dict.fromkeys(ids, 1)
    captured = Counter(states.values())["CAPTURED"]
    assert _posted(service, "alice") == 1000 * count - 100 * captured


def test_captures_of_parts_never_exceed_their_hold(
    *, service: Wallet, server: ServerProcess, clients: Clients, database_url: str, tmp_path: Path
) -> None:
    count = scaled(5)
    total_minor = open_books(server.target, ["alice", "bob"], amount_minor=100 * count)
    holds = [
        service.create_hold(100, user_id="alice", to_user_id="bob").hold.hold_id
        for _ in range(count)
    ]

    racing = clients.run(capture_parts, [(server.target, holds, 30)] * 16)

    for why in zip(*_results(racing), strict=True):
        assert Counter(why) == {"": 3, "CAPTURE_EXCEEDS_HOLD": 13}
    _judged(database_url, tmp_path, total_minor=total_minor)
    assert _posted(service, "alice") == 10 * count
    assert service.balance(user_id="alice").available.minor_units == 0


def test_five_hundred_reversals_at_once_never_exceed_their_original(
    *, service: Wallet, server: ServerProcess, clients: Clients, database_url: str, tmp_path: Path
) -> None:
    count = scaled(32)
    total_minor = open_books(server.target, ["alice", "bob"], amount_minor=100_000)
    original = service.transfer("bob", 1000, user_id="alice").transaction.transaction_id

    reversing = clients.run(
        reverse_again_and_again, [(server.target, original, 7, count) for _ in range(16)]
    )
    reasons = sum(_results(reversing), Counter())

    assert reasons == {"": 142, "REVERSAL_EXCEEDS_ORIGINAL": 16 * count - 142}
    stored = _judged(database_url, tmp_path, total_minor=total_minor)
    assert [each["reversed_minor"] for each in stored.reversals] == [994]
    assert _posted(service, "bob") == 100_006


def test_two_clients_cannot_give_back_more_than_there_was(
    *, service: Wallet, server: ServerProcess, clients: Clients, database_url: str, tmp_path: Path
) -> None:
    count = scaled(20)
    total_minor = open_books(server.target, ["alice", "bob"], amount_minor=1000 * count)
    originals = [
        service.transfer("bob", 1000, user_id="alice").transaction.transaction_id
        for _ in range(count)
    ]

    reversing = clients.run(reverse_each, [(server.target, originals, 600)] * 2)

    for why in zip(*_results(reversing), strict=True):
        assert sorted(why) == ["", "REVERSAL_EXCEEDS_ORIGINAL"]
    _judged(database_url, tmp_path, total_minor=total_minor)
    assert _posted(service, "alice") == 600 * count


def test_the_same_atomic_batch_from_eight_processes_happens_once(
    *, service: Wallet, server: ServerProcess, clients: Clients, database_url: str, tmp_path: Path
) -> None:
    count = scaled(10)
    total_minor = open_books(server.target, ["zoe", "bob"], amount_minor=1000 * count)
    sale = service.transfer("bob", 100 * count, user_id="zoe").transaction.transaction_id
    hold = service.create_hold(100 * count, user_id="zoe", to_user_id="bob").hold.hold_id
    names = [f"batch-{number}" for number in range(count)]

    sending = clients.run(send_same_batches, [(server.target, names, sale, hold)] * 8)

    for same in zip(*_results(sending), strict=True):
        contents, replays = zip(*same, strict=True)
        assert all(content == contents[0] for content in contents)
        assert sorted(replays) == [False] + [True] * 7
    stored = _judged(database_url, tmp_path, total_minor=total_minor)
    assert len(stored.transactions) == 4 + 4 * count
    # Each batch: 10 to Bob, 10 held, 10 captured for Bob, 10 back from him.
    assert _posted(service, "bob") == 1110 * count


def test_the_same_refused_batch_from_eight_processes_moves_nothing(
    *, service: Wallet, server: ServerProcess, clients: Clients, database_url: str, tmp_path: Path
) -> None:
    count = scaled(5)
    total_minor = open_books(server.target, ["zoe", "bob"], amount_minor=1000)
    names = [f"batch-{number}" for number in range(count)]

    sending = clients.run(send_refused_batch, [(server.target, names)] * 8)

    answers = _results(sending)
    assert all(own == answers[0] for own in answers)
    assert [(answer["failed_index"], answer["failed_reason"]) for answer in answers[0]] == [
        ("1", "INSUFFICIENT_FUNDS")
    ] * count
    stored = _judged(database_url, tmp_path, total_minor=total_minor)
    assert len(stored.transactions) == 2 + 2 * count
    assert _posted(service, "zoe") == 1000
