"""
Journals of client processes: what was asked, and what was answered.

A journal is a file of JSON lines: `inv` is written before a request is sent, then what became of
it: `ok`, `refused`, `nothing` (the answer promises that nothing happened), `unknown`, or `error`,
which no fault excuses. The operations of an atomic batch are written one by one under its name.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import grpc
from wallet_client import Refused, Wallet, WalletError, new_request_id
from wallet_client.v1.types_pb2 import Money, Transaction
from wallet_client.v1.wallet_service_pb2 import TransferRequest

from wallet_service.ledger.ids import transaction_id

_NOTHING_HAPPENED = {"DATABASE_UNAVAILABLE", "SHUTTING_DOWN"}
_RETRYABLE_WITHOUT_EFFECT = {grpc.StatusCode.ABORTED, grpc.StatusCode.RESOURCE_EXHAUSTED}
_IN_DOUBT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}


@dataclass(frozen=True)
class Request:
    """
    One request for money of `source` to go to `target`, or to be held for it.

    `about` is the hold or the original that it is about; `batch` what it was sent with.
    """

    source: str
    target: str
    amount_minor: int
    kind: str = "TRANSFER"
    about: str = ""
    batch: str = ""


@dataclass
class Record:
    """One request as its journal tells it. `sequence` is the source's."""

    request_id: str
    source: str
    target: str
    amount_minor: int
    invoked_at: int
    verdict: str = "unknown"
    answered_at: int | None = None
    transaction_id: str = ""
    sequence: int = 0
    reason: str = ""
    kind: str = "TRANSFER"
    about: str = ""
    batch: str = ""


class Journal:
    """Writes down what is asked and what is answered, line by line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, event: str, request_id: str, **values: object) -> None:
        """Write one line."""
        line = {"event": event, "request_id": request_id, "at": time.monotonic_ns(), **values}
        self._file.write(json.dumps(line) + "\n")


def read_journals(paths: Sequence[Path]) -> list[Record]:
    """Read what some clients wrote; a request without an answer is in doubt."""
    records: dict[str, Record] = {}
    for path in paths:
        for text in path.read_text().splitlines():
            line = json.loads(text)
            event, at = line.pop("event"), line.pop("at")
            if event == "inv":
                records[line["request_id"]] = Record(invoked_at=at, **line)
                continue
            record = records[line.pop("request_id")]
            record.verdict, record.answered_at = event, at
            for name, value in line.items():
                setattr(record, name, value)
    return list(records.values())


def verdict_of(error: WalletError) -> str:
    """Say what a failed call tells about its request."""
    if isinstance(error, Refused):
        return "refused"
    if error.code in _RETRYABLE_WITHOUT_EFFECT or error.reason in _NOTHING_HAPPENED:
        return "nothing"
    return "unknown" if error.code in _IN_DOUBT else "error"


def try_once(wallet: Wallet, journal: Journal, *requests: Request) -> tuple[str, list[str]]:
    """
    Send one request, or several as an atomic batch, once, between journal lines.

    Returns:
        The verdict, and the transaction ids where it is `ok`.
    """
    named = {new_request_id(): request for request in requests}
    for request_id, request in named.items():
        journal.write("inv", request_id, **asdict(request))
    try:
        answers = send(wallet, named)
    except WalletError as error:
        verdict = verdict_of(error)
        reason = error.reason or f"{error.code.name}: {error}"
        for request_id in named:
            bound_to = transaction_id("service", request_id) if verdict == "refused" else ""
            journal.write(verdict, request_id, reason=reason, transaction_id=bound_to)
        return verdict, []
    for request_id, answer in zip(named, answers, strict=True):
        told = {"transaction_id": answer.transaction_id, "sequence": answer.entry.sequence}
        journal.write("ok", request_id, **told)
    return "ok", [answer.transaction_id for answer in answers]


def send(wallet: Wallet, named: dict[str, Request]) -> list[Transaction]:
    """Send one request under its id, or the transfers of a batch under theirs."""
    if any(request.batch for request in named.values()):
        operations = [
            TransferRequest(
                user_id=request.source,
                to_user_id=request.target,
                amount=Money(minor_units=request.amount_minor),
                request_id=request_id,
            )
            for request_id, request in named.items()
        ]
        return [result.transaction for result in wallet.execute(operations, atomic=True).results]
    ((request_id, request),) = named.items()
    calls: dict[str, Callable[[], Transaction]] = {
        "TRANSFER": lambda: (
            wallet.transfer(
                request.target, request.amount_minor, user_id=request.source, request_id=request_id
            ).transaction
        ),
        "HOLD": lambda: (
            wallet.create_hold(
                request.amount_minor,
                user_id=request.source,
                to_user_id=request.target,
                request_id=request_id,
            ).transaction
        ),
        "CAPTURE": lambda: (
            wallet.capture_hold(
                request.about, request.amount_minor, request_id=request_id
            ).transaction
        ),
        "VOID": lambda: wallet.void_hold(request.about, request_id=request_id).transaction,
        "REVERSAL": lambda: (
            wallet.reverse(request.about, request.amount_minor, request_id=request_id).transaction
        ),
    }
    return [calls[request.kind]()]


def settle_unknown(target: str, token: str, records: Sequence[Record]) -> None:
    """Send every request in doubt again under its id, batches whole, until answered for good."""
    together: dict[str, list[Record]] = {}
    for record in records:
        if record.verdict == "unknown":
            together.setdefault(record.batch or record.request_id, []).append(record)
    with Wallet(target, token, plaintext=True, attempts_max=20) as wallet:
        for group in together.values():
            named = {record.request_id: _request_of(record) for record in group}
            try:
                answers = send(wallet, named)
            except Refused:
                for record in group:
                    record.verdict = "refused"
                    record.transaction_id = transaction_id("service", record.request_id)
                continue
            for record, answer in zip(group, answers, strict=True):
                record.verdict, record.transaction_id = "ok", answer.transaction_id
                record.sequence = answer.entry.sequence


def _request_of(record: Record) -> Request:
    names = Request.__dataclass_fields__
    return Request(**{name: getattr(record, name) for name in names})
