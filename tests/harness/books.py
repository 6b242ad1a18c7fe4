"""Books with a bit of everything in them, made by the engine itself."""

from wallet_service.engine.execute import execute_batch
from wallet_service.ledger.books import Outcome, Rules
from wallet_service.ledger.commands import (
    AccountKey,
    Command,
    Deposit,
    OpenAccount,
    Transfer,
    Withdraw,
)
from wallet_service.storage.database import Database

ALICE, BOB, CAROL = (AccountKey(user_id, "RUB") for user_id in ("alice", "bob", "carol"))


def run_commands(database: Database, *commands: Command) -> list[Outcome]:
    """Run some commands as one batch, none of which may fail."""
    results = execute_batch(database, commands, rules=Rules())
    outcomes = [result for result in results if isinstance(result, Outcome)]
    assert len(outcomes) == len(commands), results
    return outcomes


def write_books(database: Database) -> dict[str, str]:
    """
    Give Alice three entries, Bob two and Carol none; refuse one request.

    Returns:
        The transaction ids by what the request was.
    """
    who = "service"
    commands: dict[str, Command] = {
        "deposit": Deposit(caller=who, request_id="1", target=ALICE, amount_minor=1000),
        "gift": Deposit(caller=who, request_id="2", target=BOB, amount_minor=500),
        "transfer": Transfer(
            caller="alice",
            request_id="3",
            source=ALICE,
            target=BOB,
            amount_minor=300,
            description="rent",
            metadata={"month": "май"},
        ),
        "withdrawal": Withdraw(caller="alice", request_id="4", source=ALICE, amount_minor=200),
        "refused": Transfer(
            caller="alice", request_id="5", source=ALICE, target=BOB, amount_minor=501
        ),
        "opening": OpenAccount(caller=who, request_id="6", target=CAROL),
    }
    for command in commands.values():
        run_commands(database, command)
    return {name: command.transaction_id for name, command in commands.items()}
