"""What client processes are told to do; in a module of its own, so that they can import it."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from wallet_client import BatchRefused, Refused, RequestIdReused, Wallet, WalletError
from wallet_client.v1.wallet_service_pb2 import (
    CaptureHoldRequest,
    CreateHoldRequest,
    ExecuteBatchResponse,
    ReverseTransactionRequest,
    TransferRequest,
)

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


def _reason_of(call: Callable[[], object]) -> str:
    """Make a call; return why it was refused, or nothing."""
    try:
        call()
    except Refused as error:
        return error.reason
    return ""


def resolve_holds(
    target: str, holds: Sequence[tuple[str, str, timedelta | None]], number: int
) -> list[str]:
    """
    Capture or void each of some holds in the same instant as fifteen others.

    Args:
        target: Address of the server.

        holds: Request id, hold id and lifetime of each; process 0 makes them.

        number: Which of the sixteen this is; the even ones capture, the odd ones void.

    Returns:
        For each hold why this process was refused, empty if it was the one.
    """
    reasons = []
    with Wallet(target, service_token(), plaintext=True, timeout_s=20) as wallet:
        resolve = wallet.void_hold if number % 2 else wallet.capture_hold
        for request_id, hold_id, expire_after in holds:
            if number == 0:
                wallet.create_hold(
                    100,
                    user_id="alice",
                    to_user_id="bob",
                    expire_after=expire_after,
                    request_id=request_id,
                )
            meet(16)
            reasons.append(_reason_of(lambda hold_id=hold_id: resolve(hold_id)))
    return reasons


def capture_parts(target: str, hold_ids: Sequence[str], amount_minor: int) -> list[str]:
    """Capture a part of each of some holds in the same instant as fifteen others."""
    reasons = []
    with Wallet(target, service_token(), plaintext=True, timeout_s=20) as wallet:
        for hold_id in hold_ids:
            meet(16)
            reasons.append(
                _reason_of(
                    lambda hold_id=hold_id: wallet.capture_hold(
                        hold_id, amount_minor, keep_remainder=True
                    )
                )
            )
    return reasons


def reverse_again_and_again(
    target: str, original_id: str, amount_minor: int, count: int
) -> Counter[str]:
    """Reverse parts of one original, all at once, together with fifteen other processes."""
    with (
        Wallet(target, service_token(), plaintext=True, timeout_s=20) as wallet,
        ThreadPoolExecutor(count) as threads,
    ):
        meet(16)
        return Counter(
            threads.map(
                lambda _: _reason_of(lambda: wallet.reverse(original_id, amount_minor)),
                range(count),
            )
        )


def reverse_each(target: str, original_ids: Sequence[str], amount_minor: int) -> list[str]:
    """Reverse a part of each of some originals in the same instant as another client."""
    reasons = []
    with Wallet(target, service_token(), plaintext=True, timeout_s=20) as wallet:
        for original_id in original_ids:
            meet(2)
            reasons.append(
                _reason_of(
                    lambda original_id=original_id: wallet.reverse(original_id, amount_minor)
                )
            )
    return reasons


def send_same_batches(
    target: str, names: Sequence[str], sale_id: str, hold_id: str
) -> list[tuple[list[bytes], bool]]:
    """
    Send the same atomic batches in the same instant as seven others.

    Returns:
        For each batch what it was answered, and whether that was a replay.
    """
    answers = []
    with Wallet(target, service_token(), plaintext=True, timeout_s=20) as wallet:
        for name in names:
            operations = [
                TransferRequest(user_id="zoe", to_user_id="bob", request_id=f"{name}/0"),
                CreateHoldRequest(user_id="zoe", request_id=f"{name}/1"),
                CaptureHoldRequest(hold_id=hold_id, keep_remainder=True, request_id=f"{name}/2"),
                ReverseTransactionRequest(transaction_id=sale_id, request_id=f"{name}/3"),
            ]
            for operation in operations:
                operation.amount.minor_units = 10
            meet(8)
            answers.append(_answer_to(wallet.execute(operations, atomic=True)))
    return answers


def _answer_to(response: ExecuteBatchResponse) -> tuple[list[bytes], bool]:
    (is_replayed,) = {result.replayed for result in response.results}
    # The hold is shown as it is now, which is not what the batch left once others came after it.
    return [
        result.transaction.SerializeToString(deterministic=True) for result in response.results
    ], is_replayed


def send_refused_batch(target: str, names: Sequence[str]) -> list[dict[str, str]]:
    """Send atomic batches whose second operation nobody can pay, in the same instant as seven."""
    answers = []
    with Wallet(target, service_token(), plaintext=True, timeout_s=20) as wallet:
        for name in names:
            operations = [
                TransferRequest(user_id="zoe", to_user_id="bob", request_id=f"{name}/{number}")
                for number in range(2)
            ]
            operations[0].amount.minor_units = 10
            operations[1].amount.minor_units = 10**9
            meet(8)
            try:
                wallet.execute(operations, atomic=True)
            except BatchRefused as error:
                answers.append(error.metadata)
    return answers


def watch_and_write(target: str, user_id: str, path: Path) -> None:
    """Watch an account from after what the file already tells, and add to it, until killed."""
    seen = path.read_text().splitlines()
    last = int(seen[-1].split()[0]) if seen else 0
    with Wallet(target, token(user_id), plaintext=True) as wallet, path.open("a") as file:
        for transaction in wallet.watch(after_sequence=last):
            entry = transaction.entry
            file.write(f"{entry.sequence} {entry.balance_after.minor_units}\n")
            file.flush()


def migrate_together(database_url: str) -> str:
    """Migrate in the same instant as seven others; return the version reached."""
    database = open_database(database_url)
    meet(8)
    try:
        return migrate(database)
    finally:
        database.close()
