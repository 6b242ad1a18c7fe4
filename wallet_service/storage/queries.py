"""Reading statements, each seeing the last commit; none locks or sums, every list is bounded."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import bindparam, literal_column, select, tuple_
from sqlalchemy.exc import DBAPIError

from wallet_service.ledger.books import Account, Hold, Outcome
from wallet_service.ledger.commands import AccountKey
from wallet_service.ledger.errors import DatabaseUnavailable
from wallet_service.storage.database import Database
from wallet_service.storage.load import load_outcomes
from wallet_service.storage.records import account_of, hold_of
from wallet_service.storage.schema import accounts, holds

#: A time and an id that come before those of any hold.
BEFORE_ALL_HOLDS = (0, str(UUID(int=0)))

_BALANCES = (
    select(accounts)
    .where(accounts.c.user_id == bindparam("user_id"))
    .order_by(accounts.c.currency_code)
)
_HOLD = select(holds).where(holds.c.hold_id == bindparam("hold_id"))
_DUE_HOLDS = (
    select(holds.c.expires_at, holds.c.hold_id)
    .where(
        holds.c.state == literal_column("'ACTIVE'"),
        holds.c.expires_at <= bindparam("now"),
        tuple_(holds.c.expires_at, holds.c.hold_id)
        > tuple_(bindparam("after_time"), bindparam("after_id", type_=holds.c.hold_id.type)),
    )
    .order_by(holds.c.expires_at, holds.c.hold_id)
    .limit(bindparam("row_limit"))
)
_SEQUENCES = select(accounts.c.user_id, accounts.c.currency_code, accounts.c.sequence).where(
    tuple_(accounts.c.user_id, accounts.c.currency_code).in_(bindparam("keys", expanding=True))
)


def read_balances(database: Database, keys: Sequence[AccountKey]) -> list[Account]:
    """Return accounts as last committed, in the order of their keys; unopened ones read as zero."""
    wanted = list(set(keys))
    rows = database.read(lambda look: database.dialect.find_accounts(look, wanted))
    found = {account.key: account for account in map(account_of, rows)}
    return [found.get(key) or Account(*key) for key in keys]


def read_account(database: Database, key: AccountKey) -> Account | None:
    """Return an account as last committed; None if it was never opened."""
    rows = database.read(lambda look: database.dialect.find_accounts(look, [key]))
    return account_of(rows[0]) if rows else None


def read_accounts(database: Database, user_id: str) -> list[Account]:
    """Return a user's accounts, ordered by currency code."""
    rows = database.read(lambda look: look.execute(_BALANCES, {"user_id": user_id}).all())
    return [account_of(row) for row in rows]


def read_outcome(database: Database, transaction_id: str) -> Outcome | None:
    """Return a transaction with its entries; None if there is none."""
    return database.read(lambda look: load_outcomes(database, look, [transaction_id])).get(
        transaction_id
    )


def read_hold(database: Database, hold_id: str) -> Hold | None:
    """Return a hold as last committed; None if there is none."""
    row = database.read(lambda look: look.execute(_HOLD, {"hold_id": hold_id}).one_or_none())
    return hold_of(row) if row else None


def read_due_holds(
    database: Database, now: int, *, after: tuple[int, str], row_limit: int
) -> list[tuple[int, str]]:
    """Return (expires_at, hold_id) of open holds whose time is over, in order from one on."""
    parameters = {"now": now, "after_time": after[0], "after_id": after[1], "row_limit": row_limit}
    rows = database.read(lambda look: look.execute(_DUE_HOLDS, parameters).all())
    return [(expires_at, hold_id) for expires_at, hold_id in rows]


def read_sequences(database: Database, keys: Collection[AccountKey]) -> dict[AccountKey, int]:
    """Return the last sequence of each opened account among some."""
    if not keys:
        return {}
    rows = database.read(lambda look: look.execute(_SEQUENCES, {"keys": list(keys)}).all())
    return {AccountKey(user_id, code): sequence for user_id, code, sequence in rows}


def ping(database: Database) -> None:
    """
    Ask the database whether it takes writes, for as long as it takes to answer.

    It has a connection of its own for that, so that busy ones tell nothing.

    Raises:
        DatabaseUnavailable: It does not answer, or cannot be written.
    """
    try:
        takes_writes = database.probe(database.dialect.takes_writes)
    except DatabaseUnavailable as error:
        cause = error.__cause__
        if isinstance(cause, DBAPIError) and database.dialect.was_rolled_back(cause):
            return  # busy is not broken
        raise
    except DBAPIError as error:  # it answers, but is no database of ours
        raise DatabaseUnavailable from error
    if not takes_writes:
        raise DatabaseUnavailable
