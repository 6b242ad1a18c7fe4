"""
A load generator for where ghz is missing.

    python -m benchmarks.generator TARGET METHOD FILE CONCURRENCY CONNECTIONS TOKEN

Sends each request of a file once, bytes as they are, and prints what it measured as JSON.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc.aio
from wallet_client.v1.wallet_service_pb2 import ExecuteBatchResponse

from benchmarks.requests import read_requests


async def send_all(
    target: str,
    method: str,
    requests: list[bytes],
    *,
    concurrency: int,
    connections: int,
    token: str,
) -> dict[str, float]:
    """Send requests, so many at once over so many connections; return what was measured."""
    metadata = (("authorization", f"Bearer {token}"),)
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(target, options) for _ in range(connections)]
    calls = [channel.unary_unary(method) for channel in channels]
    waiting = iter(requests)
    latencies_ms: list[float] = []
    answers: list[bytes] = []

    async def send(index: int, waiting: Iterator[bytes]) -> None:
        call = calls[index % connections]
        for request in waiting:
            started = time.perf_counter()
            answers.append(await call(request, metadata=metadata, timeout=30))
            latencies_ms.append((time.perf_counter() - started) * 1000)

    started = time.perf_counter()
    await asyncio.gather(*(send(index, waiting) for index in range(concurrency)))
    elapsed_s = time.perf_counter() - started
    for channel in channels:
        await channel.close()
    if method.endswith("/ExecuteBatch"):
        _check_batches(answers)
    hundredths = statistics.quantiles(latencies_ms, n=100)
    return {
        "per_s": len(requests) / elapsed_s,
        "p50_ms": hundredths[49],
        "p95_ms": hundredths[94],
        "p99_ms": hundredths[98],
    }


def _check_batches(answers: list[bytes]) -> None:
    """Raise for an operation that failed, which the call itself does not tell."""
    for answer in answers:
        for result in ExecuteBatchResponse.FromString(answer).results:
            if result.HasField("error"):
                raise RuntimeError(f"an operation of a batch failed: {result.error.message}")


def main() -> None:
    """Do what the command line says."""
    target, method, path, concurrency, connections, token = sys.argv[1:]
    measured = asyncio.run(
        send_all(
            target,
            method,
            read_requests(Path(path)),
            concurrency=int(concurrency),
            connections=min(int(connections), int(concurrency)),
            token=token,
        )
    )
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
