"""What must hold for a debit, amounts that are a maximum, and requests that only ask."""

import pytest
from google.protobuf.message import Message
from harness.people import People, hold_of, money_of, rub
from harness.stored import all_rows
from wallet_client.v1.types_pb2 import AMOUNT_MODE_UP_TO, Condition, Money
from wallet_client.v1.wallet_admin_service_pb2 import OpenAccountRequest, UpdateAccountRequest
from wallet_client.v1.wallet_service_pb2 import (
    CaptureHoldRequest,
    CreateHoldRequest,
    DepositRequest,
    ReverseTransactionRequest,
    TransferRequest,
    VoidHoldRequest,
    WithdrawRequest,
)

from wallet_service.ledger.ids import transaction_id

FAILED = ("FAILED_PRECONDITION", "CONDITION_FAILED")
SHORT = ("FAILED_PRECONDITION", "INSUFFICIENT_FUNDS")


def debits(**fields: object) -> list[Message]:
    """Ask in every way for 400 kopecks of alice's, of which 100 are held by "hold"."""
    common = {"request_id": "r", **fields}
    return [
        WithdrawRequest(user_id="alice", amount=rub(400), **common),
        TransferRequest(user_id="alice", to_user_id="bob", amount=rub(400), **common),
        CreateHoldRequest(user_id="alice", amount=rub(400), **common),
        ReverseTransactionRequest(
            transaction_id=transaction_id("alice", "start"), amount=rub(400), **common
        ),
    ]


KINDS = [type(request).__name__ for request in debits()]


@pytest.mark.parametrize("number", range(len(KINDS)), ids=KINDS)
@pytest.mark.parametrize(
    ("condition", "failed"),
    [
        (Condition(available_at_least=rub(900)), None),
        (Condition(available_at_least=rub(901)), ("available_at_least", "900", "901")),
        (
            Condition(available_at_least=Money(minor_units=901)),
            ("available_at_least", "900", "901"),
        ),
        (Condition(balance_after_at_least=rub(500)), None),
        (Condition(balance_after_at_least=rub(501)), ("balance_after_at_least", "500", "501")),
        (Condition(expected_sequence=1), None),
        (Condition(expected_sequence=0), ("expected_sequence", "1", "0")),
        (Condition(expected_sequence=2), ("expected_sequence", "1", "2")),
        (
            Condition(available_at_least=rub(900), expected_sequence=7),
            ("expected_sequence", "1", "7"),
        ),
        (Condition(), None),
    ],
    ids=lambda each: str(each).replace("\n", " ") if isinstance(each, Condition) else "",
)
def test_a_debit_is_carried_out_only_where_its_condition_holds(
    people: People, number: int, condition: Condition, failed: tuple[str, str, str] | None
) -> None:
    hold_of(people.alice, 100)

    answer = people.bank.send(debits(condition=condition)[number])

    if failed is None:
        assert answer.code.name == "OK"
        assert money_of(people, "alice") != [(1000, 100)]
        return
    assert answer.outcome == FAILED
    told = {name: answer.values[name] for name in ("condition", "actual", "required")}
    assert tuple(told.values()) == failed
    assert money_of(people, "alice", "bob") == [(1000, 100), (500, 0)]


@pytest.mark.parametrize(
    "condition",
    [Condition(available_at_least=rub(0)), Condition(balance_after_at_least=rub(0))],
    ids=str,
)
def test_a_condition_of_zero_keeps_from_an_agreed_overdraft(
    people: People, condition: Condition
) -> None:
    overdraft = UpdateAccountRequest(user_id="alice", min_balance=rub(-100), request_id="o")
    assert people.bank.send(overdraft).code.name == "OK"
    spent = people.alice.send(WithdrawRequest(amount=rub(1001), request_id="s"))
    assert spent.code.name == "OK"

    answer = people.alice.send(WithdrawRequest(amount=rub(1), condition=condition, request_id="w"))

    assert answer.outcome == FAILED
    assert money_of(people, "alice") == [(-1, 0)]


@pytest.mark.parametrize(
    ("condition", "is_met"),
    [
        (Condition(available_at_least=rub(900)), True),
        (Condition(available_at_least=rub(901)), False),
        (Condition(balance_after_at_least=rub(960)), True),
        (Condition(balance_after_at_least=rub(961)), False),
    ],
)
def test_a_capture_releases_the_rest_before_its_condition_is_looked_at(
    people: People,
    condition: Condition,
    is_met: bool,  # noqa: FBT001 (the case)
) -> None:
    hold = hold_of(people.alice, 100)

    answer = people.alice.send(
        CaptureHoldRequest(
            hold_id=hold.hold_id, amount=rub(40), condition=condition, request_id="c"
        )
    )

    assert answer.outcome == (("OK", "") if is_met else FAILED)
    assert money_of(people, "alice") == [(960, 0) if is_met else (1000, 100)]


def test_of_debits_that_expect_one_sequence_one_is_carried_out(people: People) -> None:
    condition = Condition(expected_sequence=1)

    answers = [
        people.alice.send(
            WithdrawRequest(amount=rub(10), condition=condition, request_id=f"w{number}")
        )
        for number in range(3)
    ]

    assert [each.outcome for each in answers] == [("OK", ""), FAILED, FAILED]
    assert money_of(people, "alice") == [(990, 0)]


@pytest.mark.parametrize("held", [0, 300])
@pytest.mark.parametrize("asked", [1, 699, 700, 701, 1000, 10**15])
def test_up_to_takes_what_is_there_and_no_more(people: People, asked: int, held: int) -> None:
    if held:
        hold_of(people.alice, held)
    taken = min(asked, 1000 - held)

    request = TransferRequest(
        to_user_id="bob", amount=rub(asked), amount_mode=AMOUNT_MODE_UP_TO, request_id="t"
    )
    answer, again = people.alice.send(request), people.alice.send(request)

    assert answer.response.transaction.amount.minor_units == taken
    assert again.response.replayed
    assert again.response.transaction == answer.response.transaction
    assert money_of(people, "alice", "bob") == [(1000 - taken, held), (500 + taken, 0)]


def test_up_to_is_refused_where_nothing_is_there(people: People) -> None:
    hold_of(people.alice, 1000)

    answer = people.alice.send(
        WithdrawRequest(amount=rub(5), amount_mode=AMOUNT_MODE_UP_TO, request_id="w")
    )

    assert answer.outcome == SHORT
    assert answer.values["available"] == "0"
    assert money_of(people, "alice") == [(1000, 1000)]


def test_up_to_sweeps_to_the_agreed_overdraft(people: People) -> None:
    people.bank.send(UpdateAccountRequest(user_id="alice", min_balance=rub(-200), request_id="u"))

    answer = people.alice.send(
        WithdrawRequest(amount=rub(5000), amount_mode=AMOUNT_MODE_UP_TO, request_id="w")
    )

    assert answer.response.transaction.amount.minor_units == 1200
    assert money_of(people, "alice") == [(-200, 0)]


def every_write(*, validate_only: bool) -> list[Message]:
    """Ask for everything that can be tried without doing it."""
    hold_id = transaction_id("bank", "hold")
    common = {"request_id": "r", "validate_only": validate_only}
    return [
        *debits(validate_only=validate_only),
        DepositRequest(user_id="alice", amount=rub(1), **common),
        DepositRequest(user_id="newcomer", amount=rub(1), **common),
        CaptureHoldRequest(hold_id=hold_id, **common),
        VoidHoldRequest(hold_id=hold_id, **common),
        OpenAccountRequest(user_id="newcomer", **common),
        UpdateAccountRequest(user_id="alice", state="ACCOUNT_STATE_FROZEN", **common),
    ]


WRITES = [type(request).__name__ for request in every_write(validate_only=True)]


@pytest.mark.parametrize("number", range(len(WRITES)), ids=WRITES)
def test_a_tried_request_answers_as_if_it_were_done_and_writes_nothing(
    people: People, database_url: str, number: int
) -> None:
    hold_of(people.bank, 100, user_id="alice", request_id="hold")
    before = all_rows(database_url)

    tried = people.bank.send(every_write(validate_only=True)[number])
    meanwhile = all_rows(database_url)
    done = people.bank.send(every_write(validate_only=False)[number])

    assert meanwhile == before
    assert (tried.code.name, tried.response.replayed) == ("OK", False)
    assert (done.code.name, done.response.replayed) == ("OK", False)
    for answer in (tried, done):
        answer.response.transaction.ClearField("create_time")
        answer.response.transaction.entry.ClearField("hash")
    assert tried.response.transaction == done.response.transaction
    assert all_rows(database_url) != before


def test_a_tried_request_is_refused_as_if_it_were_done_and_binds_nothing(
    people: People, database_url: str
) -> None:
    before = all_rows(database_url)
    too_much = {"to_user_id": "bob", "amount": rub(1001), "request_id": "t"}

    tried = people.alice.send(TransferRequest(validate_only=True, **too_much))

    assert tried.outcome == SHORT
    assert all_rows(database_url) == before
    people.alice.send(DepositRequest(amount=rub(1), request_id="d"))
    assert people.alice.send(TransferRequest(**too_much)).code.name == "OK"
    assert money_of(people, "alice", "bob") == [(0, 0), (1501, 0)]


def test_a_tried_request_under_a_used_id_answers_what_was_done(people: People) -> None:
    request = WithdrawRequest(amount=rub(5), request_id="w")
    done = people.alice.send(request)
    request.validate_only = True

    tried = people.alice.send(request)

    assert tried.response.replayed
    assert tried.response.transaction == done.response.transaction
    assert money_of(people, "alice") == [(995, 0)]


@pytest.mark.parametrize(
    "condition",
    [Condition(available_at_least=rub(1)), Condition(expected_sequence=1)],
    ids=["money", "sequence"],
)
def test_who_is_paid_by_a_hold_learns_nothing_by_conditions(
    people: People, condition: Condition
) -> None:
    hold_id = hold_of(people.alice, 100, to_user_id="bob").hold_id

    answers = [
        people.bob.send(
            CaptureHoldRequest(
                hold_id=hold_id, request_id="r", condition=condition, validate_only=validate_only
            )
        )
        for validate_only in (True, False)
    ]

    assert {each.outcome for each in answers} == {("PERMISSION_DENIED", "NOT_ALLOWED")}
    assert money_of(people, "alice", "bob") == [(1000, 100), (500, 0)]


def test_a_condition_on_giving_a_withdrawal_back_is_refused(people: People) -> None:
    people.bank.send(WithdrawRequest(user_id="alice", amount=rub(100), request_id="out"))

    answer = people.bank.send(
        ReverseTransactionRequest(
            transaction_id=transaction_id("bank", "out"),
            request_id="back",
            condition=Condition(expected_sequence=2),
        )
    )

    assert answer.outcome == ("INVALID_ARGUMENT", "VALIDATION_FAILED")
    assert answer.fields == ["condition"]
    assert money_of(people, "alice") == [(900, 0)]


def test_a_refusal_of_what_was_only_asked_names_no_transaction(people: People) -> None:
    request = WithdrawRequest(user_id="alice", amount=rub(1001), request_id="r", validate_only=True)

    answer = people.bank.send(request)

    assert answer.outcome == SHORT
    assert "transaction_id" not in answer.values
