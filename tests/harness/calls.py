"""Calls below the client class: any bytes to any method once, and all that comes back."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from sqlalchemy import event, text
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed
from wallet_client.v1 import wallet_admin_service_pb2, wallet_service_pb2
from wallet_client.v1.wallet_service_pb2 import ListBalancesRequest, WatchTransactionsRequest

from harness.tokens import bearer, write_secret
from wallet_service.server import WalletServer, open_from
from wallet_service.settings import Settings
from wallet_service.storage.database import Database, open_database

_CALLS = [
    (f"/{service.full_name}/{method.name}", method)
    for module in (wallet_service_pb2, wallet_admin_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]

#: Path of every method of both services, by its request.
METHODS: dict[type[Message], str] = {
    GetMessageClass(method.input_type): path for path, method in _CALLS
}
_RESPONSES = {path: GetMessageClass(method.output_type) for path, method in _CALLS}
_STREAMS = {path for path, method in _CALLS if method.server_streaming}

# Without probing for bandwidth, what travels ahead of a reader stays small.
_OPTIONS = [("grpc.enable_retries", 0), ("grpc.http2.bdp_probe", 0)]
#: Threads of the server that look for themselves, not for a call.
_OWN_THREADS = {"sweeper", "watches"}
_WAIT_S = 20


@dataclass(frozen=True)
class Answer:
    """How a call ended."""

    code: grpc.StatusCode
    message: str
    trailers: dict[str, Any]
    response: Any

    @property
    def details(self) -> bytes:
        """The rich status as it travelled."""
        return self.trailers.get("grpc-status-details-bin", b"")

    def detail(self, kind: type[Message]) -> Any:
        """Return the one detail of a kind."""
        packed = Status.FromString(self.details).details
        (found,) = [each for each in packed if each.Is(kind.DESCRIPTOR)]
        message = kind()
        found.Unpack(message)
        return message

    @property
    def reason(self) -> str:
        return self.detail(ErrorInfo).reason if self.details else ""

    @property
    def values(self) -> dict[str, str]:
        return dict(self.detail(ErrorInfo).metadata)

    @property
    def fields(self) -> list[str]:
        """The fields that the error blames."""
        return [violation.field for violation in self.detail(BadRequest).field_violations]

    @property
    def is_marked_replayed(self) -> bool:
        return self.trailers.get("wallet-replayed") == "true"

    @property
    def outcome(self) -> tuple[str, str]:
        return self.code.name, self.reason


class Pending:
    """A call under way."""

    def __init__(self, call: Any, path: str) -> None:
        self._call = call
        self._path = path

    @property
    def is_done(self) -> bool:
        return self._call.done()

    def answer(self) -> Answer:
        """Wait for its end."""
        is_ours = self._call.code() is grpc.StatusCode.OK and self._path in _RESPONSES
        response = _RESPONSES[self._path].FromString(self._call.result()) if is_ours else None
        return _answer(self._call, response)


class Stream:
    """A stream being read; leaving its block hangs up."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def cancel(self) -> None:
        self._call.cancel()

    @property
    def is_open(self) -> bool:
        return not self._call.done()

    def take(self, count: int) -> list[Any]:
        """Wait for the next transactions."""
        found = []
        while len(found) < count:
            event = next(self._call)
            if event.HasField("transaction"):
                found.append(event.transaction)
        return found

    def first(self, kind: type[Message]) -> Answer:
        """Wait for the first message of a stream of bytes, or its end."""
        try:
            data = next(self._call)
        except (StopIteration, grpc.RpcError):
            return _answer(self._call, None)
        return Answer(grpc.StatusCode.OK, "", {}, kind.FromString(data))

    def end(self) -> Answer:
        """Read what still comes, and wait for the end."""
        rest: list[Any] = []
        with suppress(grpc.RpcError):
            rest.extend(self._call)
        return _answer(self._call, rest)


def _answer(call: Any, response: Any) -> Answer:
    return Answer(
        code=call.code(),
        message=call.details() or "",
        trailers={each.key: each.value for each in call.trailing_metadata() or ()},
        response=response,
    )


class Caller:
    """Sends each request once: no retries, nothing checked, nothing translated."""

    def __init__(self, target: str, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self._metadata = metadata
        self.channel = grpc.insecure_channel(target, _OPTIONS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def send(self, request: Message, *, timeout_s: float = _WAIT_S) -> Answer:
        """Wait for the answer; of a stream, for its first message."""
        path = METHODS[type(request)]
        return self._send(path, request.SerializeToString(), timeout_s, self._metadata)

    def watch(self, *, timeout_s: float = _WAIT_S, **fields: Any) -> Stream:
        """Open a stream."""
        path = METHODS[WatchTransactionsRequest]
        method = self.channel.unary_stream(path, response_deserializer=_RESPONSES[path].FromString)
        data = WatchTransactionsRequest(**fields).SerializeToString()
        return Stream(method(data, timeout=timeout_s, metadata=self._metadata))

    def start(self, request: Message, *, timeout_s: float | None = _WAIT_S) -> Pending:
        path = METHODS[type(request)]
        return self._start(path, request.SerializeToString(), timeout_s, self._metadata)

    def send_bytes(
        self,
        path: str,
        data: bytes,
        *,
        metadata: tuple[tuple[str, str], ...] = (),
        timeout_s: float = _WAIT_S,
    ) -> Answer:
        return self._send(path, data, timeout_s, (*self._metadata, *metadata))

    def _send(self, path: str, data: bytes, timeout_s: float, metadata: Any) -> Answer:
        if path not in _STREAMS:
            return self._start(path, data, timeout_s, metadata).answer()
        with Stream(
            self.channel.unary_stream(path)(data, timeout=timeout_s, metadata=metadata)
        ) as (stream):
            return stream.first(_RESPONSES[path])

    def _start(self, path: str, data: bytes, timeout_s: float | None, metadata: Any) -> Pending:
        method = self.channel.unary_unary(path)
        return Pending(method.future(data, timeout=timeout_s, metadata=metadata), path)


def user(target: str, user_id: str, *scopes: str) -> Caller:
    """Call as a user."""
    return Caller(target, bearer(user_id, *scopes))


def balances_of(caller: Caller, *user_ids: str) -> dict[tuple[str, str], tuple[int, int]]:
    """Read posted money and sequence of all accounts of some users."""
    balances = [
        balance
        for user_id in user_ids
        for balance in caller.send(ListBalancesRequest(user_id=user_id)).response.balances
    ]
    return {
        (each.user_id, each.posted.currency_code): (each.posted.minor_units, each.sequence)
        for each in balances
    }


@dataclass(frozen=True)
class Serving:
    """A server in this process."""

    target: str
    server: WalletServer
    database: Database


@contextmanager
def serving(database_url: str, directory: Path, **settings: Any) -> Iterator[Serving]:
    """Run a server with other settings than the fixture's."""
    chosen = Settings(
        **{
            "database_url": database_url,
            "listen": "127.0.0.1:0",
            "jwt_secret_file": write_secret(directory),
            "threads": 16,
            **settings,
        }
    )
    database = open_from(chosen)
    server = WalletServer(chosen, database, shares_port=False)
    port = server.start()
    try:
        yield Serving(f"127.0.0.1:{port}", server, database)
    finally:
        server.stop()


@contextmanager
def accounts_locked(database_url: str) -> Iterator[None]:
    """Keep everybody from writing until the block is left; reads go on."""
    database = open_database(database_url)
    with database.transaction() as connection:
        if not database.is_embedded:
            connection.execute(text("LOCK TABLE accounts IN EXCLUSIVE MODE"))
        yield
    database.close()


@contextmanager
def row_locked(database_url: str, user_id: str) -> Iterator[None]:
    """Keep one account's row locked, as a transaction that hangs would."""
    database = open_database(database_url)
    statement = text("SELECT 1 FROM accounts WHERE user_id = :user_id FOR UPDATE")
    with database.transaction() as connection:
        connection.execute(statement, {"user_id": user_id})
        yield
    database.close()


@contextmanager
def connections_taken(database: Database) -> Iterator[list[str]]:
    """
    Collect the threads of a server's calls that take a connection, without which there is no SQL.

    What the server asks of itself is left out.
    """
    seen: list[str] = []

    def note(*_: object) -> None:
        name = threading.current_thread().name
        if name not in _OWN_THREADS:
            seen.append(name)

    engines = (database.writer, database.reader)
    for engine in engines:
        event.listen(engine, "checkout", note)
    try:
        yield seen
    finally:
        for engine in engines:
            event.remove(engine, "checkout", note)


def wait_until(condition: Callable[[], bool]) -> None:
    """Look again and again until something is so, for a bounded time."""
    Retrying(
        retry=retry_if_result(lambda is_so: not is_so),
        wait=wait_fixed(0.01),
        stop=stop_after_delay(_WAIT_S),
    )(condition)
