"""Requests that cannot be meant: refused with the field named, nothing moved, server alive."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from harness.bad_content import (
    AMOUNT_MAX,
    BAD_CONTENT,
    GOOD,
    HOLD_ID,
    INVALID,
    SAME_ACCOUNT,
    spoilt,
)
from harness.calls import METHODS, Caller, user
from harness.stored import all_rows
from hypothesis import HealthCheck, given, settings, strategies as st
from wallet_client.v1.types_pb2 import Condition, Money
from wallet_client.v1.wallet_admin_service_pb2 import (
    GetAccountRequest,
    ListAccountChangesRequest,
    ListAccountsRequest,
    UpdateAccountRequest,
)
from wallet_client.v1.wallet_service_pb2 import (
    CaptureHoldRequest,
    CreateHoldRequest,
    DepositRequest,
    GetBalanceRequest,
    ListHoldsRequest,
    ListTransactionsRequest,
    ReverseTransactionRequest,
    TransferRequest,
    WatchTransactionsRequest,
)

ONE = Money(minor_units=1)
DOLLAR = Money(currency_code="USD", minor_units=1)
HUGE = (TransferRequest, GetAccountRequest)


@pytest.fixture
def bank(target: str) -> Iterator[Caller]:
    """A service that may do everything; alice and bob have 1000 kopecks each, alice a hold."""
    with user(target, "bank", "wallet:act-for-any", "wallet:admin") as caller:
        for user_id in ("alice", "bob"):
            amount = Money(minor_units=1000)
            caller.send(DepositRequest(user_id=user_id, amount=amount, request_id=user_id))
        hold = CreateHoldRequest(user_id="alice", amount=Money(minor_units=100), request_id="hold")
        assert caller.send(hold).response.hold.hold_id == HOLD_ID
        yield caller


@pytest.fixture
def nothing_changes(bank: Caller, database_url: str) -> Iterator[None]:
    """Every row of the ledger is after the test what it was before."""
    before = all_rows(database_url)
    yield
    assert all_rows(database_url) == before


def test_every_method_is_tried_with_bad_content() -> None:
    assert BAD_CONTENT.keys() == GOOD.keys() == METHODS.keys()


@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)
@pytest.mark.usefixtures("nothing_changes")
def test_a_wrong_value_is_refused_naming_its_field(bank: Caller, kind: type[Message]) -> None:
    wrong = {}
    for number, bad in enumerate(BAD_CONTENT[kind]):
        answer = bank.send(spoilt(GOOD[kind], bad.content))
        if answer.outcome[0] != "INVALID_ARGUMENT":
            wrong[number] = (bad, answer.outcome)
        elif (answer.outcome, answer.fields) != (bad.outcome, [bad.field]):
            wrong[number] = (bad, answer.outcome, answer.fields)

    assert wrong == {}


@pytest.mark.usefixtures("nothing_changes")
def test_all_wrong_fields_are_named_at_once(bank: Caller) -> None:
    answer = bank.send(TransferRequest(user_id="@", amount=Money(minor_units=-1)))

    assert answer.outcome == INVALID
    assert sorted(answer.fields) == ["amount.minor_units", "request_id", "to_user_id", "user_id"]


@pytest.mark.parametrize(
    ("question", "fields"),
    [
        (ListTransactionsRequest(page_size=-1, kinds=[99]), ["kinds[0]", "page_size"]),
        (ListTransactionsRequest(kinds=[1] * 100), ["kinds"]),
        (ListHoldsRequest(page_size=-1, states=[9]), ["page_size", "states[0]"]),
        (ListAccountsRequest(page_size=-1, states=[9]), ["page_size", "states[0]"]),
        (ListAccountChangesRequest(page_size=-1), ["page_size"]),
        (GetBalanceRequest(as_of_sequence=-1), ["as_of_sequence"]),
        (GetBalanceRequest(as_of_time=Timestamp(seconds=-1)), ["as_of_time"]),
    ],
    ids=lambda each: type(each).__name__,
)
def test_all_wrong_fields_of_a_question_are_named_at_once(
    bank: Caller, question: Any, fields: list[str]
) -> None:
    question.user_id, question.currency_code = "@", "zz"

    answer = bank.send(question)

    assert answer.outcome == INVALID
    assert sorted(answer.fields) == sorted([*fields, "user_id", "currency_code"])


@pytest.mark.usefixtures("nothing_changes")
def test_the_answer_to_a_long_wrong_currency_is_not_too_long(bank: Caller) -> None:
    answer = bank.send(
        TransferRequest(
            to_user_id="bob",
            amount=Money(minor_units=1, currency_code="X" * 20_000),
            condition=Condition(available_at_least=Money(currency_code="RUB")),
            request_id="long",
        )
    )

    assert answer.code.name == "INVALID_ARGUMENT"
    assert "amount.currency_code" in answer.fields
    assert "condition.available_at_least.currency_code" in answer.fields


def test_a_capture_to_the_payer_is_refused_naming_its_field(bank: Caller) -> None:
    answer = bank.send(spoilt(GOOD[CaptureHoldRequest], {"to_user_id": "alice"}))

    assert (answer.outcome, answer.fields) == (SAME_ACCOUNT, ["to_user_id"])


@pytest.mark.parametrize("kind", [CaptureHoldRequest, ReverseTransactionRequest])
@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"amount": DOLLAR}, "amount"),
        (
            {"amount": None, "condition": {"available_at_least": DOLLAR}},
            "condition.available_at_least",
        ),
        (
            {"amount": ONE, "condition": {"balance_after_at_least": DOLLAR}},
            "condition.balance_after_at_least",
        ),
    ],
    ids=["amount", "condition", "condition beside an amount"],
)
@pytest.mark.usefixtures("nothing_changes")
def test_another_currency_than_the_holds_or_originals_is_refused(
    bank: Caller, kind: type[Message], content: dict[str, object], field: str
) -> None:
    answer = bank.send(spoilt(GOOD[kind], content))

    assert answer.outcome == INVALID
    assert answer.fields == [f"{field}.currency_code"]


def test_the_largest_values_are_taken(bank: Caller) -> None:
    answer = bank.send(
        DepositRequest(
            user_id="~" * 128,
            amount=Money(currency_code="USD", minor_units=AMOUNT_MAX),
            request_id="!" * 128,
            description="é" * 256,
            metadata={f"{number:k>64}": "é" * 256 for number in range(32)},
        )
    )

    assert answer.response.transaction.amount.minor_units == AMOUNT_MAX
    assert len(answer.response.transaction.metadata) == 32


@pytest.mark.parametrize(
    "words", ["a\tb\nc\rd\\e\\N", "\\.", "'; DROP TABLE entries; --", "{}", "\u2028", "😀" * 256]
)
def test_words_come_back_as_they_were_sent(bank: Caller, words: str) -> None:
    labels = {words[:64]: words}
    request = DepositRequest(amount=ONE, request_id="w", description=words, metadata=labels)
    bank.send(request)

    again = bank.send(request).response.transaction

    assert again.description == words
    assert dict(again.metadata) == labels


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ListTransactionsRequest, "alice"),
        (ListHoldsRequest, "alice"),
        (ListAccountsRequest, ""),
        (ListAccountChangesRequest, "alice"),
    ],
    ids=lambda each: each if isinstance(each, str) else each.__name__,
)
def test_a_damaged_page_token_is_refused(bank: Caller, kind: type[Message], name: str) -> None:
    alice = {"user_id": "alice", "request_id": "second"}
    bank.send(DepositRequest(amount=ONE, **alice))
    bank.send(CreateHoldRequest(amount=ONE, **alice | {"request_id": "hold-2"}))
    for number in range(2):
        bank.send(UpdateAccountRequest(min_balance=Money(), **alice | {"request_id": f"u{number}"}))
    listing = kind(user_id=name, page_size=1)
    token = bank.send(listing).response.next_page_token
    assert token
    damaged = ["x", "!", "é", "A" * 1000, token[:-1], token + "A", token.swapcase(), f" {token}"]

    answers = [bank.send(spoilt(listing, {"page_token": each})) for each in damaged]

    assert {each.outcome for each in answers} == {("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")}
    assert [each.fields for each in answers] == [["page_token"]] * len(damaged)


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff", b"\x0a\x02\xc3\x28", b"\x00"])
def test_undecodable_bytes_are_an_invalid_argument(bank: Caller, data: bytes) -> None:
    answers = {path: bank.send_bytes(path, data) for path in METHODS.values()}

    assert {each.outcome for each in answers.values()} == {INVALID}
    assert {tuple(each.fields) for each in answers.values()} == {("request",)}


@pytest.mark.usefixtures("nothing_changes")
def test_a_huge_message_is_refused_and_the_server_lives(bank: Caller) -> None:
    huge = secrets.token_bytes(5 * 1024 * 1024)

    answers = {kind: bank.send_bytes(METHODS[kind], huge).code.name for kind in HUGE}

    assert answers == dict.fromkeys(HUGE, "RESOURCE_EXHAUSTED")


@pytest.mark.usefixtures("nothing_changes")
def test_huge_metadata_is_refused_and_the_server_lives(bank: Caller) -> None:
    huge = (("x-padding", "x" * 20 * 1024),)

    answer = bank.send_bytes(
        METHODS[DepositRequest], GOOD[DepositRequest].SerializeToString(), metadata=huge
    )

    assert answer.code.name == "RESOURCE_EXHAUSTED"


def test_an_unknown_method_is_unimplemented(bank: Caller) -> None:
    for path in ("/wallet.v1.WalletService/Steal", "/wallet.v2.WalletService/Deposit", "/x"):
        assert bank.send_bytes(path, b"").code.name == "UNIMPLEMENTED"


def test_no_bytes_are_an_internal_or_unknown_error(bank: Caller) -> None:
    seeds = [request.SerializeToString() for request in GOOD.values()]
    spliced = st.tuples(st.sampled_from(seeds), st.binary(max_size=8), st.integers(0, 40)).map(
        lambda drawn: drawn[0][: drawn[2]] + drawn[1] + drawn[0][drawn[2] :]
    )

    @settings(
        max_examples=300,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(path=st.sampled_from(list(METHODS.values())), data=st.binary(max_size=64) | spliced)
    def send(path: str, data: bytes) -> None:
        # A stream that opens says little: a second of it will do.
        timeout_s = 1 if path == METHODS[WatchTransactionsRequest] else 20
        answer = bank.send_bytes(path, data, timeout_s=timeout_s)
        assert answer.code.name not in {"INTERNAL", "UNKNOWN"}

    send()
    assert bank.send(GetBalanceRequest(user_id="alice")).code.name == "OK"
