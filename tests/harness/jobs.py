"""What client processes are told to do; in a module of its own, so that they can import it."""

from wallet_client import RequestIdReused, Wallet, WalletError

from harness.load import meet
from harness.tokens import service_token, token
from wallet_service.storage.database import open_database
from wallet_service.storage.migrate import migrate


def deposit_again_and_again(target: str, count: int) -> None:
    """Deposit 1 rouble to Bob, each time in the instant that Alice pays him."""
    with Wallet(target, token("bob"), plaintext=True) as bob:
        for _ in range(count):
            meet(2)
            bob.deposit(100)
            meet(2)


def pay_bob_again_and_again(target: str, count: int) -> list[int]:
    """Pay Bob 100 roubles in the instant that he deposits; return his balances after each."""
    balances = []
    alice = Wallet(target, token("alice"), plaintext=True)
    bob = Wallet(target, token("bob"), plaintext=True)
    with alice, bob:
        for _ in range(count):
            meet(2)
            alice.transfer("bob", 10_000)
            meet(2)
            balances.append(bob.balance().posted.minor_units)
    return balances


def send_same_requests(
    target: str, amounts: list[tuple[str, int]]
) -> list[tuple[str, str, int, bool]]:
    """Send requests under ids that all processes use; return what each was answered."""
    answers = []
    with Wallet(target, service_token(), plaintext=True, timeout_s=20) as wallet:
        for request_id, amount_minor in amounts:
            meet(16)
            try:
                sent = wallet.transfer("bob", amount_minor, user_id="alice", request_id=request_id)
            except RequestIdReused as error:
                answers.append((error.metadata["transaction_id"], error.reason, 0, True))
            except WalletError as error:
                answers.append((error.metadata.get("transaction_id", ""), error.reason, 0, False))
            else:
                line = sent.transaction
                answers.append(
                    (line.transaction_id, "", line.entry.balance_after.minor_units, sent.replayed)
                )
    return answers


def migrate_together(database_url: str) -> str:
    """Migrate in the same instant as seven others; return the version reached."""
    database = open_database(database_url)
    meet(8)
    try:
        return migrate(database)
    finally:
        database.close()
