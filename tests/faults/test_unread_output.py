"""Nobody reads what a server prints or logs: calls are answered, and a signal ends it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness.patience import SERVING, wait_until_health_is
from harness.processes import lasting_port, wallet_environment
from harness.tokens import token
from wallet_client import Wallet

_LOG = "stderr"
_ANNOUNCEMENT = "stdout"


@contextmanager
def _unread_server(directory: Path, url: str, unread: str, *, workers: int) -> Iterator[Wallet]:
    """Run a server one of whose outputs is a pipe that nobody reads any more."""
    address = f"127.0.0.1:{lasting_port()}"
    environment = wallet_environment(
        directory, url, listen=address, workers=workers, log_level="info"
    )
    environment.pop("PYTHONUNBUFFERED", None)  # what cannot be written stays in the buffers
    reading, writing = os.pipe()
    os.close(reading)
    outputs = {_LOG: subprocess.DEVNULL, _ANNOUNCEMENT: subprocess.DEVNULL, unread: writing}
    command = [sys.executable, "-m", "wallet_service", "serve"]
    with subprocess.Popen(command, cwd=directory, env=environment, **outputs) as process:
        os.close(writing)
        try:
            wait_until_health_is(address, SERVING)
            with Wallet(address, token("alice"), plaintext=True, attempts_max=1) as alice:
                yield alice
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("unread", [_LOG, _ANNOUNCEMENT])
def test_a_server_that_nobody_listens_to_serves_and_ends(
    database_url: str, tmp_path: Path, unread: str, workers: int
) -> None:
    with _unread_server(tmp_path, database_url, unread, workers=workers) as alice:
        for amount_minor in (1, 2, 3):
            alice.deposit(amount_minor)

        assert alice.balance().posted.minor_units == 6
