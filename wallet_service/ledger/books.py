"""
The books as one batch sees them: loaded accounts, what was decided before, what is decided now.

Records are tuples in the order of their table's columns, so that storage reads and writes them
whole. Times are microseconds since 1970-01-01 UTC.
"""

import copy
from collections import ChainMap
from collections.abc import Mapping, MutableMapping, Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from wallet_service.ledger.commands import AccountKey, SpendingLimit
from wallet_service.ledger.errors import REFUSALS, Contention, Refusal, Value
from wallet_service.ledger.limits import Outflow

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


class HoldState(StrEnum):
    """What became of a hold."""

    ACTIVE = "ACTIVE"
    CAPTURED = "CAPTURED"
    VOIDED = "VOIDED"
    EXPIRED = "EXPIRED"


class Transaction(NamedTuple):
    """
    The record of one accepted or refused request.

    `arguments` are what was asked beyond the other columns, and for a change of an account its
    settings before and after.
    """

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
    arguments: Mapping[str, Any] = {}

    @property
    def refusal(self) -> Refusal | None:
        """The refusal as it was answered first."""
        if self.refusal_reason is None:
            return None
        return REFUSALS[self.refusal_reason](**self.refusal_values)


class Entry(NamedTuple):
    """One signed line on one account; the outflow is all that was spent until then."""

    user_id: str
    currency_code: str
    sequence: int
    transaction_id: str
    amount_minor: int
    balance_minor: int
    hash: bytes
    created_at: int
    outflow_minor: int = 0
    outflow_count: int = 0


class Hold(NamedTuple):
    """Money reserved on an account. `expires_at` None: never."""

    hold_id: str
    user_id: str
    currency_code: str
    target_user_id: str | None
    amount_minor: int
    captured_minor: int
    state: str
    created_at: int
    updated_at: int
    expires_at: int | None
    description: str
    metadata: Mapping[str, str]

    @property
    def remaining_minor(self) -> int:
        """What it still reserves."""
        return self.amount_minor - self.captured_minor if self.state == HoldState.ACTIVE else 0


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
    outflow_minor: int = 0
    outflow_count: int = 0
    open_holds: int = 0
    limits: tuple[SpendingLimit, ...] = ()
    is_stored: bool = False
    key: AccountKey = field(init=False)

    def __post_init__(self) -> None:
        self.key = AccountKey(self.user_id, self.currency_code)

    @property
    def available_minor(self) -> int:
        """Posted less held."""
        return self.posted_minor - self.held_minor

    @property
    def spendable_minor(self) -> int:
        """What can be spent: available above the minimum."""
        return self.available_minor - self.min_balance_minor


class Outcome(NamedTuple):
    """What was decided, with the entries it made."""

    transaction: Transaction
    entries: tuple[Entry, ...]
    is_replayed: bool
    hold: Hold | None = None

    def entry_of(self, user_id: str | None) -> Entry | None:
        """Return the line on a user's account, if there is one."""
        for entry in self.entries:
            if entry.user_id == user_id:
                return entry
        return None


@dataclass(frozen=True, slots=True)
class Rules:
    """
    The operator's choices that change decisions.

    Args:
        open_on_credit: Whether paying a user opens the account.

        self_deposit: Whether users may deposit to themselves, or services only.
    """

    open_on_credit: bool = False
    self_deposit: bool = True


@dataclass(slots=True)
class Books:
    """
    Everything a batch's decisions read and change.

    Args:
        now: The batch's one time.

        accounts: Open accounts among those the batch names, locked.

        busy: Accounts that others hold locked, and that are not loaded therefore.

        outcomes: Earlier outcomes among the batch's transaction ids, and of the originals it
            reverses; the batch's own are added.

        holds: Those the batch names.

        reversed_minor: How much of each original was given back.

        outflows: What had left limited accounts before the windows of their limits began.
    """

    now: int
    rules: Rules = field(default_factory=Rules)
    accounts: MutableMapping[AccountKey, Account] = field(default_factory=dict)
    busy: AbstractSet[AccountKey] = frozenset()
    outcomes: MutableMapping[str, Outcome] = field(default_factory=dict)
    holds: MutableMapping[str, Hold] = field(default_factory=dict)
    reversed_minor: MutableMapping[str, int] = field(default_factory=dict)
    outflows: Mapping[tuple[AccountKey, SpendingLimit], Outflow] = field(default_factory=dict)
    decided: list[Outcome] = field(default_factory=list)
    changed: dict[AccountKey, Account] = field(default_factory=dict)
    changed_holds: dict[str, Hold] = field(default_factory=dict)
    changed_reversals: dict[str, int] = field(default_factory=dict)
    changed_settings: set[AccountKey] = field(default_factory=set)
    _is_trial: bool = False

    def account(self, key: AccountKey) -> Account:
        """
        Return an account to change; a never-opened one reads as zero and is not kept.

        Raises:
            Contention: Others hold it locked.
        """
        if key in self.busy:
            raise Contention
        if self._is_trial and key not in self.changed and key in self.accounts:
            return copy.copy(self.accounts[key])
        return self.accounts.get(key) or Account(*key)

    def is_open(self, key: AccountKey) -> bool:
        """Tell whether the account was ever opened."""
        return key in self.accounts

    def keep(self, account: Account) -> None:
        """Remember a changed account for writing, opening it if it is new."""
        key = account.key
        if key not in self.accounts:
            account.created_at = account.updated_at
        self.accounts[key] = account
        self.changed[key] = account

    def keep_settings(self, account: Account) -> None:
        """Remember an account whose state, minimum or limits changed."""
        self.keep(account)
        self.changed_settings.add(account.key)

    def keep_hold(self, hold: Hold) -> None:
        """Remember a new or changed hold for writing."""
        self.holds[hold.hold_id] = hold
        self.changed_holds[hold.hold_id] = hold

    def keep_reversed(self, original_id: str, reversed_minor: int) -> None:
        """Remember how much of an original was given back."""
        self.reversed_minor[original_id] = reversed_minor
        self.changed_reversals[original_id] = reversed_minor

    def record(self, outcome: Outcome) -> Outcome:
        """Remember what was decided for writing, and for repetitions within the batch."""
        self.outcomes[outcome.transaction.transaction_id] = outcome
        self.decided.append(outcome)
        return outcome

    def trial(self) -> "Books":
        """Return books that begin as these and can be changed without these changing."""
        return Books(
            now=self.now,
            rules=self.rules,
            accounts=ChainMap({}, self.accounts),
            busy=self.busy,
            outcomes=ChainMap({}, self.outcomes),
            holds=ChainMap({}, self.holds),
            reversed_minor=ChainMap({}, self.reversed_minor),
            outflows=self.outflows,
            _is_trial=True,
        )

    def adopt(self, trial: "Books") -> None:
        """Make everything that a trial decided these books' own."""
        self.accounts.update(trial.changed)
        self.changed.update(trial.changed)
        self.changed_settings |= trial.changed_settings
        for hold in trial.changed_holds.values():
            self.keep_hold(hold)
        for original_id, reversed_minor in trial.changed_reversals.items():
            self.keep_reversed(original_id, reversed_minor)
        for outcome in trial.decided:
            self.record(outcome)
