"""Record what was decided: the transaction, its lines, and the balances they change."""

from typing import NamedTuple

from wallet_service.ledger.books import (
    Account,
    Books,
    Entry,
    Hold,
    Outcome,
    State,
    Transaction,
)
from wallet_service.ledger.chain import line_hash, line_text, transaction_digest
from wallet_service.ledger.commands import Arguments, Command, Kind
from wallet_service.ledger.errors import Refusal

#: What leaves an account by these is spent; what a reversal takes back is not the giver's spending.
_SPENDING = {Kind.WITHDRAWAL, Kind.TRANSFER, Kind.CAPTURE}


class Movement(NamedTuple):
    """
    What a transaction is about, once that is resolved.

    The sides are user ids, `EXTERNAL` for the outside world, None for nobody.
    """

    source_user_id: str | None
    target_user_id: str | None
    currency_code: str
    amount_minor: int
    hold_id: str | None = None
    reversal_of: str | None = None


#: What is recorded where nothing could be resolved.
NOTHING = Movement(None, None, "", 0)


class Refund(NamedTuple):
    """What a reversal gives back of an account's spending."""

    account: Account
    minor: int
    debits: int


def post(
    books: Books,
    command: Command,
    movement: Movement,
    *,
    debit: Account | None = None,
    credit: Account | None = None,
    refund: Refund | None = None,
) -> Outcome:
    """Move money and write the lines that tell of it."""
    sides = [account for account in (debit, credit) if account]
    transaction = _transaction(
        books,
        command,
        movement,
        source_sequence=debit.sequence + 1 if debit else None,
        target_sequence=credit.sequence + 1 if credit else None,
        # Time never runs backwards along an account, whatever the clocks of its servers say.
        created_at=max([books.now, *[account.updated_at for account in sides]]),
    )
    digest = transaction_digest(transaction)
    if debit and command.kind in _SPENDING:
        debit.outflow_minor += movement.amount_minor
        debit.outflow_count += 1
    if refund:
        refund.account.outflow_minor -= refund.minor
        refund.account.outflow_count -= refund.debits
    entries = []
    for account in sides:
        signed_minor = -movement.amount_minor if account is debit else movement.amount_minor
        entries.append(_append(account, transaction, amount_minor=signed_minor, digest=digest))
        books.keep(account)
    return books.record(Outcome(transaction, tuple(entries), is_replayed=False))


def note(
    books: Books,
    command: Command,
    movement: Movement,
    *,
    hold: Hold | None = None,
    changes: Arguments | None = None,
    created_at: int | None = None,
) -> Outcome:
    """Record what was carried out without changing a posted balance."""
    transaction = _transaction(books, command, movement, changes=changes, created_at=created_at)
    return _record(books, transaction, hold=hold)


def refuse(books: Books, command: Command, movement: Movement, refusal: Refusal) -> Outcome:
    """Record a refusal; it changes no balance and is the answer to this request id for ever."""
    return _record(books, _transaction(books, command, movement, refusal=refusal))


def _record(books: Books, transaction: Transaction, *, hold: Hold | None = None) -> Outcome:
    """Finish a transaction that no entry vouches for: it carries its own digest."""
    digest = transaction_digest(transaction)
    finished = transaction._replace(digest=digest)
    return books.record(Outcome(finished, (), is_replayed=False, hold=hold))


def _append(
    account: Account, transaction: Transaction, *, amount_minor: int, digest: bytes
) -> Entry:
    """Change an account's balance and chain the line that says so."""
    account.sequence += 1
    account.posted_minor += amount_minor
    account.updated_at = transaction.created_at
    place = (account.user_id, account.currency_code, account.sequence)
    text = line_text(place, amount_minor, account.posted_minor)
    account.head_hash = line_hash(text, previous_hash=account.head_hash, digest=digest)
    return Entry(
        *place,
        transaction.transaction_id,
        amount_minor,
        account.posted_minor,
        account.head_hash,
        transaction.created_at,
        account.outflow_minor,
        account.outflow_count,
    )


def _transaction(
    books: Books,
    command: Command,
    movement: Movement,
    *,
    refusal: Refusal | None = None,
    source_sequence: int | None = None,
    target_sequence: int | None = None,
    created_at: int | None = None,
    changes: Arguments | None = None,
) -> Transaction:
    return Transaction(
        transaction_id=command.transaction_id,
        caller=command.caller,
        request_id=command.request_id,
        kind=command.kind,
        state=State.REFUSED if refusal else State.POSTED,
        refusal_reason=refusal.reason if refusal else None,
        refusal_values=refusal.values if refusal else {},
        source_user_id=movement.source_user_id,
        source_sequence=source_sequence,
        target_user_id=movement.target_user_id,
        target_sequence=target_sequence,
        currency_code=movement.currency_code,
        amount_minor=movement.amount_minor,
        hold_id=movement.hold_id,
        reversal_of=movement.reversal_of,
        description=command.description,
        metadata=command.metadata,
        digest=None,
        created_at=books.now if created_at is None else created_at,
        arguments=command.arguments | (changes or {}),
    )
