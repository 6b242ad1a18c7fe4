"""
Ordinary call-by-call code of many threads on one `Wallet`, plain or coalescing.

    python -m benchmarks.client_load TARGET CALLS COALESCE TOKEN

Prints the transfers a second.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from wallet_client import Wallet

from benchmarks import requests

THREADS = 64


def main() -> None:
    """Do what the command line says."""
    target, calls, coalesce, token = sys.argv[1:]
    per_thread = int(calls) // THREADS
    with Wallet(target, token, plaintext=True, coalesce=coalesce == "True") as wallet:

        def work() -> None:
            for _ in range(per_thread):
                payer, payee = requests.uniform()
                wallet.transfer(payee, 1, user_id=payer, description="order 1734-22")

        with ThreadPoolExecutor(THREADS) as pool:
            started = time.perf_counter()
            ended = [pool.submit(work) for _ in range(THREADS)]
            for each in ended:
                each.result()  # raises what a call did: a load with failures is no measurement
            print(per_thread * THREADS / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
