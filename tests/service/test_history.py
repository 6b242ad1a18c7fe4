"""Histories by filter and by moment, against a plain filter of the whole history."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from harness.calls import Answer, Caller, user
from harness.people import rub
from harness.stored import deposit_many, run_commands
from wallet_client.v1.types_pb2 import Transaction
from wallet_client.v1.wallet_service_pb2 import GetBalanceRequest, ListTransactionsRequest

from wallet_service.ledger.commands import (
    AccountKey,
    CaptureHold,
    Command,
    CreateHold,
    Deposit,
    ReverseTransaction,
    Transfer,
    Withdraw,
)
from wallet_service.ledger.ids import transaction_id
from wallet_service.storage.history import SCAN_ROWS_MAX

ALICE, BOB, CAROL = (AccountKey(user_id, "RUB") for user_id in ("alice", "bob", "carol"))
NEWEST = ListTransactionsRequest.ORDER_NEWEST_FIRST
OLDEST = ListTransactionsRequest.ORDER_OLDEST_FIRST
INVALID_TOKEN = ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")

LABELS: list[dict[str, str]] = [
    {},
    {"a": "b"},
    {"a": "b", "c": "d"},
    {"a": ""},
    {"a.b": "c"},
    {'a"b': "c"},
    {"a'b": 'c"d'},
    {"a\\b": "c\\d"},
    {"$.a": "$"},
    {"a[0]": "[0]"},
    {"ключ": "значение"},
    {"🔑": "😀"},
    {"%": "_"},
    {"a b\n": "c\td"},
    {"a": '{"a": "b"}'},
    {"null": "null"},
]


def life() -> list[Command]:
    """Move alice's money in every way, with all labels, amounts of 1 to 40 kopecks."""
    common = {"caller": "bank", "is_service": True}
    commands: list[Command] = [
        Deposit(request_id=f"start-{key.user_id}", target=key, amount_minor=10_000, **common)
        for key in (ALICE, BOB, CAROL)
    ]
    for number in range(40):
        words = {**common, "metadata": LABELS[number % len(LABELS)], "request_id": f"r{number}"}
        other = (BOB, CAROL)[number // 7 % 2]
        amount = {"amount_minor": number * 17 % 40 + 1}
        hold_id = transaction_id("bank", f"hold-{number}")
        held = CreateHold(
            request_id=f"hold-{number}", source=ALICE, target=other, amount_minor=50, **common
        )
        choices: list[list[Command]] = [
            [Deposit(target=ALICE, **amount, **words)],
            [Withdraw(source=ALICE, **amount, **words)],
            [Transfer(source=ALICE, target=other, **amount, **words)],
            [Transfer(source=other, target=ALICE, **amount, **words)],
            [held, CaptureHold(hold_id=hold_id, **amount, **words)],
            [
                ReverseTransaction(
                    original_id=transaction_id("bank", "start-alice"), **amount, **words
                )
            ],
        ]
        commands += choices[number % len(choices)]
    return commands


@dataclass(frozen=True)
class History:
    """A reader of alice's history, and all of it, oldest first."""

    caller: Caller
    lines: list[Transaction]


@pytest.fixture
def alice_raw(target: str) -> Iterator[Caller]:
    with user(target, "alice") as caller:
        yield caller


@pytest.fixture
def history(database_url: str, alice_raw: Caller) -> History:
    """Alice's history of 41 lines, each made at a time of its own."""
    run_commands(database_url, life(), batch_size=1)
    lines = walk(alice_raw, order=OLDEST, page_size=1000)
    assert len(lines) == 41
    assert len({line.create_time.ToNanoseconds() for line in lines}) == 41
    return History(alice_raw, lines)


def ask(caller: Caller, **fields: object) -> Answer:
    return caller.send(ListTransactionsRequest(**fields))


def walk(caller: Caller, **fields: object) -> list[Transaction]:
    """Read all pages of a listing; each has no more than was asked for."""
    found: list[Transaction] = []
    token = ""
    while True:
        response = ask(caller, page_token=token, **fields).response
        assert len(response.transactions) <= fields.get("page_size", 50)
        found.extend(response.transactions)
        token = response.next_page_token
        if not token:
            return found


def is_asked_for(line: Transaction, asked: dict[str, object]) -> bool:
    """Tell whether a filter lets a line of alice's pass, as plainly as can be."""
    is_debit = line.source_user_id == "alice"
    counterparty = line.target_user_id if is_debit else line.source_user_id
    time, amount = line.create_time.ToNanoseconds(), line.amount.minor_units
    tests = {
        "kinds": lambda kinds: line.kind in kinds,
        "start_time": lambda start: time >= start.ToNanoseconds(),
        "end_time": lambda end: time < end.ToNanoseconds(),
        "counterparty_user_id": lambda user_id: counterparty == user_id,
        "amount_at_least": lambda least: amount >= least.minor_units,
        "amount_at_most": lambda most: amount <= most.minor_units,
        "metadata": lambda labels: labels.items() <= dict(line.metadata).items(),
    }
    return all(tests[name](value) for name, value in asked.items())


def assert_lists(history: History, page_size: int, **asked: object) -> int:
    """Compare a filtered walk in both orders with a plain filter; return how many lines it has."""
    expected = [line for line in history.lines if is_asked_for(line, asked)]
    oldest_first = walk(history.caller, order=OLDEST, page_size=page_size, **asked)
    newest_first = walk(history.caller, order=NEWEST, page_size=page_size, **asked)
    assert oldest_first == expected, asked
    assert newest_first == expected[::-1], asked
    return len(expected)


@pytest.mark.parametrize("page_size", [3, 1000])
def test_labels_are_compared_exactly_whatever_they_are_made_of(
    history: History, page_size: int
) -> None:
    counts = [assert_lists(history, page_size, metadata=labels) for labels in LABELS]

    assert min(counts) > 0
    for stranger in ({"a": "B"}, {"b": "c"}, {"a.b": ""}, {"a": "b", "c": "e"}, {"%": "x"}):
        assert assert_lists(history, page_size, metadata=stranger) == 0


def test_kinds_are_told_apart(history: History) -> None:
    kinds = Transaction.Kind.values()[1:]
    found = [
        Transaction.Kind.Name(each) for each in kinds if assert_lists(history, 4, kinds=[each])
    ]

    moving = ("DEPOSIT", "WITHDRAWAL", "TRANSFER", "CAPTURE", "REVERSAL")
    assert found == [f"KIND_{name}" for name in moving]
    assert assert_lists(history, 4, kinds=kinds) == len(history.lines)
    assert assert_lists(history, 1000, kinds=[*kinds, kinds[0]]) == len(history.lines)


def test_times_include_their_start_and_exclude_their_end(history: History) -> None:
    times = [history.lines[number].create_time for number in (0, 1, 20, 39, 40)]
    for start, end in product(times, times):
        assert_lists(history, 7, start_time=start, end_time=end)
        assert_lists(history, 7, start_time=start)
    assert assert_lists(history, 7, start_time=times[2], end_time=times[3]) == 19
    # What was recorded has no nanoseconds; what is asked for may.
    after = Timestamp(seconds=times[2].seconds, nanos=times[2].nanos + 1)
    assert assert_lists(history, 7, start_time=after, end_time=times[3]) == 18
    assert assert_lists(history, 7, start_time=times[2], end_time=after) == 1
    assert assert_lists(history, 7, end_time=times[0]) == 0


def test_amounts_include_both_bounds_whatever_their_sign(history: History) -> None:
    for least, most in ((0, 0), (1, 1), (5, 20), (20, 5), (40, 10_000), (10_001, 10**15)):
        assert_lists(history, 6, amount_at_least=rub(least), amount_at_most=rub(most))
    assert assert_lists(history, 6, amount_at_least=rub(10_000)) == 1
    assert assert_lists(history, 6, amount_at_most=rub(40)) == 40


def test_counterparties_are_found_on_either_side(history: History) -> None:
    users = ("bob", "carol", "alice", "nobody", "external")
    counts = [assert_lists(history, 5, counterparty_user_id=each) for each in users]

    assert [count > 0 for count in counts] == [True, True, False, False, False]


def test_filters_together_let_pass_what_each_lets_pass(history: History) -> None:
    middle = history.lines[20].create_time
    choices: dict[str, list[object]] = {
        "kinds": [None, [Transaction.KIND_TRANSFER, Transaction.KIND_CAPTURE]],
        "start_time": [None, history.lines[5].create_time, middle],
        "end_time": [None, middle, history.lines[35].create_time],
        "counterparty_user_id": [None, "bob"],
        "amount_at_least": [None, rub(10)],
        "amount_at_most": [None, rub(30)],
        "metadata": [None, {"a": "b"}],
    }
    counts = []
    for values in product(*choices.values()):
        asked = {name: value for name, value in zip(choices, values, strict=True) if value}
        counts.append(assert_lists(history, 5, **asked))

    assert len(counts) == 288
    assert len(set(counts)) > 10


@pytest.mark.parametrize(
    "other",
    [
        {"kinds": [1]},
        {"start_time": Timestamp(seconds=1)},
        {"end_time": Timestamp(seconds=4_000_000_000)},
        {"counterparty_user_id": "bob"},
        {"amount_at_least": rub(1)},
        {"amount_at_most": rub(10**15)},
        {"metadata": {"a": "b"}},
    ],
    ids=lambda each: next(iter(each)),
)
def test_a_page_token_belongs_to_its_filter(
    database_url: str, alice_raw: Caller, other: dict[str, object]
) -> None:
    deposit_many(database_url, "alice", 3)
    plain = ask(alice_raw, page_size=1).response.next_page_token

    answer = ask(alice_raw, page_token=plain, **other)

    assert answer.outcome == INVALID_TOKEN
    assert answer.fields == ["page_token"]


@pytest.mark.parametrize("order", [OLDEST, NEWEST])
def test_a_scan_that_is_cut_short_goes_on_to_the_end(
    database_url: str, alice_raw: Caller, order: int
) -> None:
    count = 2 * SCAN_ROWS_MAX + 1
    deposit_many(database_url, "alice", count)
    edges = (1, SCAN_ROWS_MAX, SCAN_ROWS_MAX + 1, 2 * SCAN_ROWS_MAX, count)

    for sequence in edges:
        exactly = {"amount_at_least": rub(sequence), "amount_at_most": rub(sequence)}
        found = walk(alice_raw, order=order, **exactly)
        assert [line.entry.sequence for line in found] == [sequence]
    first = ask(alice_raw, order=order, metadata={"no": "such"}).response
    assert list(first.transactions) == []
    assert first.next_page_token
    assert walk(alice_raw, order=order, metadata={"no": "such"}) == []


def balance_at(caller: Caller, **moment: object) -> tuple[int, int]:
    balance = caller.send(GetBalanceRequest(**moment)).response.balance
    assert balance.user_id == "alice"
    return balance.posted.minor_units, balance.sequence


def test_a_balance_is_told_for_every_sequence(history: History) -> None:
    balance = 0
    assert balance_at(history.caller, as_of_sequence=0) == (0, 0)
    for line in history.lines:
        balance += line.entry.amount.minor_units
        sequence = line.entry.sequence
        assert balance_at(history.caller, as_of_sequence=sequence) == (balance, sequence)


def test_a_balance_is_told_for_every_time(history: History) -> None:
    before = (0, 0)
    for line in history.lines:
        after = (before[0] + line.entry.amount.minor_units, line.entry.sequence)
        for offset_ns, expected in ((-1000, before), (-1, before), (0, after), (999, after)):
            moment = Timestamp()
            moment.FromNanoseconds(line.create_time.ToNanoseconds() + offset_ns)
            assert balance_at(history.caller, as_of_time=moment) == expected
        before = after


def seconds_from_now(seconds: int) -> Timestamp:
    moment = Timestamp()
    moment.FromMicroseconds(time.time_ns() // 1000 + seconds * 1_000_000)
    return moment


def test_a_balance_of_the_far_past_or_of_now_is_the_first_or_last(
    database_url: str, alice_raw: Caller
) -> None:
    deposit_many(database_url, "alice", 3)

    assert balance_at(alice_raw, as_of_time=Timestamp(seconds=0)) == (0, 0)
    assert balance_at(alice_raw, as_of_time=seconds_from_now(0)) == (6, 3)


def test_a_moment_may_be_ahead_as_far_as_clocks_are(database_url: str, alice_raw: Caller) -> None:
    deposit_many(database_url, "alice", 3)
    moment = seconds_from_now(5)

    balance = alice_raw.send(GetBalanceRequest(as_of_time=moment)).response.balance

    assert (balance.posted.minor_units, balance.as_of) == (6, moment)


@pytest.mark.parametrize(
    "moment",
    [seconds_from_now(24 * 3600), Timestamp(seconds=253_402_300_799)],
    ids=["tomorrow", "9999"],
)
def test_a_balance_of_the_future_is_not_told(
    database_url: str, alice_raw: Caller, moment: Timestamp
) -> None:
    deposit_many(database_url, "alice", 3)

    answer = alice_raw.send(GetBalanceRequest(as_of_time=moment))

    assert answer.outcome == ("INVALID_ARGUMENT", "VALIDATION_FAILED")
    assert answer.fields == ["as_of_time"]


def test_a_never_opened_account_was_always_at_zero(alice_raw: Caller) -> None:
    assert balance_at(alice_raw, as_of_time=seconds_from_now(0)) == (0, 0)
    assert balance_at(alice_raw, as_of_sequence=0) == (0, 0)
