"""Histories in pages: everything once, in order, also while new entries arrive."""

import threading
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Self

import pytest
from harness.calls import Answer, Caller, user, wait_until
from harness.stored import deposit_many
from wallet_client import Wallet
from wallet_client.v1.types_pb2 import Money, Transaction
from wallet_client.v1.wallet_service_pb2 import DepositRequest, ListTransactionsRequest

from wallet_service.transport.listing import listing_of
from wallet_service.transport.page_token import make_page_token

NEWEST = ListTransactionsRequest.ORDER_NEWEST_FIRST
OLDEST = ListTransactionsRequest.ORDER_OLDEST_FIRST
UNSPECIFIED = ListTransactionsRequest.ORDER_UNSPECIFIED


@pytest.fixture
def alice_raw(target: str) -> Iterator[Caller]:
    with user(target, "alice") as caller:
        yield caller


def pages(caller: Caller, *page_sizes: int, **listing: object) -> Iterator[list[Transaction]]:
    """Walk a listing; the last page size serves for the rest."""
    sizes = list(page_sizes)
    page_token = ""
    while True:
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        answer = list_page(caller, page_size=size, page_token=page_token, **listing)
        yield list(answer.response.transactions)
        page_token = answer.response.next_page_token
        if not page_token:
            return


def list_page(caller: Caller, **fields: object) -> Answer:
    return caller.send(ListTransactionsRequest(**fields))


def sequences(walk: Iterable[list[Transaction]]) -> list[int]:
    return [transaction.entry.sequence for page in walk for transaction in page]


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 8, 1000])
def test_each_transaction_is_listed_once_in_both_orders(
    database_url: str, alice_raw: Caller, page_size: int
) -> None:
    deposit_many(database_url, "alice", 7)

    assert sequences(pages(alice_raw, page_size, order=OLDEST)) == [1, 2, 3, 4, 5, 6, 7]
    assert sequences(pages(alice_raw, page_size, order=NEWEST)) == [7, 6, 5, 4, 3, 2, 1]
    assert sequences(pages(alice_raw, page_size, order=UNSPECIFIED)) == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("count", [3, 6])
def test_the_last_page_has_no_token_and_no_page_is_empty(
    database_url: str, alice_raw: Caller, count: int
) -> None:
    deposit_many(database_url, "alice", count)

    lengths = [len(page) for page in pages(alice_raw, 3)]

    assert lengths == [3] * (count // 3)


def test_page_sizes_have_a_default_and_a_cap(database_url: str, alice_raw: Caller) -> None:
    deposit_many(database_url, "alice", 1003)

    assert [len(page) for page in pages(alice_raw, 0, 5000)] == [50, 953]
    assert [len(page) for page in pages(alice_raw, 5000)] == [1000, 3]


def test_the_page_size_may_change_between_pages(database_url: str, alice_raw: Caller) -> None:
    deposit_many(database_url, "alice", 10)

    assert sequences(pages(alice_raw, 1, 2, 4, 1000, order=OLDEST)) == list(range(1, 11))


def test_an_empty_account_has_one_empty_page(alice: Wallet, alice_raw: Caller) -> None:
    unopened = list(pages(alice_raw, 10))
    alice.deposit(1, currency_code="USD")

    assert unopened == [[]]
    assert list(pages(alice_raw, 10, currency_code="RUB")) == [[]]


def test_entries_carry_a_gapless_sequence_a_running_balance_and_a_hash(
    database_url: str, alice_raw: Caller
) -> None:
    deposit_many(database_url, "alice", 30)

    (page,) = pages(alice_raw, 50, order=OLDEST)

    entries = [transaction.entry for transaction in page]
    assert [each.sequence for each in entries] == list(range(1, 31))
    balance = 0
    for each in entries:
        balance += each.amount.minor_units
        assert each.balance_after.minor_units == balance
        assert len(each.hash) == 32
    assert balance == 30 * 31 // 2
    assert len({each.hash for each in entries}) == 30
    times = [transaction.create_time.ToNanoseconds() for transaction in page]
    assert times == sorted(times)


def test_a_listed_transaction_is_the_one_that_was_answered(alice: Wallet) -> None:
    answered = alice.deposit(5, description="gift", metadata={"from": "granny"}).transaction

    assert list(alice.transactions()) == [answered]


class Depositor:
    """Deposits in a thread of its own, a bounded number of times, until told to stop."""

    def __init__(self, caller: Caller, times_max: int) -> None:
        self._caller = caller
        self._times_max = times_max
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.done = 0

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self.done > 0)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while self.done < self._times_max and not self._stopping.is_set():
            request = DepositRequest(amount=Money(minor_units=1), request_id=f"more-{self.done}")
            assert self._caller.send(request).code.name == "OK"
            self.done += 1


def test_a_walk_from_the_oldest_misses_nothing_while_deposits_arrive(
    database_url: str, alice_raw: Caller
) -> None:
    deposit_many(database_url, "alice", 40)

    with Depositor(alice_raw, times_max=200) as depositor:
        before = depositor.done
        walk = pages(alice_raw, 2, order=OLDEST)
        first_page = next(walk)
        wait_until(lambda: depositor.done > before)
        seen = sequences(chain([first_page], walk))

    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) >= 40 + before


def test_a_walk_from_the_newest_repeats_nothing_while_deposits_arrive(
    database_url: str, alice_raw: Caller
) -> None:
    deposit_many(database_url, "alice", 60)

    with Depositor(alice_raw, times_max=200) as depositor:
        before = depositor.done
        walk = pages(alice_raw, 2, order=NEWEST)
        first_page = next(walk)
        wait_until(lambda: depositor.done > before)
        seen = sequences(chain([first_page], walk))

    assert seen == list(range(seen[0], 0, -1))
    assert seen[0] >= 60 + before


@pytest.mark.parametrize(
    "other", [{"user_id": "bob"}, {"currency_code": "USD"}, {"order": OLDEST}], ids=str
)
def test_a_page_token_belongs_to_its_listing(
    target: str, database_url: str, other: dict[str, object]
) -> None:
    deposit_many(database_url, "alice", 3)
    deposit_many(database_url, "bob", 3)
    listing = {"user_id": "alice", "currency_code": "RUB", "order": NEWEST, "page_size": 1}
    with user(target, "bank", "wallet:act-for-any") as bank:
        listing["page_token"] = list_page(bank, **listing).response.next_page_token

        answer = list_page(bank, **{**listing, **other})

        assert answer.outcome == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")
        assert answer.fields == ["page_token"]
        assert list_page(bank, **listing).code.name == "OK"


@pytest.mark.parametrize("spelled", [{"user_id": "alice"}, {"currency_code": "RUB"}], ids=str)
def test_a_page_token_is_of_the_same_account_however_it_is_named(
    database_url: str, alice_raw: Caller, spelled: dict[str, object]
) -> None:
    deposit_many(database_url, "alice", 2)
    first = list_page(alice_raw, page_size=1)

    answer = list_page(alice_raw, page_token=first.response.next_page_token, **spelled)

    assert [each.entry.sequence for each in answer.response.transactions] == [1]


@pytest.mark.parametrize("sequence", [-1, 2**63, 2**64 - 1, 1.5, "1", True, None])
def test_a_made_up_page_token_beyond_any_account_is_refused(
    alice_raw: Caller, sequence: object
) -> None:
    shared = ListTransactionsRequest(order=OLDEST)
    forged = make_page_token((sequence,), listing_of(shared, "alice", "RUB"))

    answer = list_page(alice_raw, order=OLDEST, page_token=forged)

    assert answer.outcome == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


def test_currencies_are_separate_accounts(alice: Wallet, bob: Wallet) -> None:
    alice.deposit(500)
    alice.deposit(7, currency_code="USD")
    bob.deposit(1, currency_code="USD")
    alice.transfer("bob", 3, currency_code="USD")

    roubles = [line.entry.amount.minor_units for line in alice.transactions()]
    dollars = [line.entry.amount.minor_units for line in alice.transactions(currency_code="USD")]

    assert roubles == [500]
    assert dollars == [-3, 7]
    assert alice.balance().posted.minor_units == 500
    assert alice.balance(currency_code="USD").posted.decimal == "0.04"


def test_balances_are_listed_by_currency(alice: Wallet) -> None:
    nothing = alice.balances()
    for currency_code in ("USD", "RUB", "AED", "JPY"):
        alice.deposit(1, currency_code=currency_code)

    assert nothing == []
    assert [each.posted.currency_code for each in alice.balances()] == ["AED", "JPY", "RUB", "USD"]


def test_a_refused_request_is_not_in_the_history(alice: Wallet, alice_raw: Caller) -> None:
    alice.deposit(1)
    refused = alice_raw.send(DepositRequest(amount=Money(minor_units=0), request_id="invalid"))

    assert refused.code.name == "INVALID_ARGUMENT"
    assert len(list(alice.transactions())) == 1
