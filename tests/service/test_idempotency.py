"""A request takes effect at most once under its id, and its answer never changes."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.protobuf.message import Message
from harness.calls import Answer, Caller, balances_of, user
from harness.tokens import token
from wallet_client import Wallet
from wallet_client.v1.types_pb2 import Money
from wallet_client.v1.wallet_admin_service_pb2 import OpenAccountRequest
from wallet_client.v1.wallet_service_pb2 import (
    DepositRequest,
    GetTransactionRequest,
    TransferRequest,
    WithdrawRequest,
)

USERS = ("alice", "bob", "carol")
THREADS = 16


def rub(minor_units: int) -> Money:
    return Money(currency_code="RUB", minor_units=minor_units)


COMMON = {"user_id": "alice", "request_id": "r-1", "description": "rent", "metadata": {"a": "b"}}
DEPOSIT = DepositRequest(amount=rub(100), **COMMON)
WITHDRAW = WithdrawRequest(amount=rub(100), **COMMON)
TRANSFER = TransferRequest(amount=rub(100), to_user_id="bob", **COMMON)
OPEN = OpenAccountRequest(currency_code="RUB", **COMMON)
WRITES = [
    pytest.param(request, id=type(request).__name__)
    for request in (DEPOSIT, WITHDRAW, TRANSFER, OPEN)
]


def changed(request: Message, **fields: object) -> Message:
    """Copy a request with other content."""
    copy = type(request)()
    copy.CopyFrom(request)
    for name in fields:
        copy.ClearField(name)
    copy.MergeFrom(type(request)(**fields))
    return copy


@pytest.fixture
def bank(target: str) -> Iterator[Caller]:
    """A service, where all users have a thousand kopecks."""
    with user(target, "bank", "wallet:act-for-any", "wallet:admin") as caller:
        for user_id in USERS:
            caller.send(DepositRequest(user_id=user_id, amount=rub(1000), request_id=user_id))
        yield caller


@pytest.mark.parametrize("request_", WRITES)
def test_a_repeated_request_gets_the_same_answer_and_says_so(
    bank: Caller, request_: Message
) -> None:
    first = bank.send(request_)
    moved = balances_of(bank, *USERS)

    again = bank.send(request_)

    assert (first.code.name, first.response.replayed) == ("OK", False)
    assert (again.code.name, again.response.replayed) == ("OK", True)
    assert again.response.transaction == first.response.transaction
    assert not first.is_marked_replayed
    assert again.is_marked_replayed
    assert balances_of(bank, *USERS) == moved


OTHER_CONTENT = [
    (DEPOSIT, {"user_id": "bob"}, "user_id"),
    (DEPOSIT, {"amount": rub(101)}, "amount"),
    (DEPOSIT, {"amount": Money(currency_code="USD", minor_units=100)}, "amount"),
    (DEPOSIT, {"description": ""}, "description"),
    (DEPOSIT, {"metadata": {"a": "c"}}, "metadata"),
    (DEPOSIT, {"metadata": {}}, "metadata"),
    (WITHDRAW, {"user_id": "bob"}, "user_id"),
    (WITHDRAW, {"amount": rub(99)}, "amount"),
    (WITHDRAW, {"description": "Rent"}, "description"),
    (WITHDRAW, {"metadata": {"a": "b", "c": "d"}}, "metadata"),
    (TRANSFER, {"user_id": "carol"}, "user_id"),
    (TRANSFER, {"to_user_id": "carol"}, "to_user_id"),
    (TRANSFER, {"amount": rub(1)}, "amount"),
    (TRANSFER, {"description": "rent "}, "description"),
    (TRANSFER, {"metadata": {"b": "a"}}, "metadata"),
    (TRANSFER, {"amount": rub(1), "description": "x"}, "amount,description"),
    (OPEN, {"user_id": "dave"}, "user_id"),
    (OPEN, {"currency_code": "USD"}, "currency_code"),
    (OPEN, {"description": "x"}, "description"),
    (OPEN, {"metadata": {}}, "metadata"),
]


def test_other_content_under_a_used_id_is_refused_naming_the_fields(bank: Caller) -> None:
    first_id = {
        kind: bank.send(changed(request, request_id=kind)).response.transaction.transaction_id
        for kind, request in {type(each[0]).__name__: each[0] for each in OTHER_CONTENT}.items()
    }
    moved = balances_of(bank, *USERS, "dave")

    for original, other, fields in OTHER_CONTENT:
        kind = type(original).__name__
        answer = bank.send(changed(original, request_id=kind, **other))

        assert answer.outcome == ("ALREADY_EXISTS", "REQUEST_ID_REUSED"), (kind, other)
        assert answer.values == {"fields": fields, "transaction_id": first_id[kind]}
        assert answer.fields == fields.split(",")
        assert not answer.is_marked_replayed
    assert balances_of(bank, *USERS, "dave") == moved


def test_another_method_under_a_used_id_is_refused(bank: Caller) -> None:
    bank.send(DEPOSIT)
    moved = balances_of(bank, *USERS)

    answers = [bank.send(request) for request in (WITHDRAW, TRANSFER, OPEN)]

    assert {answer.outcome for answer in answers} == {("ALREADY_EXISTS", "REQUEST_ID_REUSED")}
    assert [answer.values["fields"] for answer in answers] == ["kind"] * 3
    assert balances_of(bank, *USERS) == moved


def test_the_default_currency_and_the_caller_may_be_spelled_out_in_a_retry(target: str) -> None:
    brief = DepositRequest(amount=Money(minor_units=5), request_id="r")
    spelled = DepositRequest(user_id="alice", amount=rub(5), request_id="r")
    with user(target, "alice") as alice:
        first = alice.send(brief)

        again = alice.send(spelled)

        assert again.response.replayed
        assert again.response.transaction == first.response.transaction
        assert balances_of(alice, "alice") == {("alice", "RUB"): (5, 1)}


def test_a_refusal_stays_one_after_a_top_up_but_a_new_id_works(bank: Caller) -> None:
    too_much = changed(TRANSFER, amount=rub(1500))
    first = bank.send(too_much)
    bank.send(changed(DEPOSIT, amount=rub(1000), request_id="top-up"))
    topped_up = balances_of(bank, *USERS)

    again = bank.send(too_much)

    assert first.outcome == again.outcome == ("FAILED_PRECONDITION", "INSUFFICIENT_FUNDS")
    assert again.values["available"] == "1000"
    assert (again.details, again.message) == (first.details, first.message)
    assert not first.is_marked_replayed
    assert again.is_marked_replayed
    assert balances_of(bank, *USERS) == topped_up
    assert bank.send(changed(too_much, request_id="r-2")).code.name == "OK"


def test_a_refused_request_repeated_with_other_content_is_a_reuse(bank: Caller) -> None:
    bank.send(changed(TRANSFER, amount=rub(1500)))

    answer = bank.send(TRANSFER)

    assert answer.outcome == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    assert answer.fields == ["amount"]
    assert balances_of(bank, "alice") == {("alice", "RUB"): (1000, 1)}


def test_errors_that_decide_nothing_leave_the_id_free(target: str, bank: Caller) -> None:
    request = TransferRequest(to_user_id="bob", amount=rub(1), request_id="free")
    expired = (("authorization", f"Bearer {token('alice', exp=1)}"),)
    with user(target, "alice") as alice, Caller(target, expired) as late, Caller(target) as nobody:
        answers = [
            alice.send(changed(request, amount=rub(0))),
            alice.send(changed(request, to_user_id="alice")),
            alice.send(changed(request, amount=Money(currency_code="XXX", minor_units=1))),
            alice.send(changed(request, user_id="bob", to_user_id="carol")),
            late.send(request),
            nobody.send(request),
        ]
        unknown = alice.send(GetTransactionRequest(request_id="free"))
        accepted = alice.send(request)

    assert [answer.reason for answer in answers] == [
        "VALIDATION_FAILED",
        "SAME_ACCOUNT",
        "CURRENCY_UNSUPPORTED",
        "SCOPE_MISSING",
        "TOKEN_EXPIRED",
        "TOKEN_MISSING",
    ]
    assert unknown.outcome == ("NOT_FOUND", "TRANSACTION_NOT_FOUND")
    assert (accepted.code.name, accepted.response.replayed) == ("OK", False)


def test_two_callers_may_use_the_same_request_id(alice: Wallet, bob: Wallet) -> None:
    mine = alice.deposit(10, request_id="1")
    theirs = bob.deposit(20, request_id="1")

    assert not theirs.replayed
    assert mine.transaction.transaction_id != theirs.transaction.transaction_id
    assert alice.balance().posted.minor_units == 10
    assert bob.balance().posted.minor_units == 20


def send_at_once(target: str, request: Message) -> list[Answer]:
    """Send a request from many channels in the same instant."""
    ready = threading.Barrier(THREADS)

    def send(_number: int) -> Answer:
        with user(target, "bank", "wallet:act-for-any") as caller:
            caller.send(GetTransactionRequest(request_id="none"))  # the connection stands
            ready.wait(timeout=20)
            return caller.send(request)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(send, range(THREADS)))


def test_one_request_from_many_threads_at_once_happens_once(target: str, bank: Caller) -> None:
    answers = send_at_once(target, TRANSFER)

    transactions = {
        each.response.transaction.SerializeToString(deterministic=True) for each in answers
    }
    assert len(transactions) == 1
    assert sorted(each.response.replayed for each in answers) == [False] + [True] * (THREADS - 1)
    assert sorted(each.is_marked_replayed for each in answers) == [False] + [True] * (THREADS - 1)
    assert balances_of(bank, "alice", "bob") == {
        ("alice", "RUB"): (900, 2),
        ("bob", "RUB"): (1100, 2),
    }


def test_one_refusal_from_many_threads_at_once_is_decided_once(target: str, bank: Caller) -> None:
    answers = send_at_once(target, changed(TRANSFER, amount=rub(1001)))

    assert {each.outcome for each in answers} == {("FAILED_PRECONDITION", "INSUFFICIENT_FUNDS")}
    assert len({each.details for each in answers}) == 1
    assert sorted(each.is_marked_replayed for each in answers) == [False] + [True] * (THREADS - 1)
    assert balances_of(bank, "alice") == {("alice", "RUB"): (1000, 1)}
