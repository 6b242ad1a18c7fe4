"""The ledger's records into the contract's messages."""

import time
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from wallet_client.v1 import types_pb2
from wallet_client.v1.wallet_admin_service_pb2 import AccountChange, AccountSettings

from wallet_service.ledger import books
from wallet_service.ledger.books import Outcome
from wallet_service.ledger.commands import AccountKey, SpendingLimit
from wallet_service.ledger.money import decimal
from wallet_service.transport.auth import Caller

_US = 1_000_000
_KINDS = types_pb2.Transaction.Kind
_STATES = types_pb2.Transaction.State


def money(amount_minor: int, currency_code: str) -> types_pb2.Money:
    """Write a sum with its decimal form."""
    return types_pb2.Money(
        currency_code=currency_code,
        minor_units=amount_minor,
        decimal=decimal(amount_minor, currency_code),
    )


def timestamp(time_us: int) -> Timestamp:
    """Write microseconds since 1970."""
    seconds, rest_us = divmod(time_us, _US)
    return Timestamp(seconds=seconds, nanos=rest_us * 1000)


def transaction(outcome: Outcome, caller: Caller, *, viewed: str | None) -> types_pb2.Transaction:
    """
    Write a transaction as seen from one account.

    Args:
        outcome: What was decided.

        caller: Who reads it; only the request's maker is shown its request id.

        viewed: The user whose line is shown.
    """
    record = outcome.transaction
    line = outcome.entry_of(viewed)
    return types_pb2.Transaction(
        transaction_id=record.transaction_id,
        kind=_KINDS.Value(f"KIND_{record.kind}"),
        state=_STATES.Value(f"STATE_{record.state}"),
        refusal_reason=record.refusal_reason or "",
        amount=money(record.amount_minor, record.currency_code) if record.amount_minor else None,
        source_user_id=_user_id(record.source_user_id),
        target_user_id=_user_id(record.target_user_id),
        hold_id=record.hold_id or "",
        reversal_of=record.reversal_of or "",
        description=record.description,
        metadata=record.metadata,
        request_id=record.request_id if record.caller == caller.user_id else "",
        create_time=timestamp(record.created_at),
        entry=entry(line) if line else None,
    )


def entry(line: books.Entry) -> types_pb2.Entry:
    """Write one line of an account."""
    return types_pb2.Entry(
        sequence=line.sequence,
        amount=money(line.amount_minor, line.currency_code),
        balance_after=money(line.balance_minor, line.currency_code),
        hash=line.hash,
    )


def balance(account: books.Account) -> types_pb2.Balance:
    """Write what an account holds now."""
    code = account.currency_code
    return types_pb2.Balance(
        user_id=account.user_id,
        posted=money(account.posted_minor, code),
        held=money(account.held_minor, code),
        available=money(account.available_minor, code),
        min_balance=money(account.min_balance_minor, code),
        sequence=account.sequence,
        state=types_pb2.AccountState.Value(f"ACCOUNT_STATE_{account.state}"),
        as_of=timestamp(time.time_ns() // 1000),
    )


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
    return "" if user_id in {None, books.EXTERNAL} else str(user_id)
