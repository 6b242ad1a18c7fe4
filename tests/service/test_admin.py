"""Accounts as their operator keeps them, and currencies with other exponents."""

import pytest
from wallet_client import AccountNotFound, NotAllowed, Wallet
from wallet_client.v1.types_pb2 import ACCOUNT_STATE_ACTIVE, SpendingLimit, Transaction


def test_an_opened_account_can_be_paid_before_its_first_deposit(
    service: Wallet, alice: Wallet, bob: Wallet
) -> None:
    alice.deposit(10)

    service.open_account("bob")
    alice.transfer("bob", 10)

    assert bob.balance().posted.minor_units == 10
    assert bob.balance().sequence == 1


def test_an_opened_account_is_active_and_at_zero(service: Wallet) -> None:
    opened = service.open_account("alice").account

    assert opened.balance.user_id == "alice"
    assert opened.balance.state == ACCOUNT_STATE_ACTIVE
    assert opened.balance.posted.decimal == "0.00"
    assert opened.balance.sequence == 0
    assert opened.create_time == opened.update_time
    assert service.account("alice").create_time == opened.create_time


def test_an_opening_is_recorded(service: Wallet, alice: Wallet) -> None:
    answered = service.open_account("alice", request_id="o", description="kyc").transaction

    for caller in (service, alice):
        seen = caller.transaction(transaction_id=answered.transaction_id)
        assert seen.kind == Transaction.KIND_OPEN_ACCOUNT
        assert seen.state == Transaction.STATE_POSTED
        assert (seen.source_user_id, seen.target_user_id) == ("", "alice")
        assert seen.description == "kyc"
        assert not seen.HasField("amount")
        assert not seen.HasField("entry")
    assert service.transaction(request_id="o") == answered


def test_an_opening_is_replayed_under_its_id(service: Wallet) -> None:
    first = service.open_account("alice", request_id="o")

    again = service.open_account("alice", request_id="o")

    assert (first.replayed, again.replayed) == (False, True)
    assert again.transaction == first.transaction
    assert again.account.create_time == first.account.create_time


def test_opening_an_open_account_succeeds_and_changes_nothing(
    service: Wallet, alice: Wallet
) -> None:
    alice.deposit(700)
    before = service.account("alice")

    again = service.open_account("alice")

    after = service.account("alice")
    assert not again.replayed
    assert (after.create_time, after.update_time) == (before.create_time, before.update_time)
    assert (after.balance.posted, after.balance.sequence) == (before.balance.posted, 1)
    assert len(list(alice.transactions())) == 1


def test_an_operator_opens_an_account_of_their_own(service: Wallet) -> None:
    opened = service.open_account("", currency_code="EUR").account

    assert opened.balance.user_id == "service"
    assert opened.balance.posted.currency_code == "EUR"


def test_an_operator_takes_back_an_overdraft_and_limits(service: Wallet) -> None:
    limit = SpendingLimit(window=SpendingLimit.WINDOW_CALENDAR_DAY, max_count=1)
    service.open_account("carol")
    given = service.update_account("carol", min_balance_minor=-5, limits=[limit]).account

    taken = service.update_account("carol", min_balance_minor=0, limits=[]).account

    assert (given.balance.min_balance.minor_units, list(given.limits)) == (-5, [limit])
    assert (taken.balance.min_balance.minor_units, list(taken.limits)) == (0, [])


def test_an_account_that_was_never_opened_is_not_found(service: Wallet, alice: Wallet) -> None:
    alice.deposit(1)

    for user_id, currency_code in (("nobody", ""), ("alice", "USD")):
        with pytest.raises(AccountNotFound) as refused:
            service.account(user_id, currency_code=currency_code)

        assert refused.value.code.name == "NOT_FOUND"
        assert refused.value.reason == "ACCOUNT_NOT_FOUND"
        assert refused.value.metadata == {
            "user_id": user_id,
            "currency_code": currency_code or "RUB",
        }


def test_an_operator_reads_what_an_account_holds(service: Wallet, alice: Wallet) -> None:
    alice.deposit(1)
    first = service.account("alice")
    alice.deposit(2)

    account = service.account("alice")

    assert account.balance.posted.minor_units == 3
    assert account.balance.available.minor_units == 3
    assert account.balance.sequence == 2
    assert account.create_time == first.create_time
    assert account.update_time.ToNanoseconds() > first.update_time.ToNanoseconds()
    assert account.balance.as_of.ToNanoseconds() >= account.update_time.ToNanoseconds()


def test_a_user_cannot_open_or_read_accounts_as_an_operator_does(
    alice: Wallet, service: Wallet
) -> None:
    with pytest.raises(NotAllowed) as opening:
        alice.open_account("alice")
    with pytest.raises(NotAllowed) as reading:
        alice.account("alice")

    assert opening.value.reason == reading.value.reason == "SCOPE_MISSING"
    with pytest.raises(AccountNotFound):
        service.account("alice")


@pytest.mark.parametrize(
    ("currency_code", "amount_minor", "decimal"),
    [("JPY", 7, "7"), ("KWD", 7, "0.007"), ("KWD", 1000, "1.000"), ("CLF", 1, "0.0001")],
)
def test_amounts_follow_their_currencys_exponent(
    alice: Wallet, currency_code: str, amount_minor: int, decimal: str
) -> None:
    deposited = alice.deposit(amount_minor, currency_code=currency_code).transaction
    withdrawn = alice.withdraw(amount_minor, currency_code=currency_code).transaction

    assert deposited.amount.decimal == decimal
    assert deposited.entry.balance_after.decimal == decimal
    assert withdrawn.entry.amount.decimal == f"-{decimal}"
    assert alice.balance(currency_code=currency_code).posted.minor_units == 0
