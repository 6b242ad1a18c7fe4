"""Real processes: servers started as an operator does, and commands run to their end."""

import multiprocessing
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from harness.tokens import write_secret
from wallet_service import cli
from wallet_service.settings import Settings

_START_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 30
_RUN_TIMEOUT_S = 120
_WALLET = [sys.executable, "-m", "wallet_service"]

#: Processes that begin with everything imported: a short command takes most of its time for that.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["wallet_service.cli"])


def wallet_environment(directory: Path, database_url: str, **settings: object) -> dict[str, str]:
    """Return the environment of a `wallet` command with the tests' secret; `WALLET_*` by name."""
    assert settings.keys() <= Settings.model_fields.keys(), settings
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WALLET_")}
    chosen = {
        "database_url": database_url,
        "listen": "127.0.0.1:0",
        "jwt_secret_file": write_secret(directory),
        "log_level": "warning",
        **settings,
    }
    return kept | {f"WALLET_{name.upper()}": str(value) for name, value in chosen.items()}


def run_wallet(
    *arguments: str, directory: Path, database_url: str = "", **settings: object
) -> subprocess.CompletedProcess[str]:
    """Run a `wallet` command to its end, on a database in its directory unless one is given."""
    url = database_url or f"sqlite:///{directory / 'wallet.db'}"
    environment = wallet_environment(directory, url, **settings)
    return run_wallet_in(environment, *arguments, directory=directory)


def run_wallet_in(
    environment: dict[str, str], *arguments: str, directory: Path
) -> subprocess.CompletedProcess[str]:
    """Run a `wallet` command to its end, in a process of its own with just these variables."""
    with tempfile.TemporaryDirectory() as name:
        printed = [Path(name) / "out", Path(name) / "err"]
        process = FORKS.Process(target=_run, args=(arguments, directory, environment, printed))
        process.start()
        process.join(_RUN_TIMEOUT_S)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"wallet {' '.join(arguments)}")
        texts = (path.read_bytes().decode() for path in printed)
        return subprocess.CompletedProcess(arguments, process.exitcode, *texts)


def _run(
    arguments: Sequence[str],
    directory: Path,
    environment: dict[str, str],
    printed: Sequence[Path],
) -> None:
    """Be the `wallet` command."""
    for number, path in enumerate(printed, start=sys.stdout.fileno()):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    sys.argv = ["wallet", *arguments]
    cli.main()


def assert_one_clear_line(
    outcome: subprocess.CompletedProcess[str], code: int, *parts: str
) -> None:
    """Make sure that a command complained in one line, not with a stack of code."""
    assert outcome.returncode == code, outcome.stderr
    assert "Traceback" not in outcome.stderr
    complaint = outcome.stderr.splitlines()[-1]
    assert complaint.startswith("wallet: ")
    assert all(part in complaint for part in parts), complaint


def lasting_port() -> int:
    """
    Choose a free port that stays free while its server is down.

    The system hands out ports from 32768 on to whoever connects or listens on port 0; one of those
    may be somebody else's by the time a killed server starts again.
    """
    while True:
        port = random.randrange(20_000, 32_768)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


class ServerProcess:
    """
    `wallet serve` in a process of its own. Once started it keeps its port, also over restarts.

    Its standard error goes to `server.log` in its directory. `command` is what runs `wallet`.
    """

    def __init__(
        self,
        directory: Path,
        database_url: str,
        *,
        command: Sequence[str] = _WALLET,
        **settings: object,
    ) -> None:
        self._command = command
        self._directory = directory
        chosen = {"listen": f"127.0.0.1:{lasting_port()}", **settings}
        self._environment = wallet_environment(directory, database_url, **chosen)
        self._process: subprocess.Popen[str] | None = None
        self.target = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process and self._process.poll() is None:
            self.kill()

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process
        return self._process

    @property
    def log(self) -> str:
        """All that the server has logged so far."""
        return (self._directory / "server.log").read_text()

    def start(self) -> None:
        """Start, and wait until it says that it serves."""
        if self.target:
            self._environment["WALLET_LISTEN"] = self.target
        with (self._directory / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                [*self._command, "serve"],
                cwd=self._directory,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            self.target = self._announced_address()
        except BaseException:
            self.kill()
            raise

    def _announced_address(self) -> str:
        lines: queue.Queue[str] = queue.Queue()
        output = self.process.stdout
        assert output

        def read() -> None:
            with output:
                for line in output:
                    lines.put(line)
            lines.put("")

        threading.Thread(target=read, daemon=True).start()
        while line := lines.get(timeout=_START_TIMEOUT_S):
            if line.startswith("wallet: serving on "):
                return line.split()[-1]
        raise AssertionError(f"the server did not start: {self.log}")

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.process.kill()
        self.process.wait(_STOP_TIMEOUT_S)

    def terminate(self) -> int:
        """Ask it to drain; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_TIMEOUT_S)
