"""Decide many commands as one: all of them are posted, or none."""

from collections.abc import Sequence

from wallet_service.ledger.books import Books, Outcome, State, Transaction
from wallet_service.ledger.commands import (
    AccountKey,
    Command,
    HoldCommand,
    ReverseTransaction,
    accounts_of,
)
from wallet_service.ledger.decide import decide
from wallet_service.ledger.errors import BatchRefused, RequestIdReused, WalletError
from wallet_service.ledger.holds import hold_movement
from wallet_service.ledger.post import Movement, refuse
from wallet_service.ledger.reversals import reversal_movement


class UsedApart(RequestIdReused):
    """An id of a batch was used before, alone or in another batch."""

    template = (
        "operation {failed_index}: this request_id was used before, and not in this very batch"
    )


def decide_atomic(books: Books, commands: Sequence[Command]) -> list[Outcome]:
    """
    Decide commands so that all of them are posted or none.

    Where one is refused nothing moves, and every request id is bound to that: the refused one's to
    its own reason, the others' to `BatchRefused`.

    Args:
        books: Changed in place as by `decide`.

        commands: Their transaction ids differ.

    Raises:
        UsedApart: Some of the ids were used before and some were not, or not together.

        RequestIdReused: An id was used before with other content.

        NotAllowed, InvalidRequest: As `decide`.
    """
    _check_replay(books, commands)
    trial = books.trial()
    outcomes = []
    for index, command in enumerate(commands):
        try:
            outcome = decide(trial, command)
        except WalletError as error:
            error.values["failed_index"] = index
            raise
        outcomes.append(outcome)
        refusal = outcome.transaction.refusal
        if refusal and not outcome.is_replayed:
            batch_refused = BatchRefused(failed_index=index, failed_reason=refusal.reason)
            return [
                books.record(outcome) if each is command else _bind(books, each, batch_refused)
                for each in commands
            ]
    books.adopt(trial)
    return outcomes


def _check_replay(books: Books, commands: Sequence[Command]) -> None:
    """Raise unless a batch's ids are all new, or were used together in one atomic batch."""
    found = [books.outcomes.get(command.transaction_id) for command in commands]
    known = [outcome.transaction for outcome in found if outcome]
    was_posted = all(record.state == State.POSTED for record in known)
    was_all = len(known) == len(commands) and (was_posted or _were_refused_together(known))
    if known and not was_all:
        raise UsedApart(
            fields="request_id",
            failed_index=next(index for index, outcome in enumerate(found) if outcome),
            transaction_id=known[0].transaction_id,
        )


def _were_refused_together(records: Sequence[Transaction]) -> bool:
    """Tell whether one was refused and all others for it."""
    failed = [record for record in records if record.refusal_reason != BatchRefused.reason]
    return len(failed) == 1 and all(
        record.created_at == failed[0].created_at
        and record.refusal_values.get("failed_index") in {None, records.index(failed[0])}
        for record in records
    )


def _bind(books: Books, command: Command, refusal: BatchRefused) -> Outcome:
    """Bind a request id of a refused batch to the batch's refusal."""
    return refuse(books, command, _movement_of(books, command), refusal)


def _movement_of(books: Books, command: Command) -> Movement:
    """Tell what a command that was not decided is about, as far as is known before it is."""
    if isinstance(command, HoldCommand):
        return hold_movement(books, command)
    if isinstance(command, ReverseTransaction):
        return reversal_movement(books, command)
    source: AccountKey | None = getattr(command, "source", None)
    target: AccountKey | None = getattr(command, "target", None)
    return Movement(
        source_user_id=source and source.user_id,
        target_user_id=target and target.user_id,
        currency_code=accounts_of(command)[0].currency_code,
        amount_minor=getattr(command, "amount_minor", 0),
    )
