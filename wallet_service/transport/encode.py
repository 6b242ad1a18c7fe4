"""The ledger's records into the contract's messages."""

import time
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from wallet_client.v1 import types_pb2
from wallet_client.v1.wallet_admin_service_pb2 import AccountChange, AccountSettings

from wallet_service.ledger import books
from wallet_service.ledger.books import Outcome
from wallet_service.ledger.commands import AccountKey, Command, Kind, SpendingLimit
from wallet_service.ledger.money import EXPONENTS, decimal
from wallet_service.transport.auth import Caller

_US = 1_000_000
_KINDS: dict[str, types_pb2.Transaction.Kind.ValueType] = {
    kind: types_pb2.Transaction.Kind.Value(f"KIND_{kind}") for kind in Kind
}
_STATES: dict[str, types_pb2.Transaction.State.ValueType] = {
    state: types_pb2.Transaction.State.Value(f"STATE_{state}") for state in books.State
}
_ACCOUNT_STATES: dict[str, types_pb2.AccountState.ValueType] = {
    state: types_pb2.AccountState.Value(f"ACCOUNT_STATE_{state}") for state in books.AccountState
}


def money(amount_minor: int, currency_code: str) -> types_pb2.Money:
    """Write a sum with its decimal form."""
    message = types_pb2.Money()
    fill_money(message, amount_minor, currency_code)
    return message


def fill_money(message: types_pb2.Money, amount_minor: int, currency_code: str) -> None:
    """Write a sum with its decimal form, in place: a message put into another is copied."""
    message.currency_code = currency_code
    message.minor_units = amount_minor
    # What was recorded is answered for ever, also once its currency is no longer current.
    if currency_code in EXPONENTS:
        message.decimal = decimal(amount_minor, currency_code)


def timestamp(time_us: int) -> Timestamp:
    """Write microseconds since 1970."""
    message = Timestamp()
    fill_timestamp(message, time_us)
    return message


def fill_timestamp(message: Timestamp, time_us: int) -> None:
    """Write microseconds since 1970 in place."""
    message.seconds, rest_us = divmod(time_us, _US)
    message.nanos = rest_us * 1000


def fill_outcome(message: Any, command: Command, outcome: Outcome, caller: Caller) -> None:
    """Write what was posted, into the response of a command's method or its result in a batch."""
    viewed = _viewpoint(command, outcome)
    fill_transaction(message.transaction, outcome, caller, viewed=viewed)
    message.replayed = outcome.is_replayed
    if outcome.hold:
        message.hold.CopyFrom(hold(outcome.hold))


def _viewpoint(command: Command, outcome: Outcome) -> str:
    """
    Name the user whose line a caller is shown.

    That is whom they act for; for a hold or reversal themselves, or else whom the money left.
    """
    key = getattr(command, "source", None) or getattr(command, "target", None)
    user_id: str = key.user_id if key else command.caller
    if outcome.entries and outcome.entry_of(user_id) is None:
        return outcome.entries[0].user_id
    return user_id


def transaction(outcome: Outcome, caller: Caller, *, viewed: str | None) -> types_pb2.Transaction:
    """Write a transaction as `fill_transaction` does."""
    message = types_pb2.Transaction()
    fill_transaction(message, outcome, caller, viewed=viewed)
    return message


def fill_transaction(
    message: types_pb2.Transaction, outcome: Outcome, caller: Caller, *, viewed: str | None
) -> None:
    """
    Write a transaction as seen from one account.

    Args:
        message: Where to.

        outcome: What was decided.

        caller: Who reads it; only the request's maker is shown its request id.

        viewed: The user whose line is shown.
    """
    record = outcome.transaction
    message.transaction_id = record.transaction_id
    message.kind = _KINDS[record.kind]
    message.state = _STATES[record.state]
    if record.refusal_reason:
        message.refusal_reason = record.refusal_reason
    if record.amount_minor:
        fill_money(message.amount, record.amount_minor, record.currency_code)
    message.source_user_id = _user_id(record.source_user_id)
    message.target_user_id = _user_id(record.target_user_id)
    if record.hold_id:
        message.hold_id = record.hold_id
    if record.reversal_of:
        message.reversal_of = record.reversal_of
    message.description = record.description
    if record.metadata:
        message.metadata.update(record.metadata)
    if record.caller == caller.user_id:
        message.request_id = record.request_id
    fill_timestamp(message.create_time, record.created_at)
    line = outcome.entry_of(viewed)
    if line:
        _fill_entry(message.entry, line)


def _fill_entry(message: types_pb2.Entry, line: books.Entry) -> None:
    message.sequence = line.sequence
    fill_money(message.amount, line.amount_minor, line.currency_code)
    fill_money(message.balance_after, line.balance_minor, line.currency_code)
    message.hash = line.hash


def balance(account: books.Account) -> types_pb2.Balance:
    """Write what an account holds now."""
    message = types_pb2.Balance()
    fill_balance(message, account)
    return message


def fill_balance(message: types_pb2.Balance, account: books.Account) -> None:
    """Write what an account holds now, in place."""
    code = account.currency_code
    message.user_id = account.user_id
    message.sequence = account.sequence
    fill_money(message.posted, account.posted_minor, code)
    fill_money(message.held, account.held_minor, code)
    fill_money(message.available, account.available_minor, code)
    fill_money(message.min_balance, account.min_balance_minor, code)
    message.state = _ACCOUNT_STATES[account.state]
    fill_timestamp(message.as_of, time.time_ns() // 1000)


def balance_at(key: AccountKey, line: books.Entry | None, *, time_us: int) -> types_pb2.Balance:
    """Write what an account held at a moment of the past, after some line."""
    return types_pb2.Balance(
        user_id=key.user_id,
        posted=money(line.balance_minor if line else 0, key.currency_code),
        sequence=line.sequence if line else 0,
        as_of=timestamp(time_us),
    )


def hold(record: books.Hold) -> types_pb2.Hold:
    """Write a hold."""
    code = record.currency_code
    return types_pb2.Hold(
        hold_id=record.hold_id,
        user_id=record.user_id,
        target_user_id=record.target_user_id or "",
        amount=money(record.amount_minor, code),
        captured=money(record.captured_minor, code),
        state=types_pb2.HoldState.Value(f"HOLD_STATE_{record.state}"),
        create_time=timestamp(record.created_at),
        expire_time=None if record.expires_at is None else timestamp(record.expires_at),
        description=record.description,
        metadata=record.metadata,
    )


def account(record: books.Account) -> types_pb2.Account:
    """Write an account as its operator sees it."""
    return types_pb2.Account(
        balance=balance(record),
        create_time=timestamp(record.created_at),
        update_time=timestamp(record.updated_at),
        limits=[spending_limit(limit, record.currency_code) for limit in record.limits],
    )


def spending_limit(limit: SpendingLimit, currency_code: str) -> types_pb2.SpendingLimit:
    """Write one spending limit."""
    return types_pb2.SpendingLimit(
        window=types_pb2.SpendingLimit.Window.Value(f"WINDOW_{limit.window}"),
        max_amount=None if limit.max_minor is None else money(limit.max_minor, currency_code),
        max_count=limit.max_count,
    )


def account_change(record: books.Transaction) -> AccountChange:
    """Write who changed an account, when, from what, to what."""
    before, after = record.arguments.get("before"), record.arguments.get("after")
    return AccountChange(
        transaction_id=record.transaction_id,
        caller=record.caller,
        create_time=timestamp(record.created_at),
        description=record.description,
        before=_settings(before, record.currency_code) if before else None,
        after=_settings(after, record.currency_code) if after else None,
    )


def _settings(settings: dict[str, Any], currency_code: str) -> AccountSettings:
    return AccountSettings(
        min_balance=money(settings["min_balance"], currency_code),
        state=types_pb2.AccountState.Value(f"ACCOUNT_STATE_{settings['state']}"),
        limits=[
            spending_limit(SpendingLimit(*limit), currency_code) for limit in settings["limits"]
        ],
    )


def _user_id(user_id: str | None) -> str:
    return "" if user_id is None or user_id == books.EXTERNAL else user_id
