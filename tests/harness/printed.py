"""The commands that print books, run on the books of a server under way."""

import json
import os
import pty
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import text

from harness.processes import run_wallet, wallet_environment
from wallet_service.storage.database import open_database

_WALLET = [sys.executable, "-m", "wallet_service"]

#: A description that every format has some trouble with.
AWKWARD = 'обед "на\\двоих";\t\r\n,\x1b[2J\u2028 𝄞'


class Books:
    """`wallet statement` and `wallet export`, on one database."""

    def __init__(self, directory: Path, database_url: str) -> None:
        self._directory = directory
        self._database_url = database_url

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `wallet`; line ends come as they are printed."""
        return run_wallet(*arguments, directory=self._directory, database_url=self._database_url)

    def print(self, *arguments: str) -> str:
        """Run `wallet` without a complaint."""
        outcome = self.run(*arguments)
        assert (outcome.returncode, outcome.stderr) == (0, "")
        return outcome.stdout

    def print_beside_a_terminal(self, *arguments: str) -> tuple[str, str]:
        """Run `wallet` with a terminal for its complaints; return what it prints to either."""
        terminal, its_end = pty.openpty()
        printed = subprocess.check_output(
            [*_WALLET, *arguments],
            cwd=self._directory,
            env=wallet_environment(self._directory, self._database_url) | {"TERM": "xterm"},
            stderr=its_end,
            timeout=120,
        )
        shown = os.read(terminal, 100_000)
        os.close(its_end)
        os.close(terminal)
        return printed.decode(), shown.decode()

    def statement(self, *arguments: str) -> dict[str, Any]:
        """Read a statement as JSON."""
        read: dict[str, Any] = json.loads(self.print("statement", *arguments, "--format", "json"))
        return read

    def damage(self, statement: str) -> None:
        """Change a row by hand."""
        with (
            closing(open_database(self._database_url)) as database,
            database.transaction() as connection,
        ):
            connection.execute(text(statement))

    def retire(self, current: str, retired: str) -> None:
        """Have all books been kept in a currency that is no longer current."""
        for table in ("accounts", "entries", "transactions"):
            self.damage(
                f"UPDATE {table} SET currency_code = '{retired}' WHERE currency_code = '{current}'"
            )


def rfc3339(timestamp: Timestamp) -> str:
    """Write a time as `--from` and `--to` take it."""
    return timestamp.ToJsonString()
