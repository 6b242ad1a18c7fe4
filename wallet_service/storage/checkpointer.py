"""
Copy SQLite's log into its file beside the batches.

Without that, one batch in every few would do it for all, within its COMMIT.
"""

import threading

import structlog

from wallet_service.storage import sqlite
from wallet_service.storage.database import Database

_INTERVAL_MS = 250
#: After a copy that failed.
_PAUSE_MS = 5000

_log = structlog.get_logger()


class Checkpointer:
    """
    Copies four times a second, from now on, on a thread of its own.

    Args:
        database: An embedded one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpointer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the copy under way, then no more."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        wait_ms = _INTERVAL_MS
        while not self._stopping.wait(wait_ms / 1000):
            wait_ms = _INTERVAL_MS
            try:
                self._database.probe(sqlite.checkpoint)
            except Exception as error:  # noqa: BLE001 (whatever it is, it may be over next time)
                _log.warning("checkpoint_failed", cause=repr(error.__cause__ or error))
                wait_ms = _PAUSE_MS
