"""Many operations in one call: all or none, or each for itself; once, however often sent."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from harness.calls import Answer, Caller, serving, user
from harness.people import ALICE_MINOR, BOB_MINOR, People, at_once, hold_of, money_of, rub
from harness.stored import all_rows
from wallet_client.v1.types_pb2 import HOLD_STATE_ACTIVE, HOLD_STATE_VOIDED, Money, Transaction
from wallet_client.v1.wallet_service_pb2 import (
    ExecuteBatchRequest,
    GetTransactionRequest,
    TransferRequest,
)

from wallet_service.ledger.ids import transaction_id
from wallet_service.transport import batch

Operation = ExecuteBatchRequest.Operation

MANY = 1000
REUSED = ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
REFUSED = ("FAILED_PRECONDITION", "BATCH_REFUSED")


def pay(request_id: str, amount_minor: int = 1, to_user_id: str = "bob") -> Operation:
    """Let alice pay."""
    return Operation(
        transfer={
            "user_id": "alice",
            "to_user_id": to_user_id,
            "amount": rub(amount_minor),
            "request_id": request_id,
        }
    )


def execute(caller: Caller, operations: Sequence[Operation], *, atomic: bool) -> Answer:
    return caller.send(ExecuteBatchRequest(operations=operations, atomic=atomic), timeout_s=60)


def recorded(caller: Caller, request_id: str) -> Transaction:
    found: Transaction = caller.send(
        GetTransactionRequest(request_id=request_id)
    ).response.transaction
    return found


def one_of_each() -> list[Operation]:
    """Ask for everything that a batch can do, by a service for alice."""
    mine = {"user_id": "alice"}
    hold_id = transaction_id("bank", "hold")
    return [
        Operation(deposit={**mine, "amount": rub(100), "request_id": "deposit"}),
        Operation(withdraw={**mine, "amount": rub(10), "request_id": "withdraw"}),
        pay("pay", 20),
        Operation(create_hold={**mine, "amount": rub(50), "request_id": "hold"}),
        Operation(
            capture_hold={
                "hold_id": hold_id,
                "amount": rub(30),
                "keep_remainder": True,
                "to_user_id": "bob",
                "request_id": "capture",
            }
        ),
        Operation(void_hold={"hold_id": hold_id, "request_id": "void"}),
        Operation(
            reverse_transaction={
                "transaction_id": transaction_id("bank", "pay"),
                "amount": rub(5),
                "request_id": "reverse",
            }
        ),
    ]


@pytest.mark.parametrize("atomic", [True, False])
def test_a_batch_does_everything_in_its_order(people: People, atomic: bool) -> None:  # noqa: FBT001 (the case)
    answer = execute(people.bank, one_of_each(), atomic=atomic)

    results = answer.response.results
    kinds = [Transaction.Kind.Name(each.transaction.kind) for each in results]
    assert kinds == [
        f"KIND_{kind}"
        for kind in ("DEPOSIT", "WITHDRAWAL", "TRANSFER", "HOLD", "CAPTURE", "VOID", "REVERSAL")
    ]
    assert [each.HasField("hold") for each in results] == [*[False] * 3, *[True] * 3, False]
    assert results[3].hold.state == HOLD_STATE_ACTIVE
    assert [each.transaction.request_id for each in results][:3] == ["deposit", "withdraw", "pay"]
    assert money_of(people, "alice", "bob") == [
        (ALICE_MINOR + 100 - 10 - 20 - 30 + 5, 0),
        (BOB_MINOR + 20 + 30 - 5, 0),
    ]


@pytest.mark.parametrize("atomic", [True, False])
def test_a_repeated_batch_answers_what_it_answered_first(people: People, atomic: bool) -> None:  # noqa: FBT001 (the case)
    first = execute(people.bank, one_of_each(), atomic=atomic)
    money = money_of(people, "alice", "bob")

    again = execute(people.bank, one_of_each(), atomic=atomic)

    assert {each.replayed for each in first.response.results} == {False}
    assert {each.replayed for each in again.response.results} == {True}
    assert (first.is_marked_replayed, again.is_marked_replayed) == (False, True)
    assert [each.transaction for each in again.response.results] == [
        each.transaction for each in first.response.results
    ]
    assert money_of(people, "alice", "bob") == money


def test_a_batch_that_is_done_before_in_part_only_is_not_marked_as_repeated(people: People) -> None:
    first, *others = one_of_each()
    execute(people.bank, [first], atomic=False)

    answer = execute(people.bank, [first, *others], atomic=False)

    assert [each.replayed for each in answer.response.results] == [True, *[False] * len(others)]
    assert not answer.is_marked_replayed


def test_a_single_request_repeats_an_operation_of_a_batch(people: People) -> None:
    (result,) = execute(people.alice, [pay("p", 5)], atomic=True).response.results

    again = people.alice.send(TransferRequest(to_user_id="bob", amount=rub(5), request_id="p"))

    assert again.response.replayed
    assert again.response.transaction == result.transaction
    assert money_of(people, "alice", "bob") == [(995, 0), (505, 0)]


@pytest.mark.parametrize("atomic", [True, False])
def test_a_batch_of_the_largest_size_is_done(people: People, atomic: bool) -> None:  # noqa: FBT001 (the case)
    answer = execute(people.alice, [pay(f"p{n}") for n in range(MANY)], atomic=atomic)

    sequences = [each.transaction.entry.sequence for each in answer.response.results]
    assert sequences == list(range(2, MANY + 2))
    assert money_of(people, "alice", "bob") == [(0, 0), (BOB_MINOR + MANY, 0)]


def test_an_atomic_batch_whose_last_operation_fails_leaves_nothing_but_its_record(
    people: People, database_url: str
) -> None:
    before = all_rows(database_url)
    operations = [pay(f"p{n}") for n in range(MANY)]
    operations[-1] = pay("last", 2)

    answer = execute(people.alice, operations, atomic=True)

    assert answer.outcome == REFUSED
    assert answer.values["failed_index"] == str(MANY - 1)
    assert answer.values["failed_reason"] == "INSUFFICIENT_FUNDS"
    after = all_rows(database_url)
    assert len(after.pop("transactions")) == len(before.pop("transactions")) + MANY
    assert after == before
    assert recorded(people.alice, "last").refusal_reason == "INSUFFICIENT_FUNDS"
    assert recorded(people.alice, "p0").refusal_reason == "BATCH_REFUSED"
    assert recorded(people.alice, "p0").state == Transaction.STATE_REFUSED


def test_every_id_of_a_refused_batch_is_bound_to_its_refusal(people: People) -> None:
    operations = [pay("a", 10), pay("b", 5000), pay("c", 10)]
    first = execute(people.alice, operations, atomic=True)

    again = execute(people.alice, operations, atomic=True)
    alone = [
        people.alice.send(TransferRequest(to_user_id="bob", amount=rub(amount), request_id=name))
        for name, amount in (("a", 10), ("b", 5000), ("c", 10))
    ]

    assert first.outcome == again.outcome == REFUSED
    assert first.values["failed_index"] == again.values["failed_index"] == "1"
    assert (first.is_marked_replayed, again.is_marked_replayed) == (False, True)
    assert [each.reason for each in alone] == [
        "BATCH_REFUSED",
        "INSUFFICIENT_FUNDS",
        "BATCH_REFUSED",
    ]
    assert {each.is_marked_replayed for each in alone} == {True}
    assert money_of(people, "alice", "bob") == [(ALICE_MINOR, 0), (BOB_MINOR, 0)]


def test_without_atomic_each_operation_stands_for_itself(people: People) -> None:
    operations = [pay("a", 10), pay("b", 5000), pay("c", 10), pay("d", 1, "nobody")]

    results = execute(people.alice, operations, atomic=False).response.results

    assert [each.WhichOneof("outcome") for each in results] == [
        "transaction",
        "error",
        "transaction",
        "error",
    ]
    assert "990 available, 5000 required, 4010 short" in results[1].error.message
    assert [results[1].error.code, results[3].error.code] == [9, 5]
    assert len(results[1].error.details) >= 1
    assert money_of(people, "alice", "bob") == [(980, 0), (520, 0)]


@pytest.mark.parametrize("used", ["a", "b"])
def test_an_atomic_batch_of_used_and_new_ids_is_refused_and_binds_nothing(
    people: People, used: str
) -> None:
    people.alice.send(TransferRequest(to_user_id="bob", amount=rub(5), request_id=used))
    money = money_of(people, "alice", "bob")

    answer = execute(people.alice, [pay("a", 5), pay("b", 5)], atomic=True)
    (new,) = {"a", "b"} - {used}
    later = execute(people.alice, [pay(new, 5)], atomic=True)

    assert answer.outcome == REUSED
    index = "ab".index(used)
    assert answer.values["failed_index"] == str(index)
    assert answer.fields == [f"operations[{index}].transfer.request_id"]
    assert money == [(995, 0), (505, 0)]
    assert later.code.name == "OK"
    assert money_of(people, "alice", "bob") == [(990, 0), (510, 0)]


def test_other_content_under_a_used_id_is_told_in_its_own_result(people: People) -> None:
    people.alice.send(TransferRequest(to_user_id="bob", amount=rub(5), request_id="a"))

    results = execute(people.alice, [pay("a", 6), pay("b", 5)], atomic=False).response.results

    assert results[0].error.code == 6
    assert results[0].error.message.endswith(" with another amount")
    assert results[1].transaction.amount.minor_units == 5
    assert money_of(people, "alice", "bob") == [(990, 0), (510, 0)]


def test_other_content_under_a_used_id_is_named_within_its_batch(people: People) -> None:
    execute(people.alice, [pay("a", 5), pay("b", 5)], atomic=True)

    answer = execute(people.alice, [pay("a", 5), pay("b", 6, "carol")], atomic=True)

    assert answer.outcome == REUSED
    assert answer.values["failed_index"] == "1"
    fields = ["operations[1].transfer.to_user_id", "operations[1].transfer.amount"]
    assert answer.fields == fields
    assert answer.values["fields"] == ",".join(fields)
    assert money_of(people, "alice", "bob") == [(990, 0), (510, 0)]


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("count", [0, MANY + 1])
def test_a_batch_of_another_size_is_refused(
    people: People,
    database_url: str,
    count: int,
    atomic: bool,  # noqa: FBT001 (the case)
) -> None:
    before = all_rows(database_url)

    answer = execute(people.alice, [pay(f"p{n}") for n in range(count)], atomic=atomic)

    assert answer.outcome == ("INVALID_ARGUMENT", "VALIDATION_FAILED")
    assert answer.fields == ["operations"]
    assert all_rows(database_url) == before


def test_an_operation_that_is_not_the_callers_stops_the_whole_batch(
    people: People, database_url: str
) -> None:
    before = all_rows(database_url)

    answer = execute(
        people.bob,
        [Operation(deposit={"amount": rub(1), "request_id": "d"}), pay("p")],
        atomic=False,
    )

    assert answer.outcome == ("PERMISSION_DENIED", "SCOPE_MISSING")
    assert all_rows(database_url) == before


def test_a_batch_does_not_deposit_where_only_services_may(
    database_url: str, tmp_path: Path
) -> None:
    deposit = [Operation(deposit={"user_id": "alice", "amount": rub(1), "request_id": "d"})]
    with (
        serving(database_url, tmp_path, self_deposit=False) as wallet,
        user(wallet.target, "alice") as alice,
        user(wallet.target, "bank", "wallet:act-for-any") as bank,
    ):
        assert execute(alice, deposit, atomic=True).outcome == ("PERMISSION_DENIED", "NOT_ALLOWED")
        alone = execute(alice, deposit, atomic=False).response
        assert [each.error.code for each in alone.results] == [7]
        assert execute(bank, deposit, atomic=True).code.name == "OK"
        assert all_rows(database_url)["entries"][0][0] == "alice"
        assert len(all_rows(database_url)["entries"]) == 1


@pytest.mark.parametrize("atomic", [True, False])
def test_the_same_batch_at_once_is_done_once(people: People, atomic: bool) -> None:  # noqa: FBT001 (the case)
    operations = [pay(f"p{n}", 3) for n in range(100)]

    answers = at_once([partial(execute, people.alice, operations, atomic=atomic)] * 8)

    assert {each.code.name for each in answers} == {"OK"}
    assert sorted(each.response.results[0].replayed for each in answers) == [False, *[True] * 7]
    ids = {
        tuple(result.transaction.transaction_id for result in each.response.results)
        for each in answers
    }
    assert len(ids) == 1
    assert money_of(people, "alice", "bob") == [(700, 0), (800, 0)]


def test_atomic_batches_over_one_hold_at_once_capture_it_once(people: People) -> None:
    hold = hold_of(people.alice, 300, to_user_id="bob")
    batches = [
        [
            Operation(deposit={"amount": rub(1), "request_id": f"d{n}"}),
            Operation(capture_hold={"hold_id": hold.hold_id, "request_id": f"c{n}"}),
        ]
        for n in range(8)
    ]

    answers = at_once([partial(execute, people.bob, each, atomic=True) for each in batches])

    assert sorted(each.code.name for each in answers) == [*["FAILED_PRECONDITION"] * 7, "OK"]
    refusals = [each for each in answers if each.code.name != "OK"]
    assert {each.reason for each in refusals} == {"BATCH_REFUSED"}
    assert {each.values["failed_reason"] for each in refusals} == {"HOLD_NOT_ACTIVE"}
    assert money_of(people, "alice", "bob") == [(700, 0), (801, 0)]


def test_operations_that_name_a_hold_are_found_after_their_batch_was_refused(
    people: People,
) -> None:
    hold_id = hold_of(people.alice, 100, to_user_id="bob").hold_id
    capture = {"hold_id": hold_id, "amount": rub(40), "request_id": "capture"}
    operations = [Operation(capture_hold=capture), pay("too-much", 10_000)]

    assert execute(people.bank, operations, atomic=True).outcome == REFUSED

    found = recorded(people.bank, "capture")
    assert (found.refusal_reason, found.kind) == ("BATCH_REFUSED", Transaction.KIND_CAPTURE)
    assert (found.source_user_id, found.target_user_id) == ("alice", "bob")
    assert (found.amount.minor_units, found.amount.decimal) == (40, "0.40")
    assert execute(people.bank, operations, atomic=True).outcome == REFUSED
    assert money_of(people, "alice", "bob") == [(ALICE_MINOR, 100), (BOB_MINOR, 0)]


def test_what_a_refused_batch_named_of_strangers_stays_unknown(people: People) -> None:
    hold_id = hold_of(people.alice, 100, to_user_id="bob").hold_id
    pay_bob = {"to_user_id": "bob", "amount": rub(1), "request_id": "pay"}
    capture = {"hold_id": hold_id, "amount": rub(40), "request_id": "capture"}
    operations = [Operation(transfer=pay_bob), Operation(capture_hold=capture)]

    refused = execute(people.stranger, operations, atomic=True)
    found = recorded(people.stranger, "capture")

    assert refused.outcome == REFUSED
    assert (found.refusal_reason, found.kind) == ("BATCH_REFUSED", Transaction.KIND_CAPTURE)
    assert (found.source_user_id, found.target_user_id, found.hold_id) == ("", "", "")
    assert not found.HasField("amount")
    assert money_of(people, "alice", "bob") == [(ALICE_MINOR, 100), (BOB_MINOR, 0)]


@pytest.mark.parametrize("amounts", [(5, 10_000), (10_000, 20_000)], ids=["one", "both"])
def test_what_was_refused_one_by_one_is_no_refused_batch(
    people: People, amounts: tuple[int, int]
) -> None:
    operations = [pay(f"p{amount_minor}", amount_minor) for amount_minor in amounts]
    execute(people.bank, operations, atomic=False)
    before = money_of(people, "alice", "bob")

    answer = execute(people.bank, operations, atomic=True)

    assert answer.outcome == REUSED
    assert answer.values["failed_index"] == "0"
    assert answer.fields == ["operations[0].transfer.request_id"]
    assert money_of(people, "alice", "bob") == before


def test_an_operation_that_is_not_the_callers_to_ask_is_named(people: People) -> None:
    mine = {"to_user_id": "bob", "amount": rub(1), "request_id": "mine"}

    answer = execute(people.alice, [Operation(transfer=mine), pay("x"), pay("y")], atomic=False)
    foreign = Operation(
        transfer={**mine, "request_id": "foreign", "user_id": "bob", "to_user_id": "alice"}
    )
    refused = execute(people.alice, [pay("z"), foreign], atomic=False)

    assert answer.code.name == "OK"
    assert refused.outcome == ("PERMISSION_DENIED", "SCOPE_MISSING")
    assert refused.values["failed_index"] == "1"
    assert money_of(people, "alice") == [(ALICE_MINOR - 3, 0)]


@pytest.mark.parametrize(
    ("content", "reason", "field"),
    [
        ({"to_user_id": "alice"}, "SAME_ACCOUNT", "to_user_id"),
        (
            {"amount": Money(currency_code="USD", minor_units=1)},
            "VALIDATION_FAILED",
            "amount.currency_code",
        ),
    ],
)
@pytest.mark.parametrize("atomic", [True, False], ids=["atomic", "each"])
def test_a_field_that_contradicts_a_hold_is_named_within_its_operation(
    people: People, content: dict[str, object], reason: str, field: str, *, atomic: bool
) -> None:
    hold_id = hold_of(people.alice, 100).hold_id
    capture = {"hold_id": hold_id, "request_id": "capture", **content}

    answer = execute(people.bank, [pay("x"), Operation(capture_hold=capture)], atomic=atomic)
    if not atomic:
        status = answer.response.results[1].error.SerializeToString()
        answer = dataclasses.replace(answer, trailers={"grpc-status-details-bin": status})

    assert answer.reason == reason
    assert answer.fields == [f"operations[1].capture_hold.{field}"]
    assert [answer.values.get("field"), answer.values.get("fields")].count(answer.fields[0]) == 1
    assert answer.values.get("failed_index") == ("1" if atomic else None)
    assert money_of(people, "alice") == [(ALICE_MINOR - (not atomic), 100)]


@pytest.mark.parametrize("atomic", [True, False], ids=["atomic", "each"])
def test_a_hold_that_is_anothers_to_resolve_is_named_by_its_operation(
    people: People, *, atomic: bool
) -> None:
    hold_id = hold_of(people.alice, 100, to_user_id="bob").hold_id
    void = {"hold_id": hold_id, "request_id": "void"}

    answer = execute(people.alice, [pay("x"), Operation(void_hold=void)], atomic=atomic)

    if atomic:
        assert answer.outcome == ("PERMISSION_DENIED", "NOT_ALLOWED")
        assert answer.values["failed_index"] == "1"
    else:
        assert [each.error.code for each in answer.response.results] == [0, 7]
    assert money_of(people, "alice") == [(ALICE_MINOR - (not atomic), 100)]


def test_a_batch_does_not_send_more_words_of_holds_than_a_message_may_have(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {"description": "taxi", "metadata": {"ride": "7"}}
    making = Operation(create_hold={"amount": rub(50), "request_id": "hold", **words})
    (made,) = execute(people.alice, [making], atomic=True).response.results
    void = {"hold_id": made.hold.hold_id, "request_id": "void"}

    (voided,) = execute(people.alice, [Operation(void_hold=void)], atomic=True).response.results
    monkeypatch.setattr(batch, "_HOLDS_BYTES_MAX", 100)
    again = [Operation(void_hold=void), pay("p", 1)]
    short, paid = execute(people.alice, again, atomic=False).response.results

    assert (made.hold.description, dict(made.hold.metadata)) == ("taxi", {"ride": "7"})
    assert (voided.hold.hold_id, voided.hold.state) == (made.hold.hold_id, HOLD_STATE_VOIDED)
    assert (voided.hold.description, dict(voided.hold.metadata)) == ("taxi", {"ride": "7"})
    assert (short.hold.description, dict(short.hold.metadata)) == ("", {})
    assert short.hold.hold_id == made.hold.hold_id
    assert not paid.HasField("hold")
