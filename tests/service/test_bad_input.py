"""Requests that cannot be meant: refused with the field named, nothing moved, server alive."""

import secrets
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from google.protobuf.message import Message
from harness.calls import METHODS, Caller, balances_of, user
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wallet_client.v1.types_pb2 import Money
from wallet_client.v1.wallet_admin_service_pb2 import GetAccountRequest, OpenAccountRequest
from wallet_client.v1.wallet_service_pb2 import (
    DepositRequest,
    GetBalanceRequest,
    GetTransactionRequest,
    ListBalancesRequest,
    ListTransactionsRequest,
    TransferRequest,
    WithdrawRequest,
)

AMOUNT_MAX = 10**15
LONG_NAME = "n" * 129
COMMON = {"user_id": "alice", "request_id": "bad"}
ONE = Money(currency_code="RUB", minor_units=1)
GOOD = {
    DepositRequest: DepositRequest(amount=ONE, **COMMON),
    WithdrawRequest: WithdrawRequest(amount=ONE, **COMMON),
    TransferRequest: TransferRequest(amount=ONE, to_user_id="bob", **COMMON),
    OpenAccountRequest: OpenAccountRequest(currency_code="USD", **COMMON),
    GetBalanceRequest: GetBalanceRequest(user_id="alice"),
    GetAccountRequest: GetAccountRequest(user_id="alice"),
    ListBalancesRequest: ListBalancesRequest(user_id="alice"),
    ListTransactionsRequest: ListTransactionsRequest(user_id="alice"),
    GetTransactionRequest: GetTransactionRequest(request_id="start"),
}
HUGE = (TransferRequest, GetAccountRequest)
INVALID = ("INVALID_ARGUMENT", "VALIDATION_FAILED")
UNSUPPORTED = ("INVALID_ARGUMENT", "CURRENCY_UNSUPPORTED")


class Bad(NamedTuple):
    """One wrong value, and what must be said about it."""

    content: dict[str, object]
    field: str
    outcome: tuple[str, str] = INVALID


NAMES = ("", "@external", "@system", LONG_NAME, "a b", "a\0", "é", "a\n", "\x7f")
CURRENCIES = ("XXX", "rub", "XAU", "RU", "RUBRUBRUBRUBRUBRUBRUB", "РУБ", "RUB ", "R\0B")
USER_IDS = [Bad({"user_id": name}, "user_id") for name in NAMES if name]
REQUEST_IDS = [
    Bad({"request_id": name}, "request_id") for name in NAMES if not name.startswith("@")
]
WORDS = [
    Bad({"description": "a\0b"}, "description"),
    Bad({"description": "é" * 257}, "description"),
    Bad({"metadata": {str(number): "" for number in range(33)}}, "metadata"),
    Bad({"metadata": {"": "x"}}, "metadata"),
    Bad({"metadata": {"k" * 65: "x"}}, "metadata"),
    Bad({"metadata": {"k": "v" * 257}}, "metadata"),
    Bad({"metadata": {"k\0": "v"}}, "metadata"),
    Bad({"metadata": {"k": "\0"}}, "metadata"),
]
AMOUNTS = [
    Bad({"amount": Money(currency_code="RUB", minor_units=amount_minor)}, "amount.minor_units")
    for amount_minor in (0, -1, AMOUNT_MAX + 1, 2**63 - 1, -(2**63))
] + [
    Bad({"amount": Money()}, "amount.minor_units"),
    Bad({"amount": Money(decimal="1.00")}, "amount.minor_units"),
    Bad({"amount": None}, "amount.minor_units"),
]
AMOUNT_CURRENCIES = [
    Bad({"amount": Money(currency_code=code, minor_units=1)}, "amount.currency_code", UNSUPPORTED)
    for code in CURRENCIES
]
CURRENCY_CODES = [Bad({"currency_code": code}, "currency_code", UNSUPPORTED) for code in CURRENCIES]
MONEY = [*USER_IDS, *REQUEST_IDS, *WORDS, *AMOUNTS, *AMOUNT_CURRENCIES]
PAGES = [
    Bad({"page_size": -1}, "page_size"),
    Bad({"page_size": -(2**31)}, "page_size"),
    Bad({"order": 3}, "order"),
    Bad({"order": -1}, "order"),
]

BAD_CONTENT: dict[type[Message], list[Bad]] = {
    DepositRequest: MONEY,
    WithdrawRequest: MONEY,
    TransferRequest: [
        *MONEY,
        *(Bad({"to_user_id": name}, "to_user_id") for name in NAMES),
        Bad({"to_user_id": "alice"}, "to_user_id", ("INVALID_ARGUMENT", "SAME_ACCOUNT")),
    ],
    OpenAccountRequest: [*USER_IDS, *REQUEST_IDS, *WORDS, *CURRENCY_CODES],
    GetBalanceRequest: [*USER_IDS, *CURRENCY_CODES],
    GetAccountRequest: [*USER_IDS, *CURRENCY_CODES],
    ListBalancesRequest: USER_IDS,
    ListTransactionsRequest: [*USER_IDS, *CURRENCY_CODES, *PAGES],
    GetTransactionRequest: REQUEST_IDS,
}


def spoilt(request: Message, content: dict[str, object]) -> Message:
    """Copy a good request, with one value replaced."""
    copy = type(request)()
    copy.CopyFrom(request)
    for name in content:
        copy.ClearField(name)
    copy.MergeFrom(type(request)(**content))
    if content == {"request_id": ""} and isinstance(copy, GetTransactionRequest):
        copy.request_id = ""
    return copy


@pytest.fixture
def bank(target: str) -> Iterator[Caller]:
    """A service that may do everything; alice and bob have 1000 kopecks each."""
    with user(target, "bank", "wallet:act-for-any", "wallet:admin") as caller:
        for user_id in ("alice", "bob"):
            amount = Money(minor_units=1000)
            caller.send(DepositRequest(user_id=user_id, amount=amount, request_id=user_id))
        yield caller


def assert_all_as_before(bank: Caller) -> None:
    assert balances_of(bank, "alice", "bob", "bank") == {
        ("alice", "RUB"): (1000, 1),
        ("bob", "RUB"): (1000, 1),
    }


def test_every_method_is_tried_with_bad_content() -> None:
    assert BAD_CONTENT.keys() == GOOD.keys() == METHODS.keys()


@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)
def test_a_wrong_value_is_refused_naming_its_field(bank: Caller, kind: type[Message]) -> None:
    for bad in BAD_CONTENT[kind]:
        answer = bank.send(spoilt(GOOD[kind], bad.content))

        assert (answer.outcome, answer.fields) == (bad.outcome, [bad.field]), bad
    assert_all_as_before(bank)


def test_all_wrong_fields_are_named_at_once(bank: Caller) -> None:
    answer = bank.send(TransferRequest(user_id="@", amount=Money(minor_units=-1)))

    assert answer.outcome == INVALID
    assert sorted(answer.fields) == ["amount.minor_units", "request_id", "to_user_id", "user_id"]
    assert_all_as_before(bank)


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


def test_a_damaged_page_token_is_refused(bank: Caller) -> None:
    listing = ListTransactionsRequest(user_id="alice", page_size=1)
    bank.send(DepositRequest(user_id="alice", amount=ONE, request_id="second"))
    token = bank.send(listing).response.next_page_token
    damaged = ["x", "!", "é", "A" * 1000, token[:-1], token + "A", token.swapcase(), f" {token}"]

    answers = [bank.send(spoilt(listing, {"page_token": each})) for each in damaged]

    assert {each.outcome for each in answers} == {("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")}
    assert [each.fields for each in answers] == [["page_token"]] * len(damaged)


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff", b"\x0a\x02\xc3\x28", b"\x00"])
def test_undecodable_bytes_are_an_invalid_argument(bank: Caller, data: bytes) -> None:
    answers = {path: bank.send_bytes(path, data) for path in METHODS.values()}

    assert {each.outcome for each in answers.values()} == {INVALID}
    assert {tuple(each.fields) for each in answers.values()} == {("request",)}
    assert_all_as_before(bank)


def test_a_huge_message_is_refused_and_the_server_lives(bank: Caller) -> None:
    huge = secrets.token_bytes(5 * 1024 * 1024)

    answers = {kind: bank.send_bytes(METHODS[kind], huge).code.name for kind in HUGE}

    assert answers == dict.fromkeys(HUGE, "RESOURCE_EXHAUSTED")
    assert_all_as_before(bank)


def test_huge_metadata_is_refused_and_the_server_lives(bank: Caller) -> None:
    huge = (("x-padding", "x" * 20 * 1024),)

    answer = bank.send_bytes(
        METHODS[DepositRequest], GOOD[DepositRequest].SerializeToString(), metadata=huge
    )

    assert answer.code.name == "RESOURCE_EXHAUSTED"
    assert_all_as_before(bank)


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
        assert bank.send_bytes(path, data).code.name not in {"INTERNAL", "UNKNOWN"}

    send()
    assert bank.send(GetBalanceRequest(user_id="alice")).code.name == "OK"
