"""Prove a transaction by itself: its id, its state against its entries, its digest."""

from typing import NoReturn

from wallet_service.ledger.books import EXTERNAL, State, Transaction
from wallet_service.ledger.chain import transaction_digest
from wallet_service.ledger.commands import MOVING_KINDS
from wallet_service.ledger.errors import LedgerCorrupt
from wallet_service.ledger.ids import transaction_id


def prove_transaction(transaction: Transaction) -> None:
    """
    Prove what the entries do not: requests that moved nothing, and that no side is left out.

    Raises:
        LedgerCorrupt: It was changed; the row is named.
    """
    sides = (
        (transaction.source_user_id, transaction.source_sequence),
        (transaction.target_user_id, transaction.target_sequence),
    )
    has_entries = any(sequence is not None for _, sequence in sides)
    moves_money = transaction.state == State.POSTED and transaction.kind in MOVING_KINDS
    if moves_money and any(
        (sequence is None) != (user_id == EXTERNAL) for user_id, sequence in sides
    ):
        corrupt(name_of(transaction), "it moved money on one side only")
    if has_entries != moves_money:
        corrupt(name_of(transaction), "its state and its entries do not agree")
    if has_entries and transaction.digest is not None:
        corrupt(name_of(transaction), "it has a digest beside its entries")
    if not has_entries and transaction.digest != digest_of(transaction):
        corrupt(name_of(transaction), "its digest does not fit it")
    made_of = transaction_id(transaction.caller, transaction.request_id)
    if transaction.transaction_id != made_of:
        corrupt(name_of(transaction), f"its caller and request id make {made_of}")


def digest_of(transaction: Transaction) -> bytes:
    """Hash a transaction as `transaction_digest`; raises `LedgerCorrupt` for what has no hash."""
    try:
        return transaction_digest(transaction)
    except TypeError as error:
        # Numbers that no request could bring, and the like: JSON that was not written here.
        problem = f"it has no digest: {error}"
        raise LedgerCorrupt(row=name_of(transaction), problem=problem) from error


def name_of(transaction: Transaction) -> str:
    """Name a transaction's row."""
    return f"transactions {transaction.transaction_id}"


def corrupt(row: str, problem: str) -> NoReturn:
    """Tell of a damaged row."""
    raise LedgerCorrupt(row=row, problem=problem)
