"""
Commands: requested changes after decoding, and the transaction ids derived from them.

Every command names its `source` and `target` accounts; None is the outside world, or nobody.
"""

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, NamedTuple

_UUID7_TEXT_LENGTH = 36


class Kind(StrEnum):
    """What a transaction does, or was asked to do."""

    DEPOSIT = "DEPOSIT"
    WITHDRAWAL = "WITHDRAWAL"
    TRANSFER = "TRANSFER"
    OPEN_ACCOUNT = "OPEN_ACCOUNT"


class AccountKey(NamedTuple):
    """Names an account: one user's balance in one currency."""

    user_id: str
    currency_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What every command carries, whatever it asks for."""

    caller: str
    request_id: str
    description: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    transaction_id: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "transaction_id", transaction_id(self.caller, self.request_id))


# Each command has a `kind`, and in `fields` the request's own names for what a replay compares.


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposit(_Request):
    """Bring money in from outside, opening the account if need be."""

    kind: ClassVar[Kind] = Kind.DEPOSIT
    fields: ClassVar[dict[str, str]] = {"target": "user_id", "money": "amount"}
    source: ClassVar[None] = None
    target: AccountKey
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw(_Request):
    """Take money out."""

    kind: ClassVar[Kind] = Kind.WITHDRAWAL
    fields: ClassVar[dict[str, str]] = {"source": "user_id", "money": "amount"}
    source: AccountKey
    target: ClassVar[None] = None
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(_Request):
    """Move money from one user to another."""

    kind: ClassVar[Kind] = Kind.TRANSFER
    fields: ClassVar[dict[str, str]] = {
        "source": "user_id",
        "target": "to_user_id",
        "money": "amount",
    }
    source: AccountKey
    target: AccountKey
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAccount(_Request):
    """Open an account at zero."""

    kind: ClassVar[Kind] = Kind.OPEN_ACCOUNT
    fields: ClassVar[dict[str, str]] = {"target": "user_id", "money": "currency_code"}
    source: ClassVar[None] = None
    target: AccountKey
    amount_minor: ClassVar[int] = 0


Command = Deposit | Withdraw | Transfer | OpenAccount


def accounts_of(command: Command) -> Iterator[AccountKey]:
    """Name the accounts that must be locked and loaded to decide a command."""
    if command.source:
        yield command.source
    if command.target:
        yield command.target


def currency_of(command: Command) -> str:
    """Name the one currency a command is about."""
    key = command.source or command.target
    assert key  # every command has a side
    return key.currency_code


def transaction_id(caller: str, request_id: str) -> str:
    """
    Derive a transaction's id from who asks and what they call the request.

    The primary key thereby is the idempotency check, and well-made ids (UUIDv7) keep the index
    ordered in time.

    Args:
        caller: `sub` of the caller's token.

        request_id: 1 to 128 visible ASCII characters.

    Returns:
        A UUID version 8 (RFC 9562, section 5.8) as text: its 74 free low bits are from SHA-256 over
        caller, NUL, request id; its first 48 bits are the request id's own milliseconds if that is
        a UUIDv7, else from the same hash.
    """
    digest = hashlib.sha256(f"{caller}\0{request_id}".encode()).digest()
    timestamp = _uuid7_timestamp(request_id)
    head = digest[:6] if timestamp is None else timestamp
    name = bytearray(head + digest[6:16])
    name[6] = 0x80 | name[6] & 0x0F
    name[8] = 0x80 | name[8] & 0x3F
    text = name.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _uuid7_timestamp(request_id: str) -> bytes | None:
    if len(request_id) != _UUID7_TEXT_LENGTH:
        return None
    try:
        parsed = uuid.UUID(request_id)
    except ValueError:
        return None
    return parsed.bytes[:6] if parsed.version == 7 else None  # noqa: PLR2004
