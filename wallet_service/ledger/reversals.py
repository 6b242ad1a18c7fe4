"""Decide reversals: an earlier transaction given back, at once or bit by bit, never more."""

from wallet_service.ledger.books import EXTERNAL, Account, Books, Outcome, State, Transaction
from wallet_service.ledger.commands import AccountKey, Kind, ReverseTransaction
from wallet_service.ledger.errors import (
    NotAllowed,
    NotReversible,
    OriginalNotFound,
    Refusal,
    ReversalExceedsOriginal,
    ValidationFailed,
    Violation,
)
from wallet_service.ledger.post import NOTHING, Movement, Refund, post, refuse
from wallet_service.ledger.refusals import (
    account_closed,
    balance_overflow,
    condition_failed,
    credit_blocked,
    debit_blocked,
    funds_short,
)

#: What can be given back.
REVERSIBLE_KINDS = {Kind.DEPOSIT, Kind.WITHDRAWAL, Kind.TRANSFER, Kind.CAPTURE}


def decide_reverse_transaction(books: Books, command: ReverseTransaction) -> Outcome:
    """Give back all that is left of an original, or the part asked for."""
    original = _visible_original(books, command)
    if original is None:
        return refuse(books, command, NOTHING, OriginalNotFound())
    movement = _giving_back(books, original, command)
    refusal = _not_reversible(original)
    if refusal:
        return refuse(books, command, movement, refusal)
    reversed_minor = books.reversed_minor.get(original.transaction_id, 0)
    left_minor = original.amount_minor - reversed_minor
    amount_minor = movement.amount_minor
    giver, receiver = (
        books.account(key) if key else None
        for key in (
            _key(movement.source_user_id, original),
            _key(movement.target_user_id, original),
        )
    )
    if command.condition and giver is None:
        text = "money that went outside comes back from no account"
        raise ValidationFailed([Violation("condition", text)])
    refusal = (
        (account_closed(giver) if giver else None)
        or (account_closed(receiver) if receiver else None)
        or (debit_blocked(giver) if giver else None)
        or (credit_blocked(receiver) if receiver else None)
        or _exceeds(original, left_minor, amount_minor)
        or _giver_short(giver, command, amount_minor)
        or (balance_overflow(receiver, amount_minor) if receiver else None)
    )
    if refusal:
        return refuse(books, command, movement, refusal)
    # Past this line the reversal must succeed.
    books.keep_reversed(original.transaction_id, reversed_minor + amount_minor)
    refund = None
    if receiver:
        refund = Refund(receiver, amount_minor, debits=1 if amount_minor == left_minor else 0)
    return post(books, command, movement, debit=giver, credit=receiver, refund=refund)


def reversal_movement(books: Books, command: ReverseTransaction) -> Movement:
    """Tell what a command that was not decided is about; nothing where its caller may not know."""
    original = _find_original(books, command)
    # A sum in one currency cannot be recorded as one in another.
    if original is None or _is_in_another_currency(original, command):
        return NOTHING
    return _giving_back(books, original, command)


def original_keys(original: Transaction) -> list[AccountKey]:
    """Name the accounts that reversing an original touches."""
    sides = (original.source_user_id, original.target_user_id)
    return [key for user_id in sides if (key := _key(user_id, original))]


def _key(user_id: str | None, original: Transaction) -> AccountKey | None:
    if user_id is None or user_id == EXTERNAL:
        return None
    return AccountKey(user_id, original.currency_code)


def _visible_original(books: Books, command: ReverseTransaction) -> Transaction | None:
    """
    Find an original that its caller may reverse; one of strangers is as missing.

    Raises:
        NotAllowed: A party to it, but not the one who received the money.

        ValidationFailed: The reversal names another currency.
    """
    original = _find_original(books, command)
    if original is None:
        return None
    if not command.is_service and original.kind in REVERSIBLE_KINDS:
        receiver, payer = original.target_user_id, original.source_user_id
        if command.caller != receiver or payer == EXTERNAL:
            raise NotAllowed(
                why="a transfer is reversed by the user who received the money,"
                " a deposit or withdrawal by a service"
            )
    if _is_in_another_currency(original, command):
        text = f"the transaction is in {original.currency_code}"
        raise ValidationFailed([Violation(command.currency_field, text)])
    return original


def _find_original(books: Books, command: ReverseTransaction) -> Transaction | None:
    """Find an original that its caller may know of."""
    found = books.outcomes.get(command.original_id)
    if found is None:
        return None
    original = found.transaction
    parties = {original.source_user_id}
    if original.kind == Kind.UPDATE_ACCOUNT:
        parties = {original.caller}  # operators write their reasons for each other
    elif original.state == State.POSTED:
        parties.add(original.target_user_id)
    return original if command.is_service or command.caller in parties else None


def _is_in_another_currency(original: Transaction, command: ReverseTransaction) -> bool:
    """Tell whether a reversal names another currency; a refused original may have none at all."""
    return bool(original.currency_code) and command.currency_code not in {
        None,
        original.currency_code,
    }


def _giving_back(books: Books, original: Transaction, command: ReverseTransaction) -> Movement:
    amount_minor = command.amount_minor
    if amount_minor is None:
        reversed_minor = books.reversed_minor.get(original.transaction_id, 0)
        amount_minor = original.amount_minor - reversed_minor
    return Movement(
        source_user_id=original.target_user_id,
        target_user_id=original.source_user_id,
        currency_code=original.currency_code,
        amount_minor=0 if _not_reversible(original) else amount_minor,
        reversal_of=original.transaction_id,
    )


def _not_reversible(original: Transaction) -> Refusal | None:
    if original.kind in REVERSIBLE_KINDS and original.state == State.POSTED:
        return None
    return NotReversible(
        original_id=original.transaction_id, state=original.state, kind=original.kind
    )


def _exceeds(original: Transaction, left_minor: int, amount_minor: int) -> Refusal | None:
    """Refuse to give back more than is left, and anything once nothing is."""
    if 0 < amount_minor <= left_minor:
        return None
    return ReversalExceedsOriginal(
        original_id=original.transaction_id,
        remaining=left_minor,
        required=amount_minor or original.amount_minor,
    )


def _giver_short(
    giver: Account | None, command: ReverseTransaction, amount_minor: int
) -> Refusal | None:
    """Refuse to take back what the one who received it no longer has."""
    if giver is None:
        return None
    return condition_failed(
        giver, command.condition, available_after_minor=giver.available_minor - amount_minor
    ) or funds_short(giver, amount_minor)
