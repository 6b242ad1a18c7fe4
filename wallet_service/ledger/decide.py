"""
Decide commands: the one way money moves.

Each `decide_*` checks first, in the order of `refusals`, and only then changes the books; past its
last check it cannot fail. Nothing here knows a database, a clock or a network.
"""

from typing import assert_never

from wallet_service.ledger.account_control import (
    CHANGES,
    decide_open_account,
    decide_update_account,
)
from wallet_service.ledger.books import EXTERNAL, Account, Books, Outcome, Transaction
from wallet_service.ledger.commands import (
    AccountKey,
    CaptureHold,
    Command,
    CreateHold,
    Deposit,
    ExpireHold,
    OpenAccount,
    ReverseTransaction,
    Transfer,
    UpdateAccount,
    VoidHold,
    Withdraw,
    accounts_of,
)
from wallet_service.ledger.errors import NotAllowed, Refusal, RequestIdReused
from wallet_service.ledger.holds import (
    decide_capture_hold,
    decide_create_hold,
    decide_expire_hold,
    decide_void_hold,
)
from wallet_service.ledger.post import Movement, post, refuse
from wallet_service.ledger.refusals import (
    account_closed,
    account_missing,
    balance_overflow,
    credit_blocked,
    debit_blocked,
    funds_short,
    spending_overflow,
    spending_refused,
)
from wallet_service.ledger.reversals import decide_reverse_transaction


def decide(books: Books, command: Command) -> Outcome:
    """
    Turn a command into a recorded transaction, or find the one it already has.

    Args:
        books: Changed in place: the outcome is added, and accounts move if it is posted.

        command: Validated; what it names is loaded in `books`.

    Returns:
        What was decided, posted or refused, now or when the request id was first used.

    Raises:
        RequestIdReused: The id names an earlier request with other content. Nothing is recorded.

        NotAllowed, InvalidRequest: Not this caller's to ask, here or of this hold or original, or
            not meant. Nothing is recorded.

        Contention: Others hold one of its accounts locked. Nothing is recorded.
    """
    previous = books.outcomes.get(command.transaction_id)
    if previous:
        return _replay(books, previous, command)
    if command.validate_only:
        return _dispatch(books.trial(), command)
    return _dispatch(books, command)


def _dispatch(books: Books, command: Command) -> Outcome:  # noqa: C901, PLR0911 (a case each)
    match command:
        case Deposit():
            return _decide_deposit(books, command)
        case Withdraw():
            return _decide_withdraw(books, command)
        case Transfer():
            return _decide_transfer(books, command)
        case CreateHold():
            return decide_create_hold(books, command)
        case CaptureHold():
            return decide_capture_hold(books, command)
        case VoidHold():
            return decide_void_hold(books, command)
        case ExpireHold():
            return decide_expire_hold(books, command)
        case ReverseTransaction():
            return decide_reverse_transaction(books, command)
        case OpenAccount():
            return decide_open_account(books, command)
        case UpdateAccount():
            return decide_update_account(books, command)
        case _:
            assert_never(command)


def _decide_deposit(books: Books, command: Deposit) -> Outcome:
    if not (books.rules.self_deposit or command.is_service):
        raise NotAllowed(why="here only services deposit, not users themselves")
    target = books.account(command.target)
    movement = Movement(EXTERNAL, target.user_id, target.currency_code, command.amount_minor)
    refusal = (
        account_closed(target)
        or credit_blocked(target)
        or balance_overflow(target, command.amount_minor)
    )
    if refusal:
        return refuse(books, command, movement, refusal)
    # Past this line the deposit must succeed.
    return post(books, command, movement, credit=target)


def _decide_withdraw(books: Books, command: Withdraw) -> Outcome:
    source = books.account(command.source)
    amount_minor = _resolved_minor(command, source)
    movement = Movement(source.user_id, EXTERNAL, source.currency_code, amount_minor)
    refusal = (
        account_closed(source)
        or debit_blocked(source)
        or _nothing_there(command, source)
        or spending_refused(books, source, amount_minor, command.condition)
        or spending_overflow(source, amount_minor)
    )
    if refusal:
        return refuse(books, command, movement, refusal)
    # Past this line the withdrawal must succeed.
    return post(books, command, movement, debit=source)


def _decide_transfer(books: Books, command: Transfer) -> Outcome:
    assert command.source != command.target, "a transfer to oneself is refused when it is read"
    source = books.account(command.source)
    target = books.account(command.target)
    amount_minor = _resolved_minor(command, source)
    movement = Movement(source.user_id, target.user_id, source.currency_code, amount_minor)
    refusal = (
        account_missing(books, command.target)
        or account_closed(source)
        or account_closed(target)
        or debit_blocked(source)
        or credit_blocked(target)
        or _nothing_there(command, source)
        or spending_refused(books, source, amount_minor, command.condition)
        or spending_overflow(source, amount_minor)
        or balance_overflow(target, amount_minor)
    )
    if refusal:
        return refuse(books, command, movement, refusal)
    # Past this line the transfer must succeed.
    return post(books, command, movement, debit=source, credit=target)


def _resolved_minor(command: Withdraw | Transfer, source: Account) -> int:
    """Return the amount meant: where "up to" is asked and something is there, what is there."""
    if command.is_up_to and 0 < source.spendable_minor < command.amount_minor:
        return source.spendable_minor
    return command.amount_minor


def _nothing_there(command: Withdraw | Transfer, source: Account) -> Refusal | None:
    """Refuse "up to" where nothing is there: that leaves no amount to judge by what follows."""
    if not command.is_up_to or source.spendable_minor > 0:
        return None
    return funds_short(source, command.amount_minor)


def _replay(books: Books, previous: Outcome, command: Command) -> Outcome:
    """Answer a known request id: the first outcome again, if the request is the same."""
    recorded = previous.transaction
    fields = _differing_fields(recorded, command)
    if fields:
        raise RequestIdReused(fields=",".join(fields), transaction_id=recorded.transaction_id)
    hold = books.holds.get(recorded.hold_id) if recorded.hold_id else None
    return previous._replace(is_replayed=True, hold=hold)


def _differing_fields(recorded: Transaction, command: Command) -> list[str]:
    """Name the request's fields that differ from the recorded request's."""
    if (recorded.caller, recorded.request_id) != (command.caller, command.request_id):
        return ["request_id"]  # another request whose hash is the same in 74 bits
    if recorded.kind != command.kind:
        return ["kind"]
    asked = command.arguments
    was = {name: value for name, value in recorded.arguments.items() if name not in CHANGES}
    columns = _column_pairs(recorded, command)
    pairs = {field: columns[column] for column, field in command.fields.items()}
    for name in sorted(was | asked):  # databases keep them in orders of their own
        pairs.setdefault(name, (was.get(name), asked.get(name)))
    named: str | None = getattr(command, "currency_code", None)
    if named and recorded.currency_code not in {"", named}:
        pairs["amount"] = (recorded.currency_code, named)
    pairs["description"] = (recorded.description, command.description)
    pairs["metadata"] = (recorded.metadata, command.metadata)
    return [field for field, (before, now) in pairs.items() if before != now]


def _column_pairs(recorded: Transaction, command: Command) -> dict[str, tuple[object, object]]:
    """Pair a transaction's columns with what a command that names its accounts asks."""
    keys = accounts_of(command)
    source: AccountKey | None = getattr(command, "source", None)
    target: AccountKey | None = getattr(command, "target", None)
    # Where the amount moved is not the amount asked for, the arguments have that.
    amount_minor = recorded.arguments.get("amount", recorded.amount_minor)
    return {
        "source": (recorded.source_user_id, source and source.user_id),
        "target": (recorded.target_user_id, target and target.user_id),
        "money": (
            (recorded.currency_code, amount_minor),
            (keys[0].currency_code if keys else "", getattr(command, "amount_minor", 0)),
        ),
    }
