"""Load from client processes that keep a journal, and that can start at one instant."""

import os
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from ctypes import c_longlong
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier, Condition, Event
from pathlib import Path
from typing import Any, Self

from wallet_client import Wallet, new_request_id

from harness.journal import Journal, Request, try_once
from harness.patience import PATIENCE_S, SERVING, wait_until_health_is
from harness.processes import FORKS
from harness.tokens import service_token

#: Sizes a meeting can have, which is also how many client processes there are at most.
MEETING_SIZES = (2, 8, 16)
#: How often what is sent, in a hundred.
_WEIGHTS = {"TRANSFER": 50, "HOLD": 16, "CAPTURE": 10, "VOID": 6, "REVERSAL": 9, "BATCH": 9}


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
        seed: Decides the requests.

        count: How many to have answered OK; None: until the load is ended.

        timeout_s: The deadline of each.
    """

    seed: int
    count: int | None = None
    timeout_s: float = 5.0


class Clients:
    """Client processes, started as they are needed."""

    def __init__(self) -> None:
        self._shared = _Shared(
            {size: FORKS.Barrier(size) for size in MEETING_SIZES},
            FORKS.Condition(),
            FORKS.Value(c_longlong, lock=False),
            FORKS.Event(),
        )
        self._pool = ProcessPoolExecutor(
            max(MEETING_SIZES), mp_context=FORKS, initializer=_join, initargs=(self._shared,)
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
        """Have random requests sent, a client for each journal, until the load is ended."""
        self._shared.is_over.clear()
        return self.send_at_random(target, journals, users, Load(seed))

    def send_at_random(
        self, target: str, journals: Sequence[Path], users: Sequence[str], load: Load
    ) -> list[Future[Any]]:
        """Have random requests sent, others by each client, each with its own journal."""
        return [
            self._pool.submit(
                send_requests_at_random,
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
        """Wait until that many more requests were answered with OK."""
        with self._shared.condition:
            goal = self._shared.answers.value + count
            reached = self._shared.condition.wait_for(
                lambda: self._shared.answers.value >= goal, PATIENCE_S
            )
        assert reached, f"{self._shared.answers.value} of {goal} answers after {PATIENCE_S} s"


class Mix:
    """
    Random requests of one client: mostly transfers, and whatever fits what it made before.

    Args:
        users: Whom to move money between.

        choices: Decides.
    """

    def __init__(self, users: Sequence[str], choices: random.Random) -> None:
        self._users = users
        self._choices = choices
        self._made: dict[str, list[Request]] = {"HOLD": [], "TRANSFER": []}

    def next(self) -> list[Request]:
        """Return a request, or those of an atomic batch."""
        source, target = self._choices.sample(self._users, 2)
        amount_minor = self._choices.randint(1, 200)
        kinds, weights = zip(*_WEIGHTS.items(), strict=True)
        (kind,) = self._choices.choices(kinds, weights)
        earlier = self._made["TRANSFER" if kind == "REVERSAL" else "HOLD"]
        if kind == "BATCH":
            there = Request(source, target, amount_minor, batch=new_request_id())
            return [there, replace(there, source=target, target=source)]
        if kind in {"TRANSFER", "HOLD"}:
            return [Request(source, target, amount_minor, kind)]
        if not earlier:
            return [Request(source, target, amount_minor)]
        about = earlier.pop()
        if kind == "REVERSAL":
            about = replace(about, source=about.target, target=about.source)
        if kind != "VOID":
            about = replace(about, amount_minor=self._choices.randint(1, about.amount_minor))
        return [replace(about, kind=kind)]

    def remember(self, requests: Sequence[Request], ids: Sequence[str]) -> None:
        """Take note of what was answered with OK."""
        for request, transaction_id in zip(requests, ids, strict=True):
            if request.kind in self._made:
                self._made[request.kind].append(replace(request, about=transaction_id, batch=""))


def send_requests_at_random(
    target: str, journal_path: Path, users: Sequence[str], *, load: Load
) -> None:
    """
    Send random requests, in a client process, waiting for the server where it is gone.

    Args:
        target: Address of the server.

        journal_path: Where to write the journal.

        users: Whom to move money between.

        load: How many, and which.
    """
    mix = Mix(users, random.Random(load.seed))
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
                    requests = mix.next()
                    verdict, ids = try_once(wallet, journal, *requests)
                    if verdict == "ok":
                        mix.remember(requests, ids)
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
