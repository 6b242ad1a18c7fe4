"""What operators look through: accounts, and the record of who changed one."""

import pytest
from harness.calls import Answer, user
from harness.people import People, rub
from harness.stored import all_rows, run_commands
from wallet_client.v1 import types_pb2
from wallet_client.v1.types_pb2 import Account
from wallet_client.v1.wallet_admin_service_pb2 import (
    AccountChange,
    ListAccountChangesRequest,
    ListAccountsRequest,
    OpenAccountRequest,
    UpdateAccountRequest,
)
from wallet_client.v1.wallet_service_pb2 import ListHoldsRequest

from wallet_service.ledger.commands import AccountKey, UpdateAccount


def update(people: People, user_id: str = "alice", **fields: object) -> Answer:
    """Change an account, under an id made of what is asked."""
    given = {"request_id": str(hash(str(fields))), "user_id": user_id, **fields}
    return people.bank.send(UpdateAccountRequest(**given))


def changes(people: People, **fields: object) -> list[AccountChange]:
    found: list[AccountChange] = []
    token = ""
    while True:
        request = ListAccountChangesRequest(user_id="alice", page_token=token, **fields)
        response = people.bank.send(request).response
        found.extend(response.changes)
        token = response.next_page_token
        if not token:
            return found


@pytest.mark.parametrize("page_size", [1, 2, 50])
def test_every_change_tells_who_when_why_from_what_to_what(
    people: People, target: str, page_size: int
) -> None:
    limit = {"window": "WINDOW_ROLLING_DAY", "max_amount": rub(300)}
    made = [update(people, min_balance=rub(-70), description="agreed on the phone")]
    with user(target, "olga", "wallet:admin") as olga:
        request = UpdateAccountRequest(
            user_id="alice", limits={"limits": [limit]}, request_id="olga's"
        )
        made.append(olga.send(request))
    update(people, min_balance=rub(5000))

    newest, oldest = changes(people, page_size=page_size)

    assert [newest.caller, oldest.caller] == ["olga", "bank"]
    assert [each.description for each in (newest, oldest)] == ["", "agreed on the phone"]
    recorded = [each.response.transaction for each in reversed(made)]
    assert [newest.transaction_id, oldest.transaction_id] == [
        each.transaction_id for each in recorded
    ]
    assert [newest.create_time, oldest.create_time] == [each.create_time for each in recorded]
    assert (oldest.before.min_balance.minor_units, oldest.after.min_balance.minor_units) == (0, -70)
    assert newest.before == oldest.after
    assert list(newest.before.limits) == []
    assert newest.after.limits[0].max_amount.decimal == "3.00"
    assert newest.after.state == types_pb2.ACCOUNT_STATE_ACTIVE


def test_an_opening_is_the_first_change(people: People) -> None:
    people.bank.send(OpenAccountRequest(user_id="alice", currency_code="USD", request_id="o"))

    (opening,) = changes(people, currency_code="USD")

    assert (opening.caller, opening.HasField("before")) == ("bank", False)
    assert opening.after.state == types_pb2.ACCOUNT_STATE_ACTIVE


def test_an_opening_of_an_open_account_is_listed_as_no_change(people: People) -> None:
    update(people, min_balance=rub(-70))
    people.bank.send(OpenAccountRequest(user_id="alice", request_id="o"))

    again, change = changes(people)

    assert again.before == again.after == change.after


@pytest.mark.parametrize("page_size", [2, 50])
def test_changes_made_at_once_are_listed_in_their_order(
    people: People, database_url: str, page_size: int
) -> None:
    made = [
        UpdateAccount(
            caller="bank",
            request_id=f"u{number}",
            target=AccountKey("alice", "RUB"),
            min_balance_minor=-number,
        )
        for number in range(1, 9)
    ]
    run_commands(database_url, made)  # one batch, so one time

    listed = changes(people, page_size=page_size)

    floors = [
        (one.before.min_balance.minor_units, one.after.min_balance.minor_units) for one in listed
    ]
    assert floors == [(1 - number, -number) for number in range(8, 0, -1)]


def keys_of(accounts: list[Account]) -> list[tuple[str, str]]:
    return [(each.balance.user_id, each.balance.posted.currency_code) for each in accounts]


def accounts(people: People, **fields: object) -> list[Account]:
    found: list[Account] = []
    token = ""
    while True:
        response = people.bank.send(ListAccountsRequest(page_token=token, **fields)).response
        found.extend(response.accounts)
        token = response.next_page_token
        if not token:
            return found


@pytest.mark.parametrize("page_size", [1, 2, 3, 4, 50])
def test_accounts_are_listed_once_by_user_and_currency(people: People, page_size: int) -> None:
    for user_id, code in (("alice", "USD"), ("Zoe", "RUB"), ("alice-2", "RUB"), ("bob", "EUR")):
        people.bank.send(
            OpenAccountRequest(user_id=user_id, currency_code=code, request_id=user_id)
        )
    update(people, "bob", state="ACCOUNT_STATE_FROZEN")

    everybody = [
        ("Zoe", "RUB"),
        ("alice", "RUB"),
        ("alice", "USD"),
        ("alice-2", "RUB"),
        ("bob", "EUR"),
        ("bob", "RUB"),
    ]
    by_filter = [
        ({}, everybody),
        ({"user_id": "alice"}, [("alice", "RUB"), ("alice", "USD")]),
        ({"currency_code": "RUB"}, [each for each in everybody if each[1] == "RUB"]),
        ({"states": ["ACCOUNT_STATE_FROZEN"]}, [("bob", "RUB")]),
        (
            {"states": ["ACCOUNT_STATE_FROZEN", "ACCOUNT_STATE_ACTIVE"], "user_id": "bob"},
            [("bob", "EUR"), ("bob", "RUB")],
        ),
        ({"states": ["ACCOUNT_STATE_CLOSED"]}, []),
    ]
    for fields, expected in by_filter:
        assert keys_of(accounts(people, page_size=page_size, **fields)) == expected, fields


@pytest.mark.parametrize("wanted", [{"currency_code": "USD"}, {"states": ["ACCOUNT_STATE_FROZEN"]}])
def test_accounts_that_fit_a_filter_are_all_found_behind_many_that_do_not(
    people: People, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, object]
) -> None:
    for number in range(6):
        people.bank.send(OpenAccountRequest(user_id=f"user-{number}", request_id=str(number)))
    people.bank.send(OpenAccountRequest(user_id="zoe", currency_code="USD", request_id="zoe's"))
    update(people, "zoe", currency_code="USD", state="ACCOUNT_STATE_FROZEN")
    monkeypatch.setattr("wallet_service.storage.pages.SCAN_ROWS_MAX", 3)

    first = people.bank.send(ListAccountsRequest(**wanted)).response

    assert list(first.accounts) == []
    assert first.next_page_token
    assert keys_of(accounts(people, **wanted)) == [("zoe", "USD")]
    assert len(accounts(people, page_size=2)) == 9


def test_a_page_token_of_one_list_leads_nowhere_in_another(people: People) -> None:
    for minor_units in (1, 2):
        update(people, min_balance=rub(minor_units))
    page = people.bank.send(ListAccountChangesRequest(user_id="alice", page_size=1)).response
    assert page.next_page_token

    answer = people.bank.send(ListHoldsRequest(user_id="alice", page_token=page.next_page_token))

    assert answer.outcome == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


@pytest.mark.parametrize("other", [{"user_id": "bob"}, {"currency_code": "RUB"}, {"states": [1]}])
def test_a_page_token_of_accounts_belongs_to_its_filter(
    people: People, other: dict[str, object]
) -> None:
    page = people.bank.send(ListAccountsRequest(page_size=1)).response

    answer = people.bank.send(ListAccountsRequest(page_token=page.next_page_token, **other))

    assert answer.outcome == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


def test_only_operators_change_accounts_and_read_the_changes(
    people: People, target: str, database_url: str
) -> None:
    before = all_rows(database_url)
    requests = [
        UpdateAccountRequest(user_id="alice", min_balance=rub(-9), request_id="u"),
        ListAccountsRequest(),
        ListAccountChangesRequest(user_id="alice"),
    ]
    with user(target, "shop", "wallet:act-for-any") as shop:
        answers = [caller.send(each) for each in requests for caller in (people.alice, shop)]

    assert {each.outcome for each in answers} == {("PERMISSION_DENIED", "SCOPE_MISSING")}
    assert {each.values["scope"] for each in answers} == {"wallet:admin"}
    assert all_rows(database_url) == before
