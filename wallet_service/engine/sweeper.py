"""
Release holds whose time is over, within a second or so.

Each is one command like any other, under an id that all servers derive alike: however many sweep,
it is released once. A hold does not wait for this to be over: its time is checked whenever it is
used.
"""

import threading
import time

import structlog

from wallet_service.engine.execute import Submission
from wallet_service.engine.group_commit import GroupCommit
from wallet_service.ledger.commands import SYSTEM, ExpireHold
from wallet_service.ledger.errors import WalletError
from wallet_service.storage.database import Database
from wallet_service.storage.queries import read_due_holds

INTERVAL_S = 0.5
_HOLDS_PER_SWEEP = 200
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
                while self.sweep() == _HOLDS_PER_SWEEP and not self._stopping.is_set():
                    pass
            except WalletError as error:
                _log.warning("holds_not_swept", cause=repr(error))

    def sweep(self) -> int:
        """Release what is due, up to a bound; return how many holds were due."""
        now = time.time_ns() // 1000
        due = read_due_holds(self._database, now, row_limit=_HOLDS_PER_SWEEP)
        if due:
            commands = [
                ExpireHold(caller=SYSTEM, request_id=f"expire/{hold_id}", hold_id=hold_id)
                for hold_id in due
            ]
            deadline = time.monotonic() + _DEADLINE_S
            self._engine.submit_all(Submission(commands), deadline=deadline)
        return len(due)
