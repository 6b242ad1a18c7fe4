"""
Load from client processes that keep a journal, and that can start at one instant.

A journal is a file of JSON lines: `inv` is written before a transfer is sent, then what became of
it: `ok`, `refused`, `nothing` (the answer promises that nothing happened), `unknown`, or `error`,
which no fault excuses.
"""

import json
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from ctypes import c_longlong
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier, Condition, Event
from pathlib import Path
from typing import Any, Self

import grpc
from wallet_client import Refused, Wallet, WalletError, new_request_id

from harness.patience import PATIENCE_S, SERVING, wait_until_health_is
from harness.tokens import service_token

#: Sizes a meeting can have, which is also how many client processes there are at most.
MEETING_SIZES = (2, 8, 16)
_NOTHING_HAPPENED = {"DATABASE_UNAVAILABLE", "SHUTTING_DOWN"}
_RETRYABLE_WITHOUT_EFFECT = {grpc.StatusCode.ABORTED, grpc.StatusCode.RESOURCE_EXHAUSTED}
_IN_DOUBT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}


def scaled(count: int) -> int:
    """Multiply a count for long runs, by WALLET_TEST_SCALE."""
    return max(1, round(count * float(os.environ.get("WALLET_TEST_SCALE", "1"))))


@dataclass(frozen=True)
class _Shared:
    """What all client processes inherit."""

    meetings: dict[int, Barrier]
    condition: Condition
    answers: c_longlong
    is_over: Event


_shared: _Shared | None = None


def _join(shared: _Shared) -> None:
    global _shared  # noqa: PLW0603 (a process is told once)
    _shared = shared


def _here() -> _Shared:
    assert _shared
    return _shared


def meet(size: int) -> None:
    """Wait in a client process for as many others, so that all go on at one instant."""
    _here().meetings[size].wait(PATIENCE_S)


@dataclass(frozen=True)
class Load:
    """
    How a client sends.

    Args:
        seed: Decides the transfers.

        count: How many to have answered OK; None: until the load is ended.

        timeout_s: The deadline of each.
    """

    seed: int
    count: int | None = None
    timeout_s: float = 5.0


class Clients:
    """Client processes, started as they are needed."""

    def __init__(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._shared = _Shared(
            {size: spawn.Barrier(size) for size in MEETING_SIZES},
            spawn.Condition(),
            spawn.Value(c_longlong, lock=False),
            spawn.Event(),
        )
        self._pool = ProcessPoolExecutor(
            max(MEETING_SIZES), mp_context=spawn, initializer=_join, initargs=(self._shared,)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run(self, job: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Future[Any]]:
        """Run a job once for each tuple of arguments, each in a process of its own."""
        return [self._pool.submit(job, *arguments) for arguments in calls]

    def start_load(
        self, target: str, journals: Sequence[Path], users: Sequence[str], *, seed: int
    ) -> list[Future[Any]]:
        """Have random transfers sent, a client for each journal, until the load is ended."""
        self._shared.is_over.clear()
        return self.send_at_random(target, journals, users, Load(seed))

    def send_at_random(
        self, target: str, journals: Sequence[Path], users: Sequence[str], load: Load
    ) -> list[Future[Any]]:
        """Have random transfers sent, others by each client, each with its own journal."""
        return [
            self._pool.submit(
                transfer_at_random,
                target,
                journal,
                users,
                load=replace(load, seed=load.seed * 100 + number),
            )
            for number, journal in enumerate(journals)
        ]

    def end_load(self) -> None:
        """Have the clients stop as soon as they are answered."""
        self._shared.is_over.set()

    def wait_for_answers(self, count: int) -> None:
        """Wait until that many more transfers were answered with OK."""
        with self._shared.condition:
            goal = self._shared.answers.value + count
            reached = self._shared.condition.wait_for(
                lambda: self._shared.answers.value >= goal, PATIENCE_S
            )
        assert reached, f"{self._shared.answers.value} of {goal} answers after {PATIENCE_S} s"


class Journal:
    """Writes down what is asked and what is answered, line by line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, event: str, request_id: str, **values: object) -> None:
        """Write one line."""
        line = {"event": event, "request_id": request_id, "at": time.monotonic_ns(), **values}
        self._file.write(json.dumps(line) + "\n")


@dataclass
class Record:
    """One transfer as its journal tells it. `sequence` is the source's."""

    request_id: str
    source: str
    target: str
    amount_minor: int
    invoked_at: int
    verdict: str = "unknown"
    answered_at: int | None = None
    transaction_id: str = ""
    sequence: int = 0
    reason: str = ""


def read_journals(paths: Sequence[Path]) -> list[Record]:
    """Read what some clients wrote; a transfer without an answer is in doubt."""
    records: dict[str, Record] = {}
    for path in paths:
        for text in path.read_text().splitlines():
            line = json.loads(text)
            event, at = line.pop("event"), line.pop("at")
            if event == "inv":
                records[line["request_id"]] = Record(invoked_at=at, **line)
                continue
            record = records[line.pop("request_id")]
            record.verdict, record.answered_at = event, at
            for name, value in line.items():
                setattr(record, name, value)
    return list(records.values())


def verdict_of(error: WalletError) -> str:
    """Say what a failed call tells about its request."""
    if isinstance(error, Refused):
        return "refused"
    if error.code in _RETRYABLE_WITHOUT_EFFECT or error.reason in _NOTHING_HAPPENED:
        return "nothing"
    return "unknown" if error.code in _IN_DOUBT else "error"


def try_transfer(
    wallet: Wallet, journal: Journal, *, source: str, target: str, amount_minor: int
) -> str:
    """Send one transfer, once, between two journal lines; return the verdict."""
    request_id = new_request_id()
    journal.write("inv", request_id, source=source, target=target, amount_minor=amount_minor)
    try:
        sent = wallet.transfer(target, amount_minor, user_id=source, request_id=request_id)
    except WalletError as error:
        verdict = verdict_of(error)
        transaction_id = error.metadata.get("transaction_id", "")
        reason = error.reason or f"{error.code.name}: {error}"
        journal.write(verdict, request_id, reason=reason, transaction_id=transaction_id)
        return verdict
    entry = sent.transaction.entry
    transaction_id = sent.transaction.transaction_id
    journal.write("ok", request_id, transaction_id=transaction_id, sequence=entry.sequence)
    return "ok"


def transfer_at_random(
    target: str, journal_path: Path, users: Sequence[str], *, load: Load
) -> None:
    """
    Send random transfers, in a client process, waiting for the server where it is gone.

    Args:
        target: Address of the server.

        journal_path: Where to write the journal.

        users: Whom to move money between.

        load: How many, and which.
    """
    choices = random.Random(load.seed)
    answered = 0

    def goes_on() -> bool:
        return not _here().is_over.is_set() if load.count is None else answered < load.count

    with Journal(journal_path) as journal:
        while goes_on():
            with Wallet(
                target, service_token(), plaintext=True, timeout_s=load.timeout_s, attempts_max=1
            ) as wallet:
                verdict = "ok"
                while goes_on() and verdict in {"ok", "refused"}:
                    source, other = choices.sample(users, 2)
                    verdict = try_transfer(
                        wallet,
                        journal,
                        source=source,
                        target=other,
                        amount_minor=choices.randint(1, 200),
                    )
                    if verdict == "ok":
                        answered += 1
                        _count_answer()
            if verdict == "error":
                return
            wait_until_health_is(target, SERVING)


def _count_answer() -> None:
    shared = _here()
    with shared.condition:
        shared.answers.value += 1
        shared.condition.notify_all()


def open_books(target: str, users: Sequence[str], *, amount_minor: int) -> int:
    """Deposit the same to each user; return the sum."""
    with Wallet(target, service_token(), plaintext=True) as wallet:
        for user_id in users:
            wallet.deposit(amount_minor, user_id=user_id)
    return amount_minor * len(users)


def settle_unknown(target: str, records: Sequence[Record]) -> None:
    """Send every transfer in doubt again under its id, until it is answered for good."""
    with Wallet(target, service_token(), plaintext=True, attempts_max=20) as wallet:
        for record in records:
            if record.verdict != "unknown":
                continue
            try:
                sent = wallet.transfer(
                    record.target,
                    record.amount_minor,
                    user_id=record.source,
                    request_id=record.request_id,
                )
            except Refused as error:
                record.verdict, record.transaction_id = "refused", error.transaction_id
            else:
                record.verdict, record.transaction_id = "ok", sent.transaction.transaction_id
                record.sequence = sent.transaction.entry.sequence
