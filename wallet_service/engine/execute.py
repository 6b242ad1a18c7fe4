"""One batch is one database transaction: lock and load, decide, write, commit."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from wallet_service.ledger.atomic import decide_atomic
from wallet_service.ledger.books import Books, Outcome, Rules
from wallet_service.ledger.commands import Command
from wallet_service.ledger.decide import decide
from wallet_service.ledger.errors import WalletError
from wallet_service.storage.database import Database
from wallet_service.storage.load import load_books
from wallet_service.storage.write import write_books

Result = Outcome | Exception


class Submission(NamedTuple):
    """Commands that one caller waits for together; `is_atomic`: all are posted or none."""

    commands: Sequence[Command]
    is_atomic: bool = False


def execute_batch(
    database: Database, submissions: Sequence[Submission], *, rules: Rules, skip_busy: bool = False
) -> list[list[Result]]:
    """
    Run some submissions in arrival order, all in one committed database transaction.

    Args:
        database: Where the books are.

        submissions: At least one.

        rules: The operator's choices.

        skip_busy: Refuse at once what needs an account that others hold locked, so that it does not
            keep the rest waiting.

    Returns:
        For each command of each submission what was decided, or the error that binds nothing.

    Raises:
        BatchFailed: Not committed, or not known to be; run the same batch again.
    """
    commands = [command for submission in submissions for command in submission.commands]
    with database.write() as transaction:
        books = load_books(
            database,
            transaction.connection,
            commands,
            clock=_now_us,
            rules=rules,
            skip_busy=skip_busy,
        )
        results = [_decide(books, submission) for submission in submissions]
        write_books(transaction, books)
    return results


def _now_us() -> int:
    return time.time_ns() // 1000


def _decide(books: Books, submission: Submission) -> list[Result]:
    if not submission.is_atomic:
        return [_decide_one(books, command) for command in submission.commands]
    try:
        return list(decide_atomic(books, submission.commands))
    except WalletError as error:
        return [error] * len(submission.commands)


def _decide_one(books: Books, command: Command) -> Result:
    try:
        return decide(books, command)
    except WalletError as error:
        return error
