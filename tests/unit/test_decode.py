"""Requests become commands: whose money, how much, and what no ledger needs to see."""

import pytest
from wallet_client.v1.types_pb2 import Money
from wallet_client.v1.wallet_admin_service_pb2 import OpenAccountRequest
from wallet_client.v1.wallet_service_pb2 import (
    DepositRequest,
    GetBalanceRequest,
    GetTransactionRequest,
    TransferRequest,
    WithdrawRequest,
)

from wallet_service.ledger.commands import (
    AccountKey,
    Deposit,
    OpenAccount,
    Transfer,
    Withdraw,
    accounts_of,
)
from wallet_service.ledger.errors import (
    CurrencyUnsupported,
    SameAccount,
    ScopeMissing,
    ValidationFailed,
)
from wallet_service.ledger.ids import transaction_id
from wallet_service.transport.auth import SCOPE_ACT_FOR_ANY, SCOPE_ADMIN, Caller
from wallet_service.transport.decode import Decoder, transaction_id_of, user_id_of
from wallet_service.transport.status import status_of

ALICE = Caller("alice", frozenset(), 0)
ADMIN = Caller("admin", frozenset({SCOPE_ADMIN}), 0)
SERVICE = Caller("shop", frozenset({SCOPE_ACT_FOR_ANY}), 0)
SUM = Money(currency_code="USD", minor_units=5)
WORDS = {"request_id": "1", "description": "rent", "metadata": {"flat": "7"}}

Write = DepositRequest | WithdrawRequest | TransferRequest | OpenAccountRequest
Decoded = Deposit | Withdraw | Transfer | OpenAccount

decoder = Decoder("RUB")


def read(request: Write, caller: Caller) -> Decoded:
    """Decode a write of any kind."""
    match request:
        case DepositRequest():
            return decoder.deposit(request, caller)
        case WithdrawRequest():
            return decoder.withdraw(request, caller)
        case TransferRequest():
            return decoder.transfer(request, caller)
        case _:
            return decoder.open_account(request, caller)


def wrong_fields(request: Write, caller: Caller = ALICE) -> list[str]:
    """Name what is wrong with a request."""
    with pytest.raises(ValidationFailed) as failed:
        read(request, caller)
    return [violation.field for violation in failed.value.violations]


def test_a_deposit_is_read_whole() -> None:
    command = read(DepositRequest(amount=SUM, **WORDS), ALICE)

    assert command == Deposit(
        caller="alice", target=AccountKey("alice", "USD"), amount_minor=5, **WORDS
    )


def test_a_withdrawal_is_read_whole() -> None:
    command = read(WithdrawRequest(amount=SUM, **WORDS), ALICE)

    assert command == Withdraw(
        caller="alice", source=AccountKey("alice", "USD"), amount_minor=5, **WORDS
    )


def test_a_transfer_is_read_whole() -> None:
    command = read(TransferRequest(to_user_id="bob", amount=SUM, **WORDS), ALICE)

    assert command == Transfer(
        caller="alice",
        source=AccountKey("alice", "USD"),
        target=AccountKey("bob", "USD"),
        amount_minor=5,
        **WORDS,
    )


def test_an_empty_condition_is_none() -> None:
    request = TransferRequest(to_user_id="bob", amount=SUM, condition={}, **WORDS)

    assert read(request, ALICE).condition is None


def test_an_account_opening_is_read_whole() -> None:
    command = read(OpenAccountRequest(user_id="bob", currency_code="USD", **WORDS), ADMIN)

    assert command == OpenAccount(caller="admin", target=AccountKey("bob", "USD"), **WORDS)


def test_an_empty_currency_is_the_services_own() -> None:
    command = read(DepositRequest(amount=Money(minor_units=5), request_id="1"), ALICE)

    assert command.target == AccountKey("alice", "RUB")
    assert decoder.account(GetBalanceRequest(), ALICE) == AccountKey("alice", "RUB")


def test_the_decimal_form_in_a_request_is_ignored() -> None:
    amount = Money(minor_units=5, decimal="99.00")

    assert read(DepositRequest(amount=amount, request_id="1"), ALICE).amount_minor == 5


@pytest.mark.parametrize(
    "request_",
    [
        DepositRequest(user_id="bob", amount=SUM, request_id="1"),
        WithdrawRequest(user_id="bob", amount=SUM, request_id="1"),
        TransferRequest(user_id="bob", to_user_id="alice", amount=SUM, request_id="1"),
        TransferRequest(user_id="bob", to_user_id="carol", amount=SUM, request_id="1"),
    ],
    ids=lambda request: type(request).__name__,
)
def test_naming_another_user_needs_the_scope(request_: Write) -> None:
    with pytest.raises(ScopeMissing) as missing:
        read(request_, ALICE)

    assert missing.value.values == {"scope": SCOPE_ACT_FOR_ANY}
    command = read(request_, SERVICE)
    assert accounts_of(command)[0] == AccountKey("bob", "USD")
    assert command.caller == "shop"


def test_the_admin_scope_does_not_let_act_for_others() -> None:
    with pytest.raises(ScopeMissing):
        read(WithdrawRequest(user_id="bob", amount=SUM, request_id="1"), ADMIN)


def test_reading_another_users_account_needs_the_scope() -> None:
    request = GetBalanceRequest(user_id="bob")

    with pytest.raises(ScopeMissing):
        decoder.account(request, ALICE)
    with pytest.raises(ScopeMissing):
        user_id_of("bob", ALICE)
    assert decoder.account(request, SERVICE) == AccountKey("bob", "RUB")
    assert decoder.any_account(request, ADMIN) == AccountKey("bob", "RUB")
    assert user_id_of("bob", SERVICE) == "bob"
    assert user_id_of("", ALICE) == "alice"


@pytest.mark.parametrize("user_id", ["", "alice"])
def test_paying_oneself_is_refused(user_id: str) -> None:
    request = TransferRequest(user_id=user_id, to_user_id="alice", amount=SUM, request_id="1")

    with pytest.raises(SameAccount) as same:
        read(request, ALICE)

    assert same.value.values == {"field": "to_user_id"}


def test_a_service_cannot_make_a_user_pay_themselves_either() -> None:
    with pytest.raises(SameAccount):
        read(TransferRequest(user_id="bob", to_user_id="bob", amount=SUM, request_id="1"), SERVICE)


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (DepositRequest(), ["amount.minor_units", "request_id"]),
        (WithdrawRequest(), ["amount.minor_units", "request_id"]),
        (TransferRequest(), ["to_user_id", "amount.minor_units", "request_id"]),
        (OpenAccountRequest(), ["request_id"]),
        (DepositRequest(user_id="@external", amount=SUM, request_id="1"), ["user_id"]),
        (WithdrawRequest(user_id="@system", amount=SUM, request_id="1"), ["user_id"]),
        (TransferRequest(to_user_id="@external", amount=SUM, request_id="1"), ["to_user_id"]),
        (TransferRequest(to_user_id="b\n", amount=SUM, request_id="1"), ["to_user_id"]),
        (OpenAccountRequest(user_id="@system", request_id="1"), ["user_id"]),
        (DepositRequest(amount=Money(minor_units=-1), request_id="1"), ["amount.minor_units"]),
        (DepositRequest(amount=SUM, request_id="1", metadata={"": ""}), ["metadata"]),
        (DepositRequest(amount=SUM, request_id="1", description="\0"), ["description"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_wrong_fields_are_named_by_their_paths(request_: Write, fields: list[str]) -> None:
    assert wrong_fields(request_) == fields


def test_what_is_wrong_is_told_before_what_is_forbidden() -> None:
    assert wrong_fields(WithdrawRequest(user_id="bob", request_id="1", amount=Money()))


@pytest.mark.parametrize("code", ["usd", "XXX", "RUR", "R" * 100_000])
def test_an_unknown_currency_is_refused(code: str) -> None:
    with pytest.raises(CurrencyUnsupported) as unsupported:
        read(DepositRequest(amount=Money(currency_code=code, minor_units=5), request_id="1"), ALICE)

    assert unsupported.value.values["field"] == "amount.currency_code"


GIANT = "g" * 100_000
ALL_WRONG = TransferRequest(
    user_id=GIANT,
    to_user_id=GIANT,
    amount=Money(minor_units=-(2**63), currency_code=GIANT),
    request_id=GIANT,
    description=GIANT,
    metadata={f"{number}{GIANT}": GIANT for number in range(33)},
)


def test_an_answer_does_not_echo_giant_inputs() -> None:
    with pytest.raises(ValidationFailed) as failed:
        read(ALL_WRONG, ALICE)

    assert len(failed.value.violations) >= 8
    assert "ggg" not in str(failed.value)
    assert status_of(failed.value).ByteSize() < 4096


def test_a_giant_currency_is_not_echoed() -> None:
    with pytest.raises(CurrencyUnsupported) as unsupported:
        decoder.account(GetBalanceRequest(currency_code=GIANT), ALICE)

    assert status_of(unsupported.value).ByteSize() < 1024


def test_a_transaction_is_found_by_its_id_in_either_case() -> None:
    request = GetTransactionRequest(transaction_id="3D8DB05C-CC4E-82BD-A2EB-709804642DB6")

    assert transaction_id_of(request, ALICE) == "3d8db05c-cc4e-82bd-a2eb-709804642db6"


def test_a_transaction_is_found_by_the_callers_own_request_id() -> None:
    request = GetTransactionRequest(request_id="rent")

    assert transaction_id_of(request, ALICE) == transaction_id("alice", "rent")
    assert transaction_id_of(request, SERVICE) == transaction_id("shop", "rent")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (GetTransactionRequest(), "transaction_id"),
        (GetTransactionRequest(transaction_id=""), "transaction_id"),
        (GetTransactionRequest(transaction_id="1; DROP TABLE accounts"), "transaction_id"),
        (GetTransactionRequest(request_id=""), "request_id"),
        (GetTransactionRequest(request_id="a b"), "request_id"),
    ],
)
def test_an_unreadable_name_of_a_transaction_is_refused(
    request_: GetTransactionRequest, field: str
) -> None:
    with pytest.raises(ValidationFailed) as failed:
        transaction_id_of(request_, ALICE)

    assert [violation.field for violation in failed.value.violations] == [field]
