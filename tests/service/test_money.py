"""The origin requirements, through a real server and a real channel."""

import time

import pytest
from sqlalchemy import update
from wallet_client import AccountNotFound, InsufficientFunds, Wallet
from wallet_client.v1.types_pb2 import Transaction

from wallet_service.storage.database import open_database
from wallet_service.storage.schema import transactions


def test_a_balance_starts_at_zero(alice: Wallet) -> None:
    balance = alice.balance()

    assert balance.user_id == "alice"
    assert balance.posted.decimal == "0.00"
    assert balance.sequence == 0


def test_a_deposit_in_kopecks_is_read_in_roubles(alice: Wallet) -> None:
    alice.deposit(10_100)

    assert alice.balance().posted.decimal == "101.00"
    assert alice.balance().posted.currency_code == "RUB"


def test_a_balance_says_when_it_was_read(alice: Wallet) -> None:
    deposited = alice.deposit(1).transaction.create_time.ToNanoseconds()
    before = time.time_ns() // 1000 * 1000

    read = alice.balance().as_of.ToNanoseconds()

    assert deposited < before <= read <= time.time_ns()


def test_a_transfer_moves_money_to_another_user(alice: Wallet, bob: Wallet) -> None:
    alice.deposit(10_000)
    bob.deposit(100)

    sent = alice.transfer("bob", 10_000, description="rent").transaction

    assert sent.kind == Transaction.KIND_TRANSFER
    assert sent.entry.balance_after.minor_units == 0
    assert alice.balance().posted.minor_units == 0
    assert bob.balance().posted.decimal == "101.00"


def test_deposits_and_transfers_are_recorded_for_both_users(alice: Wallet, bob: Wallet) -> None:
    bob.deposit(1)
    alice.deposit(500)
    alice.transfer("bob", 200)

    mine = [(line.kind, line.entry.amount.minor_units) for line in alice.transactions()]
    theirs = [line.entry.amount.minor_units for line in bob.transactions(oldest_first=True)]

    assert mine == [(Transaction.KIND_TRANSFER, -200), (Transaction.KIND_DEPOSIT, 500)]
    assert theirs == [1, 200]


def test_a_transfer_beyond_the_balance_is_refused(alice: Wallet, bob: Wallet) -> None:
    alice.deposit(300)
    bob.deposit(1)

    with pytest.raises(InsufficientFunds) as refused:
        alice.transfer("bob", 500)

    assert refused.value.reason == "INSUFFICIENT_FUNDS"
    assert refused.value.available_minor == 300
    assert refused.value.required_minor == 500
    assert refused.value.shortfall_minor == 200
    assert alice.balance().posted.minor_units == 300
    assert bob.balance().posted.minor_units == 1


def test_paying_a_user_without_an_account_is_refused(alice: Wallet, service: Wallet) -> None:
    alice.deposit(300)

    with pytest.raises(AccountNotFound):
        alice.transfer("bbo", 100)

    assert alice.balance().posted.minor_units == 300
    service.open_account("bbo")
    alice.transfer("bbo", 100)
    assert alice.balance().posted.minor_units == 200


def test_a_withdrawal_takes_money_out(alice: Wallet) -> None:
    alice.deposit(300)

    alice.withdraw(100)

    assert alice.balance().posted.minor_units == 200
    with pytest.raises(InsufficientFunds):
        alice.withdraw(201)
    assert alice.balance().posted.minor_units == 200


@pytest.mark.parametrize("currency_code", ["", "OLD"])
def test_what_was_recorded_without_a_current_currency_is_answered(
    alice: Wallet, bob: Wallet, database_url: str, currency_code: str
) -> None:
    bob.deposit(1)
    alice.deposit(100)
    with pytest.raises(InsufficientFunds):
        alice.transfer("bob", 5000, request_id="old")
    database = open_database(database_url)
    is_old = transactions.c.request_id == "old"
    with database.transaction() as connection:
        connection.execute(update(transactions).where(is_old).values(currency_code=currency_code))
    database.close()

    found = alice.transaction(request_id="old")

    assert (found.refusal_reason, found.amount.minor_units) == ("INSUFFICIENT_FUNDS", 5000)
    assert (found.amount.currency_code, found.amount.decimal) == (currency_code, "")
    assert (alice.balance().posted.minor_units, bob.balance().posted.minor_units) == (100, 1)
