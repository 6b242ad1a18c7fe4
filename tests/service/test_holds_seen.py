"""Who sees and finds which hold: its two parties and services; to others it does not exist."""

import pytest
from harness.calls import Answer, Caller
from harness.people import People, hold_of, money_of
from wallet_client import Wallet
from wallet_client.v1.types_pb2 import (
    HOLD_STATE_ACTIVE,
    HOLD_STATE_CAPTURED,
    HOLD_STATE_VOIDED,
    Hold,
)
from wallet_client.v1.wallet_service_pb2 import (
    CaptureHoldRequest,
    GetHoldRequest,
    ListHoldsRequest,
    VoidHoldRequest,
)

MISSING_ID = "00000000-0000-8000-8000-000000000000"
NOT_FOUND = ("NOT_FOUND", "HOLD_NOT_FOUND")


def capture(caller: Caller, hold_id: str, request_id: str = "capture", **fields: object) -> Answer:
    return caller.send(CaptureHoldRequest(hold_id=hold_id, request_id=request_id, **fields))


def void(caller: Caller, hold_id: str, request_id: str = "void") -> Answer:
    return caller.send(VoidHoldRequest(hold_id=hold_id, request_id=request_id))


@pytest.mark.parametrize("resolve", [capture, void])
def test_a_strangers_hold_answers_as_a_missing_one(people: People, resolve: object) -> None:
    hold = hold_of(people.alice, 300, to_user_id="bob")

    looks = [
        people.stranger.send(GetHoldRequest(hold_id=each)) for each in (hold.hold_id, MISSING_ID)
    ]
    foreign, missing = (resolve(people.stranger, each, each) for each in (hold.hold_id, MISSING_ID))

    assert looks[0].outcome == looks[1].outcome == foreign.outcome == missing.outcome == NOT_FOUND
    assert looks[0].details == looks[1].details
    assert foreign.message == missing.message
    assert foreign.values.keys() == missing.values.keys()
    assert money_of(people, "alice", "bob") == [(1000, 300), (500, 0)]


def test_a_hold_is_seen_by_its_two_parties_and_services(people: People) -> None:
    hold = hold_of(people.alice, 300, to_user_id="bob")

    seen = [
        caller.send(GetHoldRequest(hold_id=hold.hold_id.upper())).response.hold
        for caller in (people.alice, people.bob, people.bank)
    ]

    assert seen == [hold] * 3


def list_holds(caller: Caller, **fields: object) -> list[Hold]:
    found: list[Hold] = []
    token = ""
    while True:
        answer = caller.send(ListHoldsRequest(page_token=token, **fields))
        found.extend(answer.response.holds)
        token = answer.response.next_page_token
        if not token:
            return found


@pytest.mark.parametrize("page_size", [1, 2, 3, 50])
def test_holds_are_listed_once_newest_first(people: People, page_size: int) -> None:
    made = [hold_of(people.alice, number) for number in (1, 2, 3, 4, 5)]
    hold_of(people.bob, 9)

    assert list_holds(people.alice, page_size=page_size) == made[::-1]


def test_holds_are_listed_by_state(people: People) -> None:
    made = [hold_of(people.alice, number) for number in (1, 2, 3)]
    capture(people.alice, made[0].hold_id)
    void(people.alice, made[1].hold_id)

    by_state = {
        state: [each.amount.minor_units for each in list_holds(people.alice, states=[state])]
        for state in (HOLD_STATE_ACTIVE, HOLD_STATE_CAPTURED, HOLD_STATE_VOIDED)
    }
    page = people.alice.send(ListHoldsRequest(page_size=1)).response

    assert by_state == {HOLD_STATE_ACTIVE: [3], HOLD_STATE_CAPTURED: [1], HOLD_STATE_VOIDED: [2]}
    stolen = ListHoldsRequest(page_token=page.next_page_token, states=[HOLD_STATE_ACTIVE])
    assert people.alice.send(stolen).outcome == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


def test_holds_in_a_state_are_all_found_behind_many_that_are_not(
    people: People, alice: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wallet_service.storage.pages.SCAN_ROWS_MAX", 3)
    made = [hold_of(people.alice, number) for number in range(1, 10)]
    for hold in made[1:]:
        void(people.alice, hold.hold_id, request_id=hold.hold_id)

    first = people.alice.send(ListHoldsRequest(states=[HOLD_STATE_ACTIVE])).response

    assert list(first.holds) == []
    assert first.next_page_token
    assert list(alice.holds(states=[HOLD_STATE_ACTIVE])) == made[:1]
    assert len(list(alice.holds(states=[HOLD_STATE_VOIDED], page_size=2))) == 8
    assert list(alice.holds(states=[HOLD_STATE_CAPTURED])) == []
    assert len(people.alice.send(ListHoldsRequest()).response.holds) == 9
