"""Books with a bit of everything in them, made by the engine itself."""

from datetime import timedelta
from typing import Any

from wallet_service.engine.execute import Submission, execute_batch
from wallet_service.ledger.books import Outcome, Rules
from wallet_service.ledger.commands import (
    SYSTEM,
    AccountKey,
    CaptureHold,
    Command,
    CreateHold,
    Deposit,
    ExpireHold,
    OpenAccount,
    ReverseTransaction,
    SpendingLimit,
    Transfer,
    UpdateAccount,
    VoidHold,
    Withdraw,
)
from wallet_service.storage.database import Database

ALICE, BOB, CAROL, DAVE, ERIN = (
    AccountKey(user_id, "RUB") for user_id in ("alice", "bob", "carol", "dave", "erin")
)
_HOUR_US = timedelta(hours=1) // timedelta(microseconds=1)
_SERVICE: dict[str, Any] = {"caller": "service", "is_service": True}


def run_commands(database: Database, *commands: Command) -> list[Outcome]:
    """Run some commands as one batch, none of which may fail."""
    (results,) = execute_batch(database, [Submission(commands)], rules=Rules())
    outcomes = [result for result in results if isinstance(result, Outcome)]
    assert len(outcomes) == len(commands), results
    return outcomes


def write_books(database: Database) -> dict[str, str]:
    """
    Give Alice three entries, Bob two and Carol none; refuse one request.

    Dave's five and Erin's four are of holds and a reversal: two of five holds are open, the others
    are over, each in its own way. An operator changed Dave's account.

    Returns:
        The transaction ids by what the request was.
    """
    commands = _of_transfers() | _of_holds()
    for command in commands.values():
        run_commands(database, command)
    return {name: command.transaction_id for name, command in commands.items()}


def _of_transfers() -> dict[str, Command]:
    who = "service"
    return {
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


def _hold(request_id: str, amount_minor: int, **options: Any) -> CreateHold:
    return CreateHold(
        **{"target": ERIN, **_SERVICE, **options},
        request_id=request_id,
        source=DAVE,
        amount_minor=amount_minor,
    )


def _of_holds() -> dict[str, Command]:
    held = _hold("9", 100, expire_after_us=_HOUR_US, description="deposit", metadata={"room": "12"})
    shared, taken, given_up = _hold("10", 200), _hold("11", 70), _hold("12", 50, target=None)
    short = _hold("13", 30, expire_after_us=1)
    sale = Transfer(**_SERVICE, request_id="19", source=DAVE, target=ERIN, amount_minor=300)
    return {
        "savings": Deposit(**_SERVICE, request_id="7", target=DAVE, amount_minor=1000),
        "update": UpdateAccount(
            **_SERVICE,
            request_id="8",
            target=DAVE,
            min_balance_minor=-50,
            limits=(SpendingLimit("CALENDAR_DAY", 900, 10),),
        ),
        "shop": OpenAccount(**_SERVICE, request_id="8a", target=ERIN),
        "held": held,
        "shared": shared,
        "taken": taken,
        "given_up": given_up,
        "short": short,
        "part": CaptureHold(
            **_SERVICE,
            request_id="14",
            hold_id=shared.transaction_id,
            amount_minor=80,
            keep_remainder=True,
        ),
        "capture": CaptureHold(
            **_SERVICE, request_id="15", hold_id=taken.transaction_id, amount_minor=60
        ),
        "void": VoidHold(**_SERVICE, request_id="16", hold_id=given_up.transaction_id),
        "expiry": ExpireHold(caller=SYSTEM, request_id="17", hold_id=short.transaction_id),
        "sale": sale,
        "reversal": ReverseTransaction(
            **_SERVICE, request_id="20", original_id=sale.transaction_id, amount_minor=100
        ),
    }
