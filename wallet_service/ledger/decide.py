"""
Decide commands: the one place where money moves.

Each `decide_*` checks first, in the order of `refusals`, and only then changes the books; past its
last check it cannot fail. Nothing here knows a database, a clock or a network.
"""

from typing import assert_never

from wallet_service.ledger.books import (
    EXTERNAL,
    Account,
    Books,
    Entry,
    Outcome,
    State,
    Transaction,
)
from wallet_service.ledger.chain import entry_hash, transaction_digest
from wallet_service.ledger.commands import (
    AccountKey,
    Command,
    Deposit,
    OpenAccount,
    Transfer,
    Withdraw,
    accounts_of,
    currency_of,
)
from wallet_service.ledger.errors import Contention, Refusal, RequestIdReused
from wallet_service.ledger.refusals import (
    account_closed,
    account_missing,
    balance_overflow,
    credit_blocked,
    debit_blocked,
    funds_short,
)


def decide(books: Books, command: Command) -> Outcome:
    """
    Turn a command into a recorded transaction, or find the one it already has.

    Args:
        books: Changed in place: the outcome is added, and accounts move if it is posted.

        command: Validated; its accounts are loaded in `books`.

    Returns:
        What was decided, posted or refused, now or when the request id was first used.

    Raises:
        RequestIdReused: The id names an earlier request with other content. Nothing is recorded.

        Contention: Others hold one of its accounts locked. Nothing is recorded.
    """
    previous = books.outcomes.get(command.transaction_id)
    if previous:
        return _replay(previous, command)
    if not books.busy.isdisjoint(accounts_of(command)):
        raise Contention
    match command:
        case Deposit():
            outcome = _decide_deposit(books, command)
        case Withdraw():
            outcome = _decide_withdraw(books, command)
        case Transfer():
            outcome = _decide_transfer(books, command)
        case OpenAccount():
            outcome = _decide_open_account(books, command)
        case _:
            assert_never(command)
    books.outcomes[command.transaction_id] = outcome
    books.decided.append(outcome)
    return outcome


def _decide_deposit(books: Books, command: Deposit) -> Outcome:
    target = books.account(command.target)
    refusal = (
        account_closed(target)
        or credit_blocked(target)
        or balance_overflow(target, command.amount_minor)
    )
    if refusal:
        return _refuse(books, command, refusal)
    # Past this line the deposit must succeed.
    return _post(books, command, credit=target)


def _decide_withdraw(books: Books, command: Withdraw) -> Outcome:
    source = books.account(command.source)
    refusal = (
        account_closed(source) or debit_blocked(source) or funds_short(source, command.amount_minor)
    )
    if refusal:
        return _refuse(books, command, refusal)
    # Past this line the withdrawal must succeed.
    return _post(books, command, debit=source)


def _decide_transfer(books: Books, command: Transfer) -> Outcome:
    assert command.source != command.target, "a transfer to oneself is refused when it is read"
    source = books.account(command.source)
    target = books.account(command.target)
    refusal = (
        account_missing(books, command.target)
        or account_closed(source)
        or account_closed(target)
        or debit_blocked(source)
        or credit_blocked(target)
        or funds_short(source, command.amount_minor)
        or balance_overflow(target, command.amount_minor)
    )
    if refusal:
        return _refuse(books, command, refusal)
    # Past this line the transfer must succeed.
    return _post(books, command, debit=source, credit=target)


def _decide_open_account(books: Books, command: OpenAccount) -> Outcome:
    account = books.account(command.target)
    refusal = account_closed(account)
    if refusal:
        return _refuse(books, command, refusal)
    # Past this line the opening must succeed.
    if not books.is_open(command.target):
        account.updated_at = books.now
        books.keep(account)
    return _record(_transaction(books, command, State.POSTED))


def _post(
    books: Books, command: Command, *, debit: Account | None = None, credit: Account | None = None
) -> Outcome:
    """Move the command's amount and write the lines that tell of it."""
    sides = [account for account in (debit, credit) if account]
    transaction = _transaction(
        books,
        command,
        State.POSTED,
        source_sequence=debit.sequence + 1 if debit else None,
        target_sequence=credit.sequence + 1 if credit else None,
        # Time never runs backwards along an account, whatever the clocks of its servers say.
        created_at=max(books.now, *(account.updated_at for account in sides)),
    )
    digest = transaction_digest(transaction)
    entries = []
    for account in sides:
        signed_minor = -command.amount_minor if account is debit else command.amount_minor
        entries.append(_append(account, transaction, amount_minor=signed_minor, digest=digest))
        books.keep(account)
    return Outcome(transaction, tuple(entries), is_replayed=False)


def _append(
    account: Account, transaction: Transaction, *, amount_minor: int, digest: bytes
) -> Entry:
    """Change an account's balance and chain the line that says so."""
    account.sequence += 1
    account.posted_minor += amount_minor
    account.updated_at = transaction.created_at
    entry = Entry(
        user_id=account.user_id,
        currency_code=account.currency_code,
        sequence=account.sequence,
        transaction_id=transaction.transaction_id,
        amount_minor=amount_minor,
        balance_minor=account.posted_minor,
        hash=b"",
        created_at=transaction.created_at,
    )
    account.head_hash = entry_hash(entry, previous_hash=account.head_hash, digest=digest)
    return entry._replace(hash=account.head_hash)


def _refuse(books: Books, command: Command, refusal: Refusal) -> Outcome:
    """Record a refusal; it changes no balance and is the answer to this request id for ever."""
    return _record(_transaction(books, command, State.REFUSED, refusal=refusal))


def _record(transaction: Transaction) -> Outcome:
    """Finish a transaction that no entry vouches for: it carries its own digest."""
    digest = transaction_digest(transaction)
    return Outcome(transaction._replace(digest=digest), (), is_replayed=False)


def _transaction(
    books: Books,
    command: Command,
    state: State,
    *,
    refusal: Refusal | None = None,
    source_sequence: int | None = None,
    target_sequence: int | None = None,
    created_at: int | None = None,
) -> Transaction:
    return Transaction(
        transaction_id=command.transaction_id,
        caller=command.caller,
        request_id=command.request_id,
        kind=command.kind,
        state=state,
        refusal_reason=refusal.reason if refusal else None,
        refusal_values=refusal.values if refusal else {},
        source_user_id=_side(command, command.source),
        source_sequence=source_sequence,
        target_user_id=_side(command, command.target),
        target_sequence=target_sequence,
        currency_code=currency_of(command),
        amount_minor=command.amount_minor,
        hold_id=None,
        reversal_of=None,
        description=command.description,
        metadata=command.metadata,
        digest=None,
        created_at=books.now if created_at is None else created_at,
    )


def _side(command: Command, key: AccountKey | None) -> str | None:
    """Name one side of a command: a user, the outside world, or nobody where no money is meant."""
    if key:
        return key.user_id
    return EXTERNAL if command.amount_minor else None


def _replay(previous: Outcome, command: Command) -> Outcome:
    """Answer a known request id: the first outcome again, if the request is the same."""
    fields = _differing_fields(previous.transaction, command)
    if fields:
        raise RequestIdReused(
            fields=",".join(fields), transaction_id=previous.transaction.transaction_id
        )
    return previous._replace(is_replayed=True)


def _differing_fields(recorded: Transaction, command: Command) -> list[str]:
    """Name the request's fields that differ from the recorded request's."""
    if (recorded.caller, recorded.request_id) != (command.caller, command.request_id):
        return ["request_id"]  # another request whose hash is the same in 74 bits
    if recorded.kind != command.kind:
        return ["kind"]
    money = (currency_of(command), command.amount_minor)
    recorded_money = (recorded.currency_code, recorded.amount_minor)
    pairs = {
        command.fields.get("source"): (recorded.source_user_id, _side(command, command.source)),
        command.fields.get("target"): (recorded.target_user_id, _side(command, command.target)),
        command.fields["money"]: (recorded_money, money),
        "description": (recorded.description, command.description),
        "metadata": (recorded.metadata, command.metadata),
    }
    return [field for field, (was, asked) in pairs.items() if field and was != asked]
