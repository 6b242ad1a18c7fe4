"""
Release holds whose time is over, within a second or so.

Each is one command like any other, under an id that all servers derive alike: however many sweep,
it is released once. A hold does not wait for this to be over: its time is checked whenever it is
used.
"""

import threading
import time
from collections.abc import Sequence

import structlog

from wallet_service.engine.execute import Submission
from wallet_service.engine.group_commit import GroupCommit
from wallet_service.ledger.commands import SYSTEM, ExpireHold
from wallet_service.ledger.errors import HoldNotDue
from wallet_service.storage.database import Database
from wallet_service.storage.queries import BEFORE_ALL_HOLDS, read_due_holds

INTERVAL_S = 0.5
_HOLDS_AT_ONCE = 200
_DEADLINE_S = 30.0

_log = structlog.get_logger()


class Sweeper:
    """
    Sweeps every half second on a thread of its own.

    Args:
        engine: Runs the releases among everybody's commands.

        database: Asked for what is due.
    """

    def __init__(self, engine: GroupCommit, database: Database) -> None:
        self._engine = engine
        self._database = database
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin sweeping."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the sweep under way, then no more."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL_S):
            try:
                self._sweep()
            except Exception as error:  # noqa: BLE001 (whatever it is, it may be over next time)
                _log.warning("holds_not_swept", cause=repr(error.__cause__ or error))

    def _sweep(self) -> None:
        """Release all that is due; what cannot be released does not keep the rest waiting."""
        now = time.time_ns() // 1000
        after = BEFORE_ALL_HOLDS
        failures: list[Exception] = []
        while not self._stopping.is_set():
            due = read_due_holds(self._database, now, after=after, row_limit=_HOLDS_AT_ONCE)
            if not due:
                break
            failures += self._release([hold_id for _, hold_id in due])
            after = due[-1]
        if failures:
            _log.warning("holds_not_swept", holds=len(failures), cause=repr(failures[0]))

    def _release(self, hold_ids: Sequence[str]) -> list[Exception]:
        """Release some holds in one batch; return why others could not be."""
        commands = [
            ExpireHold(caller=SYSTEM, request_id=f"expire/{hold_id}", hold_id=hold_id)
            for hold_id in hold_ids
        ]
        deadline = time.monotonic() + _DEADLINE_S
        results = self._engine.submit_all(Submission(commands), deadline=deadline)
        return [
            result
            for result in results
            # Somebody resolved it meanwhile, or this clock is ahead of the batch's.
            if isinstance(result, Exception) and not isinstance(result, HoldNotDue)
        ]
