"""
The books as one batch sees them: loaded accounts, what was decided before, what is decided now.

Records are tuples in the order of their table's columns, so that storage reads and writes them
whole. Times are microseconds since 1970-01-01 UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from wallet_service.ledger.commands import AccountKey
from wallet_service.ledger.errors import REFUSALS, Refusal, Value

#: The counterparty of money that comes from or goes to the outside world. It has no account row.
EXTERNAL = "@external"

#: What an account's first entry is chained to.
GENESIS_HASH = bytes(32)


class AccountState(StrEnum):
    """What an account may do."""

    ACTIVE = "ACTIVE"
    NO_DEBITS = "NO_DEBITS"
    NO_CREDITS = "NO_CREDITS"
    FROZEN = "FROZEN"
    CLOSED = "CLOSED"


class State(StrEnum):
    """Whether a request was carried out."""

    POSTED = "POSTED"
    REFUSED = "REFUSED"


class Transaction(NamedTuple):
    """The record of one accepted or refused request."""

    transaction_id: str
    caller: str
    request_id: str
    kind: str
    state: str
    refusal_reason: str | None
    refusal_values: Mapping[str, Value]
    source_user_id: str | None
    source_sequence: int | None
    target_user_id: str | None
    target_sequence: int | None
    currency_code: str
    amount_minor: int
    hold_id: str | None
    reversal_of: str | None
    description: str
    metadata: Mapping[str, str]
    digest: bytes | None
    created_at: int

    @property
    def refusal(self) -> Refusal | None:
        """The refusal as it was answered first."""
        if self.refusal_reason is None:
            return None
        return REFUSALS[self.refusal_reason](**self.refusal_values)


class Entry(NamedTuple):
    """One signed line on one account."""

    user_id: str
    currency_code: str
    sequence: int
    transaction_id: str
    amount_minor: int
    balance_minor: int
    hash: bytes
    created_at: int


@dataclass(slots=True)
class Account:
    """One user's balance in one currency, as locked for this batch."""

    user_id: str
    currency_code: str
    posted_minor: int = 0
    held_minor: int = 0
    min_balance_minor: int = 0
    sequence: int = 0
    head_hash: bytes = GENESIS_HASH
    state: str = AccountState.ACTIVE
    created_at: int = 0
    updated_at: int = 0
    is_stored: bool = False

    @property
    def available_minor(self) -> int:
        """What can be spent, down to `min_balance_minor`."""
        return self.posted_minor - self.held_minor


class Outcome(NamedTuple):
    """What was decided, with the entries it made."""

    transaction: Transaction
    entries: tuple[Entry, ...]
    is_replayed: bool

    def entry_of(self, user_id: str | None) -> Entry | None:
        """Return the line on a user's account, if there is one."""
        return next((entry for entry in self.entries if entry.user_id == user_id), None)


@dataclass(frozen=True, slots=True)
class Rules:
    """The operator's choices that change decisions."""

    open_on_credit: bool = False


@dataclass(slots=True)
class Books:
    """
    Everything a batch's decisions read and change.

    Args:
        now: The batch's one time.

        accounts: Open accounts among those the batch names, locked.

        busy: Accounts that others hold locked, and that are not loaded therefore.

        outcomes: Earlier outcomes among the batch's transaction ids; the batch's own are added.
    """

    now: int
    rules: Rules = field(default_factory=Rules)
    accounts: dict[AccountKey, Account] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    decided: list[Outcome] = field(default_factory=list)
    changed: dict[AccountKey, Account] = field(default_factory=dict)
    busy: set[AccountKey] = field(default_factory=set)

    def account(self, key: AccountKey) -> Account:
        """Return an account; a never-opened one reads as zero and is not kept."""
        return self.accounts.get(key) or Account(*key)

    def is_open(self, key: AccountKey) -> bool:
        """Tell whether the account was ever opened."""
        return key in self.accounts

    def keep(self, account: Account) -> None:
        """Remember a changed account for writing, opening it if it is new."""
        key = AccountKey(account.user_id, account.currency_code)
        if key not in self.accounts:
            account.created_at = self.now
            self.accounts[key] = account
        self.changed[key] = account
