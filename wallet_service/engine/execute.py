"""One batch is one database transaction: lock and load, decide, write, commit."""

import time
from collections.abc import Sequence

from wallet_service.ledger.books import Books, Outcome, Rules
from wallet_service.ledger.commands import Command
from wallet_service.ledger.decide import decide
from wallet_service.ledger.errors import WalletError
from wallet_service.storage.database import Database
from wallet_service.storage.load import load_books
from wallet_service.storage.write import write_books

Result = Outcome | Exception


def execute_batch(
    database: Database, commands: Sequence[Command], *, rules: Rules, skip_busy: bool = False
) -> list[Result]:
    """
    Run some commands in arrival order, all in one committed database transaction.

    Args:
        database: Where the books are.

        commands: At least one.

        rules: The operator's choices.

        skip_busy: Refuse at once what needs an account that others hold locked, so that it does not
            keep the rest waiting.

    Returns:
        For each command what was decided, or the error that binds nothing.

    Raises:
        BatchFailed: Not committed, or not known to be; run the same batch again.
    """
    with database.write() as connection:
        now = time.time_ns() // 1000
        books = load_books(
            database, connection, commands, now=now, rules=rules, skip_busy=skip_busy
        )
        results = [_decide(books, command) for command in commands]
        write_books(database, connection, books)
    return results


def _decide(books: Books, command: Command) -> Result:
    try:
        return decide(books, command)
    except WalletError as error:
        return error
