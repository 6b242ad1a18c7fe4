"""The recipe of docs/hash-chain.md, run as a stranger would: with Python and nothing of ours."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.documents import blocks
from harness.processes import ServerProcess
from harness.tokens import token
from wallet_client import Wallet
from wallet_client.v1.types_pb2 import Condition, Money

AWKWARD = 'обед "на\\двоих"\t\n\r\b\f\x01\x1f\x7f\u2028 𝄞 / <b>'


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    [code] = blocks("docs/hash-chain.md", "python")
    path = tmp_path / "recompute.py"
    path.write_text(code)
    return path


@pytest.fixture
def clients(sqlite_url: str, tmp_path: Path) -> Iterator[tuple[Wallet, Wallet]]:
    with (
        ServerProcess(tmp_path, sqlite_url) as server,
        Wallet(server.target, token("alice"), plaintext=True) as alice,
        Wallet(server.target, token("bob"), plaintext=True) as bob,
    ):
        yield alice, bob


def _recompute(recipe: Path, *key: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-I", recipe, recipe.with_name("wallet.db"), *key],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_recipe_gives_the_hashes_that_the_service_shows(
    recipe: Path, clients: tuple[Wallet, Wallet]
) -> None:
    alice, bob = clients
    bob.deposit(1)
    alice.deposit(500, description=AWKWARD, metadata={"я": AWKWARD, "z": "", "a": "1", "𝄞": "2"})
    condition = Condition(available_at_least=Money(minor_units=200), expected_sequence=1)
    sent = alice.transfer("bob", 200, description="rent", condition=condition).transaction
    received = next(bob.transactions())

    computed = [
        _recompute(recipe, *key).stdout.strip()
        for key in (("alice", "RUB", "1"), ("alice", "RUB", "2"), ("bob", "RUB", "2"))
    ]

    first = list(alice.transactions())[-1]
    assert computed == [line.entry.hash.hex() for line in (first, sent, received)]


def test_the_recipe_stops_at_a_changed_transaction(
    recipe: Path, clients: tuple[Wallet, Wallet]
) -> None:
    alice, _ = clients
    alice.deposit(500, description="salary")
    with sqlite3.connect(recipe.with_name("wallet.db")) as books:
        books.execute("UPDATE transactions SET description = 'gift'")
    books.close()

    outcome = _recompute(recipe, "alice", "RUB", "1")

    assert outcome.returncode == 1
    assert "stored" in outcome.stderr
