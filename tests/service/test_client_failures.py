"""What the client raises: one class a reason, with its values, and nothing moved."""

from collections.abc import Callable
from datetime import UTC, timedelta

import pytest
import wallet_client
from harness.tokens import token
from sqlalchemy import text
from wallet_client import Wallet, WalletError
from wallet_client.v1.types_pb2 import Money, SpendingLimit
from wallet_client.v1.wallet_service_pb2 import (
    GetBalanceRequest,
    ReverseTransactionRequest,
    WithdrawRequest,
)

from wallet_service.storage.database import open_database

NO_ID = "01890000-0000-7000-8000-000000000000"
Call = Callable[[Wallet, Wallet], object]
NOBODYS = "01890000-0000-7000-8000-000000000000"

FAILURES: dict[str, tuple[type[WalletError], str, str, Call]] = {
    "INSUFFICIENT_FUNDS": (
        wallet_client.InsufficientFunds,
        "FAILED_PRECONDITION",
        "r",
        lambda alice, _: alice.withdraw(101, request_id="r"),
    ),
    "BALANCE_LIMIT": (
        wallet_client.BalanceLimit,
        "FAILED_PRECONDITION",
        "r",
        lambda alice, _: alice.deposit(10**15, currency_code="JPY", request_id="r"),
    ),
    "ACCOUNT_NOT_FOUND": (
        wallet_client.AccountNotFound,
        "NOT_FOUND",
        "r",
        lambda alice, _: alice.transfer("nobody", 1, request_id="r"),
    ),
    "REQUEST_ID_REUSED": (
        wallet_client.RequestIdReused,
        "ALREADY_EXISTS",
        "start",
        lambda alice, _: alice.deposit(1, request_id="start"),
    ),
    "SAME_ACCOUNT": (
        wallet_client.SameAccount,
        "INVALID_ARGUMENT",
        "r",
        lambda alice, _: alice.transfer("alice", 1, request_id="r"),
    ),
    "VALIDATION_FAILED": (
        wallet_client.InvalidRequest,
        "INVALID_ARGUMENT",
        "r",
        lambda alice, _: alice.deposit(0, request_id="r"),
    ),
    "CURRENCY_UNSUPPORTED": (
        wallet_client.InvalidRequest,
        "INVALID_ARGUMENT",
        "",
        lambda alice, _: alice.balance(currency_code="XXX"),
    ),
    "TRANSACTION_NOT_FOUND": (
        wallet_client.TransactionNotFound,
        "NOT_FOUND",
        "r",
        lambda alice, _: alice.reverse(NOBODYS, request_id="r"),
    ),
    "SCOPE_MISSING": (
        wallet_client.NotAllowed,
        "PERMISSION_DENIED",
        "",
        lambda alice, _: alice.balance(user_id="bob"),
    ),
    "TOKEN_EXPIRED": (
        wallet_client.TokenExpired,
        "UNAUTHENTICATED",
        "",
        lambda _, late: late.balance(),
    ),
}


def test_a_transaction_that_is_not_there_yet_is_not_refused_for_good(alice: Wallet) -> None:
    for asked in ({"request_id": "none"}, {"transaction_id": NOBODYS}):
        with pytest.raises(wallet_client.NotFound) as missing:
            alice.transaction(**asked)

        assert not isinstance(missing.value, wallet_client.Refused)
        assert missing.value.reason == "TRANSACTION_NOT_FOUND"


def test_a_reversal_in_a_batch_that_finds_nothing_is_refused_for_good(alice: Wallet) -> None:
    reversal = ReverseTransactionRequest(transaction_id=NOBODYS, request_id="r")

    (result,) = alice.execute([reversal], atomic=False).results

    assert isinstance(wallet_client.error_from_status(result.error), wallet_client.Refused)


def test_tokens_from_a_service_that_is_away_are_asked_for_again(target: str) -> None:
    asked = []

    def fetch_token() -> str:
        asked.append(1)
        with Wallet("127.0.0.1:1", "t", plaintext=True, attempts_max=1) as nobody:
            nobody._service.GetBalance(GetBalanceRequest())  # as the stub of a token service fails
        return ""

    with (
        Wallet(target, fetch_token, plaintext=True, attempts_max=3) as wallet,
        pytest.raises(wallet_client.Undecided),
    ):
        wallet.balance()

    assert len(asked) == 3


def fill_to_the_brim(database_url: str, alice: Wallet) -> None:
    """Bring alice's yens to what an account may hold at most, as thousands of deposits would."""
    alice.deposit(10**15, currency_code="JPY")
    raise_balance(database_url, 9 * 10**18)


def raise_balance(database_url: str, posted_minor: int) -> None:
    database = open_database(database_url)
    statement = text("UPDATE accounts SET posted_minor = :posted WHERE currency_code = 'JPY'")
    with database.transaction() as connection:
        connection.execute(statement, {"posted": posted_minor})
    database.close()


@pytest.mark.parametrize("reason", FAILURES)
def test_each_reason_is_raised_as_its_own_class(
    database_url: str, target: str, alice: Wallet, reason: str
) -> None:
    kind, code, request_id, call = FAILURES[reason]
    alice.deposit(100, request_id="start")
    fill_to_the_brim(database_url, alice)
    before = [(each.posted, each.sequence) for each in alice.balances()]

    with (
        Wallet(target, token("alice", exp=1), plaintext=True) as late,
        pytest.raises(WalletError) as raised,
    ):
        call(alice, late)

    assert type(raised.value) is kind
    assert (raised.value.code.name, raised.value.reason) == (code, reason)
    assert raised.value.request_id == request_id
    assert str(raised.value)
    assert [(each.posted, each.sequence) for each in alice.balances()] == before


NOT_THERE: dict[str, Callable[[Wallet], object]] = {
    "ACCOUNT_NOT_FOUND": lambda alice: alice.transfer("nobody", 1, request_id="r"),
    "HOLD_NOT_FOUND": lambda alice: alice.void_hold(NO_ID, request_id="r"),
    "TRANSACTION_NOT_FOUND": lambda alice: alice.reverse(NO_ID, request_id="r"),
}


@pytest.mark.parametrize("reason", NOT_THERE)
def test_a_write_that_does_not_find_its_object_is_refused_for_good(
    alice: Wallet, reason: str
) -> None:
    alice.deposit(100)
    with pytest.raises(wallet_client.NotFound) as first:
        NOT_THERE[reason](alice)
    with pytest.raises(wallet_client.Refused) as again:
        NOT_THERE[reason](alice)

    assert type(first.value) is type(again.value)
    assert (again.value.code.name, again.value.reason) == ("NOT_FOUND", reason)
    assert again.value.transaction_id == first.value.metadata["transaction_id"] != ""
    assert alice.balance().posted.minor_units == 100


def test_an_exceeded_limit_says_what_is_left_and_when_there_is_more(
    alice: Wallet, service: Wallet
) -> None:
    window = SpendingLimit.WINDOW_ROLLING_DAY
    alice.deposit(100)
    service.update_account(
        "alice",
        limits=[SpendingLimit(window=window, max_amount=Money(minor_units=50), max_count=1)],
    )

    with pytest.raises(wallet_client.LimitExceeded) as never:
        alice.withdraw(51)
    spent = alice.withdraw(40).transaction.create_time.ToDatetime(UTC)
    with pytest.raises(wallet_client.LimitExceeded) as soon:
        alice.withdraw(11)
    with pytest.raises(wallet_client.LimitExceeded) as counted:
        alice.withdraw(10)

    assert (never.value.limited, never.value.remaining) == ("amount", 50)
    assert never.value.reset_time is None
    assert (soon.value.limited, soon.value.remaining) == ("amount", 10)
    assert soon.value.reset_time
    assert timedelta() < soon.value.reset_time - spent - timedelta(days=1) < timedelta(seconds=1)
    assert (counted.value.limited, counted.value.remaining) == ("count", 0)


def test_a_refusal_says_what_a_hold_or_an_original_has_left(alice: Wallet, service: Wallet) -> None:
    deposited = alice.deposit(100).transaction
    hold = alice.create_hold(30).hold
    service.capture_hold(hold.hold_id, 10, keep_remainder=True)
    service.reverse(deposited.transaction_id, 25)

    with pytest.raises(wallet_client.CaptureExceedsHold) as held:
        service.capture_hold(hold.hold_id, 21)
    with pytest.raises(wallet_client.ReversalExceedsOriginal) as reversed_before:
        service.reverse(deposited.transaction_id, 76)

    assert held.value.remaining_minor == 20
    assert reversed_before.value.remaining_minor == 75


def test_a_refused_batch_says_which_operation_was_refused_and_why(alice: Wallet) -> None:
    alice.deposit(100)
    withdrawals = [WithdrawRequest(amount=Money(minor_units=each)) for each in (60, 50, 10)]

    with pytest.raises(wallet_client.BatchRefused) as refused:
        alice.execute(withdrawals, atomic=True)

    assert (refused.value.failed_index, refused.value.failed_reason) == (1, "INSUFFICIENT_FUNDS")
    assert alice.balance().posted.minor_units == 100


def test_an_invalid_request_says_which_fields_are_wrong(alice: Wallet) -> None:
    with pytest.raises(wallet_client.InvalidRequest) as raised:
        alice.transfer("@external", -5)

    assert raised.value.fields.keys() == {"to_user_id", "amount.minor_units"}
    assert "-5" in raised.value.fields["amount.minor_units"]


def test_a_garbage_token_is_not_authenticated(target: str) -> None:
    with (
        Wallet(target, "garbage", plaintext=True) as nobody,
        pytest.raises(wallet_client.NotAuthenticated) as raised,
    ):
        nobody.balance()

    assert (raised.value.reason, raised.value.request_id) == ("TOKEN_INVALID", "")
