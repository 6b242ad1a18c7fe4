"""`wallet serve` as in a first evening: no settings, a fresh directory, lines to paste."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_START_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 30
_WALLET = [sys.executable, "-m", "wallet_service"]


@dataclass(frozen=True)
class QuickStart:
    """What the server printed: its address, two users' tokens by variable, the lines to paste."""

    directory: Path
    target: str
    tokens: dict[str, str]
    lines: list[str]

    def token(self, *arguments: str) -> str:
        """Print a token by `wallet token`, where the server keeps its secret."""
        return subprocess.check_output(
            [*_WALLET, "token", *arguments], cwd=self.directory, env=_environment(), text=True
        ).strip()


def _environment() -> dict[str, str]:
    """Return an environment without a setting."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WALLET_")}


@contextmanager
def development_server(directory: Path) -> Iterator[QuickStart]:
    """Start a server that nobody configured, but for its port, and read what it prints."""
    with (
        (directory / "server.log").open("w") as log,
        subprocess.Popen(
            [*_WALLET, "serve"],
            cwd=directory,
            env=_environment() | {"WALLET_LISTEN": "127.0.0.1:0"},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield _read_quick_start(directory, process)
        finally:
            process.terminate()
            process.wait(_STOP_TIMEOUT_S)


def _read_quick_start(directory: Path, process: "subprocess.Popen[str]") -> QuickStart:
    assert process.stdout
    giving_up = threading.Timer(_START_TIMEOUT_S, process.kill)
    giving_up.start()
    printed: list[str] = []
    for line in process.stdout:
        printed.append(line.rstrip("\n"))
        if line.endswith("/GetBalance\n"):
            break
    giving_up.cancel()
    assert printed, (directory / "server.log").read_text()
    tokens = dict(line.split("=", 1) for line in printed if line.startswith(("ALICE=", "BOB=")))
    lines = [line for line in printed if line.startswith("grpcurl ")]
    return QuickStart(directory, printed[0].split()[-1], tokens, lines)
