"""The ledger's tables seen from below the service: filled by the engine's own code, read whole."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, text

from wallet_service.engine.execute import Submission, execute_batch
from wallet_service.ledger.books import Outcome, Rules
from wallet_service.ledger.commands import AccountKey, Command, Deposit
from wallet_service.storage.database import Database, open_database
from wallet_service.storage.schema import metadata

_LOCK_WAITERS = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


def lock_waiters(database: Database) -> int:
    """Count the sessions on a PostgreSQL database that wait for a lock."""
    found: int = database.read(lambda connection: connection.scalar(_LOCK_WAITERS))
    return found


def deposit_many(database_url: str, user_id: str, count: int) -> None:
    """Give a user a history of deposits of 1, 2, 3, … kopecks, by the engine's own code."""
    run_commands(
        database_url,
        [
            Deposit(
                caller=user_id,
                request_id=f"many-{number}",
                target=AccountKey(user_id, "RUB"),
                amount_minor=number,
            )
            for number in range(1, count + 1)
        ],
    )


def run_commands(database_url: str, commands: Sequence[Command], *, batch_size: int = 2000) -> None:
    """Have commands carried out below the service, all of which must succeed."""
    database = open_database(database_url)
    for first in range(0, len(commands), batch_size):
        submission = Submission(commands[first : first + batch_size])
        (results,) = execute_batch(database, [submission], rules=Rules())
        assert all(isinstance(each, Outcome) and not each.transaction.refusal for each in results)
    database.close()


def all_rows(database_url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Read everything that the ledger's tables hold, in the order of their keys."""
    database = open_database(database_url)
    with database.reader.connect() as connection:
        rows = {
            table.name: [
                tuple(row)
                for row in connection.execute(select(table).order_by(*table.primary_key.columns))
            ]
            for table in metadata.sorted_tables
        }
    database.close()
    return rows
