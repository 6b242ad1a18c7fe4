"""Load a server for long, with everything, and see whether its memory grows."""

import time
from typing import NamedTuple

from harness.processes import ServerProcess

from benchmarks import deployment, figures, requests
from benchmarks.figures import Bench


class Sample(NamedTuple):
    """What a worker's memory was after some minutes and so many calls."""

    minutes: float
    calls: int
    worker_mib: float


def soak(bench: Bench, server: ServerProcess, minutes: float) -> list[Sample]:
    """Send transfers, balances, pages and batches in turn; sample after each turn."""
    samples: list[Sample] = []
    started = time.monotonic()
    calls = 0
    while not samples or samples[-1].minutes < minutes:
        for method, make, count, callers in (
            ("Transfer", requests.transfer(requests.uniform), 20_000, 64),
            ("GetBalance", requests.balance, 10_000, 64),
            ("ListTransactions", requests.page, 500, 16),
            ("ExecuteBatch", requests.batch(100, atomic=False), 50, 8),
        ):
            figures.load(bench, server, make, method=method, count=count, callers=callers)
            calls += count
        elapsed_min = (time.monotonic() - started) / 60
        samples.append(Sample(elapsed_min, calls, deployment.worker_memory_mib(server)))
    return samples
