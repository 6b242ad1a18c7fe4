"""Books that contradict themselves stop the account that is damaged, and nobody else."""

from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode
from harness.calls import user, wait_until
from harness.people import People, hold_now, hold_of, money_of, rub
from sqlalchemy import text
from wallet_client.v1.types_pb2 import HOLD_STATE_ACTIVE, HOLD_STATE_EXPIRED
from wallet_client.v1.wallet_service_pb2 import (
    DepositRequest,
    ExecuteBatchRequest,
    GetBalanceRequest,
    TransferRequest,
    VoidHoldRequest,
)

from wallet_service.storage.database import open_database

Operation = ExecuteBatchRequest.Operation
ONE_SECOND = Duration(seconds=1)


def test_a_line_that_is_there_already_is_data_loss(
    people: People, target: str, database_url: str
) -> None:
    people.alice.send(DepositRequest(amount=rub(5), request_id="second"))
    database = open_database(database_url)
    with database.transaction() as connection:
        # As if the account had been restored without its last line.
        connection.execute(text("UPDATE accounts SET sequence = 1 WHERE user_id = 'alice'"))
    database.close()

    damaged = people.alice.send(DepositRequest(amount=rub(7), request_id="third"))
    paid = people.bob.send(TransferRequest(to_user_id="alice", amount=rub(1), request_id="pay"))
    with user(target, "carol") as carol:
        other = carol.send(DepositRequest(amount=rub(9), request_id="first"))

    assert damaged.outcome == ("DATA_LOSS", "LEDGER_CORRUPT")
    assert paid.outcome == ("DATA_LOSS", "LEDGER_CORRUPT")
    assert "alice" not in damaged.message
    assert other.code.name == "OK"
    assert money_of(people, "bob", "carol") == [(500, 0), (9, 0)]


def test_a_batch_of_others_goes_on_without_the_account_that_is_damaged(
    people: People, database_url: str
) -> None:
    database = open_database(database_url)
    with database.transaction() as connection:
        connection.execute(text("UPDATE accounts SET sequence = 0 WHERE user_id = 'alice'"))
    database.close()
    deposits = [
        DepositRequest(user_id=user_id, amount=rub(7), request_id=f"{user_id}-{number}")
        for number in range(5)
        for user_id in ("alice", "bob")
    ]

    answer = people.bank.send(
        ExecuteBatchRequest(operations=[Operation(deposit=each) for each in deposits])
    )

    codes = [result.error.code for result in answer.response.results]
    assert codes == [StatusCode.DATA_LOSS.value[0], 0] * 5
    assert money_of(people, "bob") == [(535, 0)]


def test_limits_that_are_none_are_data_loss(people: People, target: str, database_url: str) -> None:
    database = open_database(database_url)
    with database.transaction() as connection:
        connection.execute(text("UPDATE accounts SET limits = '[1]' WHERE user_id = 'alice'"))
    database.close()

    damaged = people.alice.send(DepositRequest(amount=rub(7), request_id="second"))
    read = people.alice.send(GetBalanceRequest())
    with user(target, "carol") as carol:
        other = carol.send(DepositRequest(amount=rub(9), request_id="first"))

    assert damaged.outcome == ("DATA_LOSS", "LEDGER_CORRUPT")
    assert read.outcome == ("DATA_LOSS", "LEDGER_CORRUPT")
    assert other.code.name == "OK"
    assert money_of(people, "bob", "carol") == [(500, 0), (9, 0)]


def test_a_hold_that_can_never_be_released_keeps_no_others_waiting(
    people: People, database_url: str
) -> None:
    damaged = hold_of(people.alice, 300, expire_after=ONE_SECOND)
    database = open_database(database_url)
    with database.transaction() as connection:
        # Its release would leave less than nothing on hold, which the table refuses.
        connection.execute(text("UPDATE accounts SET held_minor = 0 WHERE user_id = 'alice'"))
    database.close()
    other = hold_of(people.bob, 200, expire_after=ONE_SECOND)

    wait_until(lambda: hold_now(people, other).state == HOLD_STATE_EXPIRED)

    assert hold_now(people, damaged).state == HOLD_STATE_ACTIVE
    assert money_of(people, "bob") == [(500, 0)]


def test_a_fault_that_one_operation_meets_is_its_own(people: People, database_url: str) -> None:
    holds = [hold_of(caller, 200) for caller in (people.alice, people.bob)]
    database = open_database(database_url)
    with database.transaction() as connection:
        # Its release would leave less than nothing on hold, which the table refuses.
        connection.execute(text("UPDATE accounts SET held_minor = 0 WHERE user_id = 'alice'"))
    database.close()
    voids = [
        Operation(void_hold=VoidHoldRequest(hold_id=hold.hold_id, request_id=hold.hold_id))
        for hold in holds
    ]

    answer = people.bank.send(ExecuteBatchRequest(operations=voids))

    codes = [result.error.code for result in answer.response.results]
    assert codes == [StatusCode.INTERNAL.value[0], 0]
    assert hold_now(people, holds[0]).state == HOLD_STATE_ACTIVE
    assert money_of(people, "bob") == [(500, 0)]
