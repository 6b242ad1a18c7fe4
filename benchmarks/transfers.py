"""
How much group commit brings: transfers a second with it and without, as ratios in one run.

Each round starts a real server on an empty database, opens accounts, and lets several processes of
many threads transfer between two of them (hot) or between all (uniform). Rounds alternate, so that
a machine whose speed drifts slows both sides alike. Figures of different machines say nothing.

    make bench
"""

import multiprocessing
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from harness.postgres import StartedPostgres, create_database, drop_database
from harness.processes import ServerProcess, run_wallet, wallet_environment
from harness.tokens import service_token
from wallet_client import Wallet
from wallet_client.v1.types_pb2 import Money
from wallet_client.v1.wallet_service_pb2 import DepositRequest

ROUNDS = 3
SECONDS = 4.0
PROCESSES = 2
THREADS = 32
ACCOUNTS = 1000
GROUPED, SINGLE = 256, 1


class Round(NamedTuple):
    """One measurement: where, between how many accounts, and how many commands a batch takes."""

    database: str
    accounts: int
    batch_max: int


def main() -> None:
    """Measure all rounds in turn and print medians and their ratio."""
    postgres = StartedPostgres()
    speeds: dict[Round, list[float]] = {}
    try:
        for number in range(ROUNDS):
            for database in ("sqlite", "postgresql"):
                for accounts in (ACCOUNTS, 2):
                    for batch_max in (GROUPED, SINGLE):
                        each = Round(database, accounts, batch_max)
                        speeds.setdefault(each, []).append(measure(each, postgres))
                        print(f"round {number + 1}/{ROUNDS}: {each}", file=sys.stderr)
    finally:
        postgres.stop()
    print(f"{'database':<12}{'accounts':>9}{'grouped/s':>11}{'single/s':>10}{'ratio':>7}")
    for each, grouped in speeds.items():
        if each.batch_max == GROUPED:
            single = statistics.median(speeds[each._replace(batch_max=SINGLE)])
            speed = statistics.median(grouped)
            row = (each.database, each.accounts, speed, single, speed / single)
            print("{:<12}{:>9}{:>11.0f}{:>10.0f}{:>7.2f}".format(*row))


def measure(each: Round, postgres: StartedPostgres) -> float:
    """Return the transfers a second of one round."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        is_sqlite = each.database == "sqlite"
        url = f"sqlite:///{directory}/wallet.db" if is_sqlite else create_database(postgres)
        environment = wallet_environment(directory, url)
        run_wallet("migrate", directory=directory, environment=environment).check_returncode()
        try:
            with ServerProcess(directory, url, batch_max=each.batch_max) as server:
                return _load(server.target, each.accounts)
        finally:
            if not is_sqlite:
                drop_database(postgres, url)


def _load(target: str, accounts: int) -> float:
    users = [f"user-{number}" for number in range(accounts)]
    with Wallet(target, service_token(), plaintext=True) as wallet:
        amount = Money(minor_units=10**9)
        deposits = [DepositRequest(user_id=user, amount=amount) for user in users]
        wallet.execute(deposits, atomic=True)
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        counts = pool.starmap(_transfer_for_a_while, [(target, users)] * PROCESSES)
    return sum(counts) / SECONDS


def _transfer_for_a_while(target: str, users: list[str]) -> int:
    """Transfer from many threads until time is up; return how many succeeded in time."""
    counts = [0] * THREADS
    with Wallet(target, service_token(), plaintext=True) as wallet:
        ends_at = time.monotonic() + SECONDS

        def transfer(index: int) -> None:
            while time.monotonic() < ends_at:
                source, other = random.sample(users, 2)
                wallet.transfer(other, 1, user_id=source)
                counts[index] += time.monotonic() < ends_at

        threads = [threading.Thread(target=transfer, args=(index,)) for index in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sum(counts)


if __name__ == "__main__":
    main()
