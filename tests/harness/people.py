"""Some people with money, what they ask for, and what they then have."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

from wallet_client.v1.types_pb2 import Hold, Money
from wallet_client.v1.wallet_service_pb2 import (
    CreateHoldRequest,
    DepositRequest,
    GetHoldRequest,
    ListBalancesRequest,
)

from harness.calls import Answer, Caller, user

ALICE_MINOR, BOB_MINOR = 1000, 500


class People(NamedTuple):
    """Callers of one server: two users with money, one with none, and a service."""

    alice: Caller
    bob: Caller
    stranger: Caller
    bank: Caller


@contextmanager
def people_of(target: str) -> Iterator[People]:
    """Call a server as some people, after alice and bob have deposited."""
    with (
        user(target, "alice") as alice,
        user(target, "bob") as bob,
        user(target, "stranger") as stranger,
        user(target, "bank", "wallet:act-for-any", "wallet:admin") as bank,
    ):
        for caller, amount_minor in ((alice, ALICE_MINOR), (bob, BOB_MINOR)):
            caller.send(DepositRequest(amount=rub(amount_minor), request_id="start"))
        yield People(alice, bob, stranger, bank)


def rub(amount_minor: int) -> Money:
    """Name a sum in roubles."""
    return Money(currency_code="RUB", minor_units=amount_minor)


def hold_of(caller: Caller, amount_minor: int, **fields: object) -> Hold:
    """Reserve money, which must succeed."""
    request = CreateHoldRequest(
        **{"amount": rub(amount_minor), "request_id": f"hold-{amount_minor}", **fields}
    )
    hold: Hold = caller.send(request).response.hold
    return hold


def hold_now(people: People, hold: Hold) -> Hold:
    """Read a hold again."""
    again: Hold = people.bank.send(GetHoldRequest(hold_id=hold.hold_id)).response.hold
    return again


def money_of(people: People, *user_ids: str) -> list[tuple[int, int]]:
    """Read what users have posted and held in roubles."""
    found = []
    for user_id in user_ids:
        (balance,) = people.bank.send(ListBalancesRequest(user_id=user_id)).response.balances
        assert (
            balance.available.minor_units == balance.posted.minor_units - balance.held.minor_units
        )
        found.append((balance.posted.minor_units, balance.held.minor_units))
    return found


def at_once(calls: Sequence[Callable[[], Answer]]) -> list[Answer]:
    """Make calls from as many threads."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]
