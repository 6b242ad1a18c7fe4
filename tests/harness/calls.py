"""Calls below the client class: any bytes to any method once, and all that comes back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from wallet_client.v1.wallet_service_pb2 import ListBalancesRequest

from harness.tokens import bearer, write_secret
from wallet_service.engine.execute import execute_batch
from wallet_service.ledger.books import Rules
from wallet_service.ledger.commands import AccountKey, Deposit
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

_OPTIONS = [("grpc.enable_retries", 0)]
#: What the health monitor asks every second, on either database.
_HEALTH_PINGS = ("SELECT 1", "SELECT pg_is_in_recovery()")
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
        code = self._call.code()
        is_ours = code is grpc.StatusCode.OK and self._path in _RESPONSES
        return Answer(
            code=code,
            message=self._call.details() or "",
            trailers={each.key: each.value for each in self._call.trailing_metadata() or ()},
            response=_RESPONSES[self._path].FromString(self._call.result()) if is_ours else None,
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
        return self.start(request, timeout_s=timeout_s).answer()

    def start(self, request: Message, *, timeout_s: float | None = _WAIT_S) -> Pending:
        path = METHODS[type(request)]
        return self._start(path, request.SerializeToString(), timeout_s, self._metadata)

    def send_bytes(
        self, path: str, data: bytes, *, metadata: tuple[tuple[str, str], ...] = ()
    ) -> Answer:
        return self._start(path, data, _WAIT_S, (*self._metadata, *metadata)).answer()

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
    with database.writer.connect() as connection, connection.begin():
        if not database.is_embedded:
            connection.execute(text("LOCK TABLE accounts IN EXCLUSIVE MODE"))
        yield
    database.close()


@contextmanager
def sql_statements(database: Database) -> Iterator[list[str]]:
    """Collect the SQL of a server's calls, leaving out its health monitor's pings."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not statement.startswith(_HEALTH_PINGS):
            seen.append(statement)

    engines = (database.writer, database.reader)
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


def deposit_many(database_url: str, user_id: str, count: int) -> None:
    """Give a user a history of deposits of 1, 2, 3, … kopecks, by the engine's own code."""
    commands = [
        Deposit(
            caller=user_id,
            request_id=f"many-{number}",
            target=AccountKey(user_id, "RUB"),
            amount_minor=number,
        )
        for number in range(1, count + 1)
    ]
    database = open_database(database_url)
    execute_batch(database, commands, rules=Rules())
    database.close()


def wait_until(condition: Callable[[], bool]) -> None:
    """Look again and again until something is so, for a bounded time."""
    Retrying(
        retry=retry_if_result(lambda is_so: not is_so),
        wait=wait_fixed(0.01),
        stop=stop_after_delay(_WAIT_S),
    )(condition)
