"""
Send a file of requests and measure: by ghz where it is installed, else by a generator of our own.

ghz is a Go program: `go install github.com/bojand/ghz/cmd/ghz@latest`. For small messages it takes
about a third of the processor time of ours, which the service then has: figures by the two are not
comparable. Batches always go by ours, which passes their bytes on as they are: ghz takes each
message apart and builds it again, which for a thousand operations costs as much as the server.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from harness.tokens import service_token

from benchmarks.deployment import run

CONNECTIONS = 8
_PROTOSET = Path(__file__).parent.parent / "protos" / "released.binpb"


class Load(NamedTuple):
    """A method's path, the file of its requests, how many they are and how many go at once."""

    method: str
    requests: Path
    count: int
    concurrency: int


class Measured(NamedTuple):
    """Calls a second, and the latency in ms that 50, 95 and 99 of a hundred stay below."""

    per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


def generator() -> str:
    """Name the load generator in use."""
    return "ghz" if shutil.which("ghz") else "benchmarks.generator"


def drive(target: str, load: Load) -> Measured:
    """
    Send every request of a load once.

    Raises:
        RuntimeError: Not all were answered OK.
    """
    if generator() == "ghz" and not load.method.endswith("/ExecuteBatch"):
        return _by_ghz(target, load)
    return _by_ours(target, load)


def _by_ghz(target: str, load: Load) -> Measured:
    command = ["ghz", "--insecure", "--protoset", _PROTOSET, "--call", load.method.strip("/")]
    command += ["--binary-file", load.requests, "--total", load.count]
    command += ["--concurrency", load.concurrency]
    command += ["--connections", min(CONNECTIONS, load.concurrency)]
    metadata = json.dumps({"authorization": f"Bearer {service_token()}"})
    command += ["--metadata", metadata, "--timeout", "30s", "--format", "json", target]
    report = json.loads(run(command))
    answered = report["statusCodeDistribution"]
    if answered != {"OK": load.count}:
        errors = list(report.get("errorDistribution", ()))[:3]
        raise RuntimeError(f"{load.method}: {answered}, {errors}")
    latency_ms = {
        each["percentage"]: each["latency"] / 1e6 for each in report["latencyDistribution"]
    }
    return Measured(report["rps"], latency_ms[50], latency_ms[95], latency_ms[99])


def _by_ours(target: str, load: Load) -> Measured:
    command = [sys.executable, "-m", "benchmarks.generator", target, load.method, load.requests]
    output = run([*command, load.concurrency, CONNECTIONS, service_token()])
    return Measured(**json.loads(output))
