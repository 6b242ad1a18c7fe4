"""
Live history: each watcher is sent an account's lines as they are committed, by whichever server.

One thread a worker asks the database, for all watched accounts at once, how far each has come, and
wakes those with news. Watchers then read by key from where they are, a bounded part at a time, so
nothing can be missed, sent twice, or pile up for a slow reader.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import structlog
from wallet_client.v1.wallet_service_pb2 import WatchTransactionsResponse

from wallet_service.ledger.books import Outcome
from wallet_service.ledger.commands import AccountKey
from wallet_service.ledger.errors import (
    DatabaseUnavailable,
    ShuttingDown,
    TooManyStreams,
)
from wallet_service.storage.database import Database
from wallet_service.storage.history import Line, read_lines_after
from wallet_service.storage.queries import read_sequences
from wallet_service.transport import encode
from wallet_service.transport.auth import Caller
from wallet_service.transport.interceptors import Call
from wallet_service.transport.threads import ThreadPool

POLL_INTERVAL_S = 0.05
HEARTBEAT_INTERVAL_S = 10.0
#: How long ago the last look for news may be to say that there are none.
POLL_AGE_S_MAX = 2.0
_ROWS_PER_READ = 256

_log = structlog.get_logger()


class _Watcher:
    """One stream: what it watches, how far it was sent, and what wakes it."""

    def __init__(self, key: AccountKey, sequence: int) -> None:
        self.key = key
        self.sequence = sequence
        self.news = threading.Event()
        self.news.set()


class Watches:
    """
    All streams of one worker.

    Args:
        database: Read for news.

        streams_max: Streams the worker holds open; each takes a thread of `pool`.

        streams_per_caller_max: Of these, those of one caller.
    """

    def __init__(
        self, database: Database, *, streams_max: int, streams_per_caller_max: int
    ) -> None:
        self._database = database
        self._streams_max = streams_max
        self._streams_per_caller_max = streams_per_caller_max
        self._mutex = threading.Lock()
        self._watchers: set[_Watcher] = set()
        self._callers: Counter[str] = Counter()
        self._polled_at = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="watches", daemon=True)
        # One thread more than streams, to turn away those beyond.
        self.pool = ThreadPool(streams_max + 1, thread_name_prefix="watch")

    def start(self) -> None:
        """Begin looking for news."""
        self._thread.start()

    def stop(self) -> None:
        """End all streams."""
        self._stopping.set()
        with self._mutex:
            for watcher in self._watchers:
                watcher.news.set()
        self._thread.join()

    def stream(
        self, call: Call, key: AccountKey, sequence: int, context: grpc.ServicerContext
    ) -> Iterator[WatchTransactionsResponse]:
        """
        Yield an account's lines after a sequence, for as long as the client listens.

        Raises:
            TooManyStreams: The worker, or this caller, has as many as may be.

            Unauthenticated: The caller's token ran out meanwhile, or its key was withdrawn.

            ShuttingDown: This server stops; another goes on from the last sequence.

            DatabaseUnavailable: Nobody here knows what moves; another server may.
        """
        caller = call.caller
        with self._watcher(caller, key, sequence) as watcher:
            try:
                context.send_initial_metadata(())  # it may be long until there is news to tell
            except grpc.RpcError:  # the client has gone
                return
            context.add_callback(watcher.news.set)
            beat_at = time.monotonic() + HEARTBEAT_INTERVAL_S
            while context.is_active():
                self._check(call)
                wait_s = min(beat_at - time.monotonic(), caller.expires_at - time.time())
                if watcher.news.wait(max(0.0, wait_s)):
                    watcher.news.clear()
                    for line in self._lines_after(watcher):
                        self._check(call)
                        yield _transaction(line, caller, key)
                        watcher.sequence = line.entry.sequence
                        beat_at = time.monotonic() + HEARTBEAT_INTERVAL_S
                elif time.monotonic() >= beat_at:
                    if time.monotonic() - self._polled_at > POLL_AGE_S_MAX:
                        raise DatabaseUnavailable
                    yield _heartbeat(watcher.sequence)
                    beat_at = time.monotonic() + HEARTBEAT_INTERVAL_S

    def _check(self, call: Call) -> None:
        if self._stopping.is_set():
            raise ShuttingDown
        call.check_caller()

    def _lines_after(self, watcher: _Watcher) -> Iterator[Line]:
        """Read the watched account to its end, a bounded part at a time."""
        sequence = watcher.sequence
        while not self._stopping.is_set():
            lines = read_lines_after(
                self._database, watcher.key, sequence, row_limit=_ROWS_PER_READ
            )
            yield from lines
            if len(lines) < _ROWS_PER_READ:
                return
            sequence = lines[-1].entry.sequence

    @contextmanager
    def _watcher(self, caller: Caller, key: AccountKey, sequence: int) -> Iterator[_Watcher]:
        watcher = _Watcher(key, sequence)
        with self._mutex:
            is_full = len(self._watchers) >= self._streams_max
            if is_full or self._callers[caller.user_id] >= self._streams_per_caller_max:
                raise TooManyStreams
            self._watchers.add(watcher)
            self._callers[caller.user_id] += 1
        try:
            yield watcher
        finally:
            with self._mutex:
                self._watchers.discard(watcher)
                self._callers[caller.user_id] -= 1
                if not self._callers[caller.user_id]:
                    del self._callers[caller.user_id]

    def _poll(self) -> None:
        is_told = False
        while not self._stopping.wait(POLL_INTERVAL_S):
            with self._mutex:
                watchers = list(self._watchers)
            asked_at = time.monotonic()
            try:
                sequences = read_sequences(self._database, {watcher.key for watcher in watchers})
            except Exception as error:  # noqa: BLE001 (whatever it is, it may be over next time)
                if not is_told:  # an outage is one line, not twenty a second
                    _log.warning("watches_not_polled", cause=repr(error.__cause__ or error))
                is_told = True
                continue
            is_told = False
            self._polled_at = asked_at
            for watcher in watchers:
                if sequences.get(watcher.key, 0) > watcher.sequence:
                    watcher.news.set()


def _transaction(line: Line, caller: Caller, key: AccountKey) -> WatchTransactionsResponse:
    outcome = Outcome(line.transaction, (line.entry,), is_replayed=False)
    transaction = encode.transaction(outcome, caller, viewed=key.user_id)
    return WatchTransactionsResponse(transaction=transaction)


def _heartbeat(sequence: int) -> WatchTransactionsResponse:
    now = encode.timestamp(time.time_ns() // 1000)
    heartbeat = WatchTransactionsResponse.Heartbeat(sequence=sequence, as_of=now)
    return WatchTransactionsResponse(heartbeat=heartbeat)
