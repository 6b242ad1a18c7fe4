"""
A proxy in front of PostgreSQL that cuts a connection where it hurts most: around COMMIT.

It knows just enough of the wire protocol (PostgreSQL manual, "Frontend/Backend Protocol") to see
a client's messages: a start-up packet without a type, then type, length, body.
"""

import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Self

from sqlalchemy.engine import make_url

_COMMIT = b"COMMIT\0"
_LOCK = b"EXECUTE lock_"
_NO = b"N"
_ENCRYPTION_REQUESTS = {80877103, 80877104}
_QUERY = b"Q"


class Fault(Enum):
    """Where a connection is cut."""

    BEFORE_COMMIT = auto()  # COMMIT, with what it commits, never reaches the server
    AFTER_COMMIT = auto()  # the server has committed, and its answer is lost
    SILENT_COMMIT = auto()  # the same, but the client is left waiting until the proxy is healed
    AFTER_LOCKS = auto()  # the server holds the locks, and nothing is written yet


def _is_occasion(fault: Fault, query: bytes) -> bool:
    if fault is Fault.AFTER_LOCKS:
        return _LOCK in query
    return query.endswith(_COMMIT)


class PgProxy:
    """
    Listens on a free port of this machine and passes everything on, until told otherwise.

    Args:
        database_url: The database behind it.
    """

    def __init__(self, database_url: str) -> None:
        self._upstream = make_url(database_url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._mutex = threading.Lock()
        self._planned: deque[Fault] = deque()
        self._always: Fault | None = None
        self._healed = threading.Event()
        self.cuts = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()
        # Only this wakes a thread that waits in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def database_url(self) -> str:
        """The address of the database through this proxy."""
        port = self._listener.getsockname()[1]
        through = self._upstream.set(
            host="127.0.0.1",
            port=port,
            query={"sslmode": "disable", "gssencmode": "disable"},
        )
        return through.render_as_string(hide_password=False)

    def plan(self, *faults: Fault) -> None:
        """Have some faults happen, each once, as soon as there is an occasion."""
        with self._mutex:
            self._planned.extend(faults)

    def break_always(self, fault: Fault) -> None:
        """Have a fault happen at every occasion until healed."""
        self._healed.clear()
        with self._mutex:
            self._always = fault

    def heal(self) -> None:
        """Pass everything on again; end the connections that were left waiting."""
        with self._mutex:
            self._planned.clear()
            self._always = None
        self._healed.set()

    def next_fault(self, query: bytes) -> Fault | None:
        """Take the fault that is due at a query: at a COMMIT, or once locks are held."""
        with self._mutex:
            fault = self._planned[0] if self._planned else self._always
            if fault is None or not _is_occasion(fault, query):
                return None
            if self._planned:
                self._planned.popleft()
            self.cuts += 1
            if fault is Fault.SILENT_COMMIT:
                self._healed.clear()
            return fault

    def wait_until_healed(self) -> None:
        """Hold a connection's answer back."""
        self._healed.wait()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            _Connection(self, client, self._connect()).start()

    def _connect(self) -> socket.socket:
        host = self._upstream.query.get("host") or self._upstream.host or "127.0.0.1"
        port = self._upstream.port or 5432
        assert isinstance(host, str)
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        # If it is gone, the first use finds out, and the client sees a lost connection.
        with contextlib.suppress(OSError):
            server.connect(f"{host}/.s.PGSQL.{port}")
        return server


class _Connection:
    """One client's connection, with a thread for each direction."""

    def __init__(self, proxy: PgProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._requests = client.makefile("rb")
        self._withheld: Fault | None = None

    def start(self) -> None:
        for direction in (self._pass_requests, self._pass_answers):
            threading.Thread(target=self._run, args=(direction,), daemon=True).start()

    def _run(self, direction: Callable[[], None]) -> None:
        with contextlib.suppress(OSError, EOFError, ValueError):
            direction()
        self._cut()

    def _cut(self) -> None:
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _read(self, size: int) -> bytes:
        data = self._requests.read(size)
        if data is None or len(data) < size:
            raise EOFError
        return data

    def _pass_requests(self) -> None:
        self._pass_startup()
        while True:
            kind, length = self._read(1), self._read(4)
            body = self._read(struct.unpack("!I", length)[0] - 4)
            fault = self._proxy.next_fault(body) if kind == _QUERY else None
            if fault is Fault.BEFORE_COMMIT:
                return
            self._withheld = fault
            self._server.sendall(kind + length + body)

    def _pass_startup(self) -> None:
        while True:
            length = self._read(4)
            body = self._read(struct.unpack("!I", length)[0] - 4)
            if struct.unpack("!I", body[:4])[0] not in _ENCRYPTION_REQUESTS:
                break
            self._client.sendall(_NO)
        self._server.sendall(length + body)

    def _pass_answers(self) -> None:
        while data := self._server.recv(65536):
            if self._withheld is Fault.SILENT_COMMIT:
                self._proxy.wait_until_healed()
            if self._withheld:
                return
            self._client.sendall(data)
