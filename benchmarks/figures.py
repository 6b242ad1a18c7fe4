"""What is measured in each round, part by part; every figure has a name of its own."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from harness.processes import ServerProcess
from harness.tokens import service_token

from benchmarks import baselines, deployment, requests
from benchmarks.deployment import Databases, serving, serving_noop, serving_parallel
from benchmarks.drive import Load, Measured, drive

CALLERS = 64
PGBENCH_CLIENTS = 32
_SERVICE = "/wallet.v1.WalletService/"

#: Calls, transfers or milliseconds by name.
Figures = dict[str, float]
Part = Callable[["Bench"], Figures]


class Bench(NamedTuple):
    """What all measurements share; they send the counts below times `scale`."""

    databases: Databases
    directory: Path
    scale: float

    def scaled(self, count: int, least: int = CALLERS) -> int:
        """Return how much to send."""
        return max(least, round(count * self.scale))


def load(
    bench: Bench,
    server: ServerProcess,
    make: requests.Make,
    *,
    method: str,
    count: int,
    callers: int = CALLERS,
) -> Measured:
    """Send so many requests of a kind."""
    path = bench.directory / "requests"
    requests.write_requests(path, make, count)
    return drive(server.target, Load(_SERVICE + method, path, count, callers))


def transfers(
    bench: Bench,
    server: ServerProcess,
    *,
    parties: requests.Parties = requests.uniform,
    callers: int = CALLERS,
    count: int = 8000,
) -> Measured:
    """Send transfers between chosen parties."""
    count = bench.scaled(count if callers >= CALLERS else count * max(callers, 8) // CALLERS)
    make = requests.transfer(parties)
    return load(bench, server, make, method="Transfer", count=count, callers=callers)


def _all_parties(bench: Bench, server: ServerProcess, *, label: str, count: int) -> Figures:
    return {
        label.format(name): transfers(bench, server, parties=parties, count=count).per_s
        for name, parties in (
            ("uniform", requests.uniform),
            ("hot", requests.hot),
            ("merchant", requests.merchant),
        )
    }


def _batches(bench: Bench, server: ServerProcess, *, label: str) -> Figures:
    found = {}
    for operations, callers, count in ((10, 32, 1000), (100, 8, 160), (1000, 4, 24)):
        for is_atomic in (False, True):
            make = requests.batch(operations, atomic=is_atomic)
            measured = load(
                bench,
                server,
                make,
                method="ExecuteBatch",
                count=bench.scaled(count, callers),
                callers=callers,
            )
            name = f"batch {operations}" + (" atomic" if is_atomic else "")
            found[label.format(name)] = measured.per_s * operations
    return found


def noop(bench: Bench) -> Figures:
    """Measure the ceiling: a call that does nothing, through the same server."""
    with bench.databases.opened("postgresql") as url, serving_noop(bench.directory, url) as server:
        alone = transfers(bench, server, callers=1)
        fsync_ms = deployment.fsync_ms(bench.directory)
        return {
            "fsync + no-op ms": fsync_ms + alone.p50_ms,
            "no-op": transfers(bench, server, count=16_000).per_s,
        }


def postgresql(bench: Bench) -> Figures:
    """Measure the service on PostgreSQL."""
    with bench.databases.opened("postgresql") as url:
        found = {"start-up s": deployment.start_up_s(bench.directory, url)}
        with serving(bench.directory, url) as server:
            return found | _served(bench, server)


def _served(bench: Bench, server: ServerProcess) -> Figures:
    found = {"unloaded ms": transfers(bench, server, callers=1).p50_ms}
    before = bench.databases.usage(server)
    found |= _all_parties(bench, server, label="{}", count=8000)
    after = bench.databases.usage(server)
    thousands = 3 * bench.scaled(8000) / 1000
    found["server s per 1000"] = (after.server_s - before.server_s) / thousands
    found["database s per 1000"] = (after.database_s - before.database_s) / thousands
    count = bench.scaled(12_000)
    found["balance"] = load(bench, server, requests.balance, method="GetBalance", count=count).per_s
    found["page of 50"] = load(
        bench, server, requests.page, method="ListTransactions", count=bench.scaled(1000)
    ).per_s
    found["worker MiB"] = deployment.worker_memory_mib(server)
    found |= _batches(bench, server, label="{}")
    found["worker MiB after batches"] = deployment.worker_memory_mib(server)
    return found


def single(bench: Bench) -> Figures:
    """Measure one database transaction a request: one at a time, then sixteen."""
    with (
        bench.databases.opened("postgresql") as url,
        serving(bench.directory, url, batch_max=1) as server,
    ):
        found = _all_parties(bench, server, label="{} single", count=3000)
    with (
        bench.databases.opened("postgresql") as url,
        serving_parallel(bench.directory, url) as server,
    ):
        return found | _all_parties(bench, server, label="{} parallel", count=3000)


def database_alone(bench: Bench) -> Figures:
    """Measure the limits of the database itself."""
    seconds = max(1, round(4 * bench.scale))
    found = {}
    for name, parties, clients in (
        ("pgbench uniform", "uniform", PGBENCH_CLIENTS),
        ("pgbench hot", "hot", PGBENCH_CLIENTS),
        ("pgbench hot 2 clients", "hot", 2),  # more of them wait for each other
    ):
        with bench.databases.opened("postgresql") as url:
            found[name] = baselines.pgbench_per_s(
                bench.directory, url, parties, clients=clients, seconds=seconds
            )
    with bench.databases.opened("postgresql") as url:
        batches = max(4, round(24 * bench.scale))
        found["bulk limit"] = baselines.bulk_per_s(url, batches=batches)
    return found


def clients(bench: Bench) -> Figures:
    """Measure call-by-call Python code of 64 threads, plain and coalescing."""
    found = {}
    with bench.databases.opened("postgresql") as url, serving(bench.directory, url) as server:
        for coalesce, count in ((False, 3000), (True, 9000)):
            command = [sys.executable, "-m", "benchmarks.client_load", server.target]
            arguments = [bench.scaled(count), coalesce, service_token()]
            name = "client coalescing" if coalesce else "client plain"
            found[name] = float(deployment.run([*command, *arguments]))
    return found


def sqlite(bench: Bench) -> Figures:
    """Measure the service on SQLite."""
    with bench.databases.opened("sqlite") as url, serving(bench.directory, url) as server:
        found = _all_parties(bench, server, label="sqlite {}", count=8000)
        found |= _batches(bench, server, label="sqlite {}")
        found["sqlite balance"] = load(
            bench, server, requests.balance, method="GetBalance", count=bench.scaled(12_000)
        ).per_s
        found["sqlite page of 50"] = load(
            bench, server, requests.page, method="ListTransactions", count=bench.scaled(1000)
        ).per_s
    with (
        bench.databases.opened("sqlite") as url,
        serving(bench.directory, url, batch_max=1) as server,
    ):
        found |= _all_parties(bench, server, label="sqlite {} single", count=3000)
    return found


PARTS: tuple[Part, ...] = (noop, postgresql, single, database_alone, clients, sqlite)
