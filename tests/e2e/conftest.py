"""Fixtures for the tests of what is printed for people."""

from pathlib import Path

import pytest
from harness.printed import AWKWARD, Books
from wallet_client import InsufficientFunds, Wallet
from wallet_client.v1.types_pb2 import Transaction


@pytest.fixture
def books(service: Wallet, database_url: str, tmp_path: Path) -> Books:
    """Books of a server, on a database of each kind in turn."""
    return Books(tmp_path, database_url)


@pytest.fixture
def history(service: Wallet) -> list[Transaction]:
    """Four lines of Alice's, and some requests that leave none."""
    service.open_account("bob")
    first = service.deposit(10_000, user_id="alice", description="salary")
    second = service.transfer("bob", 2_550, user_id="alice", description=AWKWARD)
    hold = service.create_hold(1_000, user_id="alice", to_user_id="bob").hold
    third = service.capture_hold(hold.hold_id, 600)
    with pytest.raises(InsufficientFunds):
        service.withdraw(6_851, user_id="alice")
    fourth = service.reverse(third.transaction.transaction_id, 100)
    service.deposit(7, user_id="alice", currency_code="USD")
    return [each.transaction for each in (first, second, third, fourth)]
