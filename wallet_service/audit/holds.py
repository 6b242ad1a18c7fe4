"""Prove the holds: each is what the transactions about it made of it, and none is missing."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NoReturn

from wallet_service.ledger.books import Hold, HoldState, Transaction
from wallet_service.ledger.commands import Kind
from wallet_service.ledger.errors import LedgerCorrupt
from wallet_service.storage.audit_queries import Snapshot, stream_hold_transactions, stream_holds

_RELEASES = {Kind.VOID: HoldState.VOIDED, Kind.EXPIRE: HoldState.EXPIRED}


def proven_holds(connection: Snapshot) -> Iterator[Hold]:
    """
    Yield each hold once it is proven, walking holds and transactions in the order of their ids.

    Raises:
        LedgerCorrupt: A hold and its transactions contradict each other.
    """
    told = groupby(stream_hold_transactions(connection), key=lambda each: str(each.hold_id))
    hold_id, transactions = next(told, ("", iter(())))
    for hold in stream_holds(connection):
        if hold_id and hold_id < hold.hold_id:
            break
        if hold_id != hold.hold_id:
            _corrupt(hold.hold_id, "its transactions are missing")
        _prove(hold, list(transactions))
        yield hold
        hold_id, transactions = next(told, ("", iter(())))
    if hold_id:
        _corrupt(hold_id, "missing")


def _prove(hold: Hold, transactions: Sequence[Transaction]) -> None:
    made = next((each for each in transactions if each.transaction_id == hold.hold_id), None)
    if made is None or made.kind != Kind.HOLD:
        _corrupt(hold.hold_id, "the transaction that made it is missing")
    captures = [each for each in transactions if each.kind == Kind.CAPTURE]
    releases = [each for each in transactions if each.kind in _RELEASES]
    captured_minor = sum(each.amount_minor for each in captures)
    updated_at = made.created_at
    state = HoldState.ACTIVE
    if captures:
        # The last one's: time never runs backwards along the account they are taken from.
        updated_at = max(each.created_at for each in captures)
    if captured_minor == made.amount_minor or not all(map(_keeps_remainder, captures)):
        state = HoldState.CAPTURED
    for release in releases:
        if state != HoldState.ACTIVE:
            _corrupt(hold.hold_id, "it was resolved twice")
        state, updated_at = _RELEASES[Kind(release.kind)], release.created_at
    expire_after_us = made.arguments.get("expire_after")
    expected = Hold(
        hold_id=hold.hold_id,
        user_id=str(made.source_user_id),
        currency_code=made.currency_code,
        target_user_id=made.target_user_id,
        amount_minor=made.amount_minor,
        captured_minor=captured_minor,
        state=state,
        created_at=made.created_at,
        updated_at=updated_at,
        expires_at=expire_after_us and made.created_at + expire_after_us,
        description=made.description,
        metadata=made.metadata,
    )
    for name, actual, wanted in zip(Hold._fields, hold, expected, strict=True):
        if actual != wanted:
            _corrupt(hold.hold_id, f"{name} is {actual}, expected {wanted}")


def _keeps_remainder(capture: Transaction) -> bool:
    return bool(capture.arguments.get("keep_remainder"))


def _corrupt(hold_id: str, problem: str) -> NoReturn:
    raise LedgerCorrupt(row=f"holds {hold_id}", problem=problem)
