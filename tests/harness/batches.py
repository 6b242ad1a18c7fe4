"""Batches that wait at a gate, and a crowd of threads that submits to them."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Semaphore
from typing import Self

from harness.commands import books_with, deposit
from harness.patience import eventually
from wallet_service.engine.execute import Result, Submission
from wallet_service.engine.group_commit import GroupCommit, RunBatch
from wallet_service.ledger.books import Outcome
from wallet_service.ledger.commands import Command
from wallet_service.ledger.decide import decide

SOON_S = 60.0  # a deadline that no test reaches
_THREADS = 16


def answer_to(command: Command) -> Outcome:
    """Return what a command's own answer is: made from it alone."""
    return decide(books_with(), command)


def answer_all(submissions: Sequence[Submission]) -> list[list[Result]]:
    """Carry out a batch."""
    return [[answer_to(command) for command in part.commands] for part in submissions]


def request_ids_in(submissions: Sequence[Submission]) -> list[str]:
    """Name the requests of a batch in order."""
    return [command.request_id for part in submissions for command in part.commands]


def in_time() -> float:
    """Return a deadline far away."""
    return time.monotonic() + SOON_S


def submit(engine: GroupCommit, command: Command, *, deadline: float) -> Outcome:
    """Have a command carried out that is there already, and return its outcome as it is."""
    return engine.submit(lambda: command, lambda outcome: outcome, deadline=deadline)


class Gate:
    """A way to run batches that stops before each one until it is let through, and keeps count."""

    def __init__(self, run: RunBatch = answer_all) -> None:
        self._run = run
        self.batches: list[list[str]] = []
        self.running = 0
        self.running_max = 0
        self.entered = Semaphore(0)
        self.opened = Semaphore(0)

    def __call__(self, submissions: Sequence[Submission]) -> list[list[Result]]:
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        self.batches.append(request_ids_in(submissions))
        self.entered.release()
        assert self.opened.acquire(timeout=SOON_S)
        try:
            return self._run(submissions)
        finally:
            self.running -= 1

    def wait_for_a_batch(self) -> None:
        """Return once a batch has begun that nobody waited for before."""
        assert self.entered.acquire(timeout=SOON_S)

    def open(self, batches: int = 1000) -> None:
        """Let some batches through."""
        self.opened.release(batches)


class Crowd:
    """Threads that submit, and how many of their commands wait."""

    def __init__(self, gate: Gate, batch_max: int) -> None:
        self.engine = GroupCommit(gate, batch_max=batch_max)
        self._pool = ThreadPoolExecutor(_THREADS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def submit(self, request_id: str, deadline: float | None = None) -> Future[Outcome]:
        """Submit from a thread of its own."""
        command = deposit(request_id, "alice", 5)
        return self._pool.submit(
            submit, self.engine, command, deadline=in_time() if deadline is None else deadline
        )

    def ask(
        self, read: Callable[[], Command], answer: Callable[[Outcome], Outcome]
    ) -> Future[Outcome]:
        """Submit from a thread of its own, once it waits."""
        return self._waiting(
            lambda: self._pool.submit(self.engine.submit, read, answer, deadline=in_time())
        )

    def gather(self, *request_ids: str) -> list[Future[Outcome]]:
        """Submit some commands, one after another, until all of them wait."""
        return [
            self._waiting(lambda request_id=request_id: self.submit(request_id))
            for request_id in request_ids
        ]

    def _waiting(self, ask: Callable[[], Future[Outcome]]) -> Future[Outcome]:
        before = len(self.engine._combiner._pending)
        future = ask()
        eventually(lambda: len(self.engine._combiner._pending) == before + 1)
        return future


def request_id_of(future: Future[Outcome]) -> str:
    """Return which request an answer is for."""
    return future.result(SOON_S).transaction.request_id
