"""One worker: a threaded gRPC server with its engine and its database pools."""

import functools
import threading

import grpc
import structlog
from google.rpc import error_details_pb2
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from sqlalchemy.exc import ArgumentError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_fixed
from wallet_client.v1 import errors_pb2, wallet_admin_service_pb2, wallet_service_pb2
from wallet_client.v1.wallet_admin_service_pb2_grpc import (
    add_WalletAdminServiceServicer_to_server,
)
from wallet_client.v1.wallet_service_pb2_grpc import add_WalletServiceServicer_to_server

from wallet_service.credentials import server_credentials, token_keys
from wallet_service.engine.combine import Combiner
from wallet_service.engine.execute import execute_batch
from wallet_service.engine.group_commit import GroupCommit
from wallet_service.engine.retry import settle
from wallet_service.engine.sweeper import Sweeper
from wallet_service.health import HealthMonitor
from wallet_service.ledger.books import Rules
from wallet_service.settings import Settings, SettingsError
from wallet_service.storage.checkpointer import Checkpointer
from wallet_service.storage.database import Database, open_database
from wallet_service.storage.dialect import Limits, UnsafeDatabase
from wallet_service.storage.queries import read_balances
from wallet_service.storage.schema_version import VERSION, check_schema, read_version
from wallet_service.transport.admin_servicer import WalletAdminServicer
from wallet_service.transport.admission import Admission, CountingPool
from wallet_service.transport.auth import POLICIES, TokenVerifier
from wallet_service.transport.decode import Decoder
from wallet_service.transport.interceptors import Calls
from wallet_service.transport.reflection import make_reflector
from wallet_service.transport.servicer import WalletServicer
from wallet_service.transport.slow_peers import SlowPeers
from wallet_service.transport.watch import Watches

#: How long a server that starts waits for its database.
DATABASE_WAIT_S = 30

_SERVICES = [
    wallet_service_pb2.DESCRIPTOR.services_by_name["WalletService"].full_name,
    wallet_admin_service_pb2.DESCRIPTOR.services_by_name["WalletAdminService"].full_name,
]
# Reflection can explain only what was imported: the details inside errors, and their reasons.
_EXPLAINED = (error_details_pb2, errors_pb2)

_CHANNEL_OPTIONS = {
    "grpc.keepalive_time_ms": 60_000,
    "grpc.keepalive_timeout_ms": 20_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.min_ping_interval_without_data_ms": 10_000,
    "grpc.max_concurrent_streams": 1000,
    # Above the longest token: from here to the hard limit gRPC refuses calls at random.
    "grpc.max_metadata_size": 12 * 1024,
    "grpc.absolute_max_metadata_size": 16 * 1024,
    "grpc.server_handshake_timeout_ms": 10_000,
    # A worker added later gets its share of the load once connections are made anew.
    "grpc.max_connection_age_ms": 30 * 60 * 1000,
    "grpc.max_connection_age_grace_ms": 60_000,
}

#: How long a server that stops waits for its threads once no call is left.
_THREADS_WAIT_S = 2

_log = structlog.get_logger()


class WalletServer:
    """
    One worker.

    Args:
        settings: Everything chosen.

        database: Prepared; closed by `stop`.

        shares_port: Whether other workers listen on the same port.
    """

    def __init__(self, settings: Settings, database: Database, *, shares_port: bool) -> None:
        self._settings = settings
        self._database = database
        self._pool = CountingPool(settings.threads)
        self._health = HealthMonitor(database, _SERVICES)
        self._watches = Watches(
            database,
            streams_max=settings.streams_max,
            streams_per_caller_max=settings.streams_per_caller_max,
        )
        self._admission = Admission(
            self._pool,
            self._watches.pool,
            unfinished_max=settings.threads + settings.queue_max,
        )
        options = {
            **_CHANNEL_OPTIONS,
            "grpc.max_receive_message_length": settings.message_bytes_max,
            "grpc.so_reuseport": int(shares_port),
        }
        self._peers = SlowPeers(answer_wait_s=settings.default_deadline_ms / 1000)
        self._server = grpc.server(
            self._pool, interceptors=[self._calls()], options=list(options.items())
        )
        self._add_services()
        # Its thread begins here, not in `start`: before the worker is bound to one processor.
        self._checkpointer = Checkpointer(database) if database.is_embedded else None

    def _calls(self) -> Calls:
        verifier = TokenVerifier(
            token_keys(self._settings),
            issuer=self._settings.jwt_issuer,
            audience=self._settings.jwt_audience,
        )
        default_deadline_s = self._settings.default_deadline_ms / 1000
        return Calls(self._admission, verifier, self._peers, default_deadline_s=default_deadline_s)

    def _add_services(self) -> None:
        _check_policies()
        engine = _engine(self._settings, self._database)
        self._sweeper = Sweeper(engine, self._database)
        decoder = Decoder(self._settings.currency)
        balances = Combiner(
            functools.partial(read_balances, self._database),
            batch_max=self._settings.batch_max,
            is_busy=self._pool.is_shared,
        )
        servicer = WalletServicer(
            engine,
            self._database,
            balances=balances,
            decoder=decoder,
            watches=self._watches,
        )
        add_WalletServiceServicer_to_server(servicer, self._server)
        admin_servicer = WalletAdminServicer(engine, self._database, decoder)
        add_WalletAdminServiceServicer_to_server(admin_servicer, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, self._server)
        if self._settings.reflection:
            names = [*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME]
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
                make_reflector(names), self._server
            )

    def start(self) -> int:
        """
        Listen and serve.

        Returns:
            The port, also where the system chose it.

        Raises:
            SettingsError: The address cannot be listened on, or not safely.
        """
        address = self._settings.listen
        credentials = server_credentials(self._settings)
        try:
            if credentials:
                port = self._server.add_secure_port(address, credentials)
            else:
                port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise SettingsError(f"WALLET_LISTEN: cannot listen on {address}") from error
        self._health.start()
        self._peers.start()
        self._watches.start()
        self._sweeper.start()
        self._server.start()
        return int(port)

    def stop(self) -> bool:
        """
        Turn new calls away, let those under way end within the grace time, close the pools.

        Returns:
            Whether all threads ended. One that waits for a database that does not answer is left
            behind: nobody knows for how long.
        """
        self._admission.is_draining = True  # first: health takes a moment
        self._health.stop()
        stopped = self._server.stop(self._settings.grace_ms / 1000)
        closing = threading.Thread(target=self._close, args=(stopped,), name="close", daemon=True)
        closing.start()
        # gRPC cuts calls that outlast the grace time, unless its own thread is no more.
        stopped.wait(self._settings.grace_ms / 1000 + _THREADS_WAIT_S)
        closing.join(_THREADS_WAIT_S)
        is_closed = not closing.is_alive()
        if not is_closed:
            _log.warning("threads_abandoned", waited_ms=_THREADS_WAIT_S * 1000)
        return is_closed

    def _close(self, stopped: threading.Event) -> None:
        """End all threads, however long each still has to wait, and close the database."""
        self._health.end_watches()
        self._watches.stop()
        self._sweeper.stop()
        if self._checkpointer:
            self._checkpointer.stop()
        stopped.wait()
        self._peers.stop()
        for pool in (self._pool, self._watches.pool):
            pool.shutdown(wait=True)
        self._database.close()


def prepare_database(settings: Settings) -> Database:
    """
    Open the database and make sure that money is safe in it, waiting for it to answer.

    Raises:
        UnsafeDatabase: A committed change could be lost, or would not be taken.

        SchemaOutOfDate: `wallet migrate` has to run first.

        sqlalchemy.exc.DBAPIError: It did not answer within `DATABASE_WAIT_S`, or refused.
    """
    database = open_from(settings)
    for attempt in Retrying(
        retry=retry_if_exception(database.may_recover),
        stop=stop_after_delay(DATABASE_WAIT_S),
        wait=wait_fixed(1),
        before_sleep=_log_waiting,
        reraise=True,
    ):
        with attempt:
            database.check_durability()
            if database.is_embedded and read_version(database) != VERSION:
                from wallet_service.storage.migrate import migrate  # noqa: PLC0415 (seldom needed)

                migrate(database)
            check_schema(database)
            database.check_rights()
    return database


def _log_waiting(state: RetryCallState) -> None:
    assert state.outcome
    cause = str(state.outcome.exception())
    _log.warning("waiting_for_database", setting="WALLET_DATABASE_URL", cause=cause)


def open_from(settings: Settings, *, must_exist: bool = False) -> Database:
    """Prepare the pools that the settings ask for; see `open_database`."""
    limits = Limits(
        lock_timeout_ms=settings.lock_timeout_ms,
        statement_timeout_ms=settings.batch_timeout_ms,
        reader_pool_size=settings.reader_pool_size,
    )
    try:
        return open_database(settings.database_url, limits, must_exist=must_exist)
    except (ArgumentError, UnsafeDatabase, OSError, ValueError) as error:
        raise SettingsError(f"WALLET_DATABASE_URL: {error}") from error


def _engine(settings: Settings, database: Database) -> GroupCommit:
    rules = Rules(open_on_credit=settings.open_on_credit, self_deposit=settings.self_deposit)
    execute = functools.partial(execute_batch, database, rules=rules)
    run_batch = functools.partial(settle, execute, timeout_s=settings.batch_timeout_ms / 1000)
    return GroupCommit(run_batch, batch_max=settings.batch_max)


def _check_policies() -> None:
    """Refuse to serve a method nobody decided about."""
    modules = (wallet_service_pb2, wallet_admin_service_pb2)
    methods = {
        f"/{service.full_name}/{method.name}"
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert methods == POLICIES.keys(), methods ^ POLICIES.keys()
