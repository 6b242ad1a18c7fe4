"""Clients of which a test sees when they call, and says when they gather."""

import threading
from types import SimpleNamespace

import pytest
from wallet_client import Wallet

from harness.calls import wait_until
from harness.tokens import token


class Tokens:
    """A token provider that counts how often it is asked: once for each try, and to gather."""

    def __init__(self, user_id: str) -> None:
        self._token = token(user_id)
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        return self._token


def count_gathered(wallet: Wallet) -> int:
    """Count the calls that wait to be sent in one batch."""
    assert wallet._coalescer
    return sum(map(len, list(wallet._coalescer._gathering.values())))


def gather_all(wallet: Wallet, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the first of some calls, of each token, wait until all came in, however long."""
    are_all_in = threading.Event()

    def wait(_seconds: float) -> None:
        wait_until(lambda: are_all_in.is_set() or count_gathered(wallet) == calls)
        are_all_in.set()

    monkeypatch.setattr("wallet_client.coalesce.time", SimpleNamespace(sleep=wait))
