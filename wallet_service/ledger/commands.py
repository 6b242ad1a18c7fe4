"""
Commands: requested changes after decoding.

A command names its accounts, or a hold or transaction whose immutable parties do. None is the
outside world, or nobody. Nothing changes a command; to have Python forbid it would cost a sixth of
the time it takes to read one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

from wallet_service.ledger.ids import transaction_id

#: The caller of what the service itself does, and of nobody else: no user id begins with "@".
SYSTEM = "@system"


class Kind(StrEnum):
    """What a transaction does, or was asked to do."""

    DEPOSIT = "DEPOSIT"
    WITHDRAWAL = "WITHDRAWAL"
    TRANSFER = "TRANSFER"
    OPEN_ACCOUNT = "OPEN_ACCOUNT"
    HOLD = "HOLD"
    CAPTURE = "CAPTURE"
    VOID = "VOID"
    EXPIRE = "EXPIRE"
    REVERSAL = "REVERSAL"
    UPDATE_ACCOUNT = "UPDATE_ACCOUNT"


#: Kinds that change posted balances: each posted one has its entries.
MOVING_KINDS = frozenset(
    {Kind.DEPOSIT, Kind.WITHDRAWAL, Kind.TRANSFER, Kind.CAPTURE, Kind.REVERSAL}
)


class AccountKey(NamedTuple):
    """Names an account: one user's balance in one currency."""

    user_id: str
    currency_code: str


class Condition(NamedTuple):
    """What must hold on the account a debit is made on; None: nothing. Sums are minor units."""

    available_at_least: int | None = None
    balance_after_at_least: int | None = None
    expected_sequence: int | None = None


class SpendingLimit(NamedTuple):
    """A cap on what leaves an account in a `Window`: a sum in minor units, or a number, or both."""

    window: str
    max_minor: int | None = None
    max_count: int | None = None


#: Arguments as they are recorded: what a request asked beyond its transaction's own columns.
Arguments = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class _Request:
    """
    What every command carries, whatever it asks for.

    `fields` gives the request's own names for what a replay compares. `is_service` tells that the
    caller may act for any user; `validate_only` that nothing shall be written.
    """

    fields: ClassVar[dict[str, str]] = {}

    caller: str
    request_id: str
    description: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    is_service: bool = False
    validate_only: bool = False
    transaction_id: str = field(init=False)

    def __post_init__(self) -> None:
        self.transaction_id = transaction_id(self.caller, self.request_id)

    @property
    def arguments(self) -> Arguments:
        """What was asked beyond the transaction's own columns."""
        return {}


@dataclass(slots=True, kw_only=True)
class Deposit(_Request):
    """Bring money in from outside, opening the account if need be."""

    kind: ClassVar[Kind] = Kind.DEPOSIT
    fields: ClassVar[dict[str, str]] = {"target": "user_id", "money": "amount"}
    target: AccountKey
    amount_minor: int


@dataclass(slots=True, kw_only=True)
class Withdraw(_Request):
    """Take money out: so much, or as `is_up_to` what is there up to so much."""

    kind: ClassVar[Kind] = Kind.WITHDRAWAL
    fields: ClassVar[dict[str, str]] = {"source": "user_id", "money": "amount"}
    source: AccountKey
    amount_minor: int
    is_up_to: bool = False
    condition: Condition | None = None

    @property
    def arguments(self) -> Arguments:
        """What was asked beyond the transaction's own columns."""
        return _conditional(self.condition) | _up_to(self.amount_minor, is_up_to=self.is_up_to)


@dataclass(slots=True, kw_only=True)
class Transfer(_Request):
    """Move money from one user to another: so much, or as `is_up_to` what is there up to that."""

    kind: ClassVar[Kind] = Kind.TRANSFER
    fields: ClassVar[dict[str, str]] = {
        "source": "user_id",
        "target": "to_user_id",
        "money": "amount",
    }
    source: AccountKey
    target: AccountKey
    amount_minor: int
    is_up_to: bool = False
    condition: Condition | None = None

    @property
    def arguments(self) -> Arguments:
        """What was asked beyond the transaction's own columns."""
        return _conditional(self.condition) | _up_to(self.amount_minor, is_up_to=self.is_up_to)


@dataclass(slots=True, kw_only=True)
class OpenAccount(_Request):
    """Open an account at zero."""

    kind: ClassVar[Kind] = Kind.OPEN_ACCOUNT
    fields: ClassVar[dict[str, str]] = {"target": "user_id", "money": "currency_code"}
    target: AccountKey


@dataclass(slots=True, kw_only=True)
class CreateHold(_Request):
    """Reserve money; `expire_after_us` is in microseconds, None: for ever."""

    kind: ClassVar[Kind] = Kind.HOLD
    fields: ClassVar[dict[str, str]] = {
        "source": "user_id",
        "target": "to_user_id",
        "money": "amount",
    }
    source: AccountKey
    target: AccountKey | None
    amount_minor: int
    expire_after_us: int | None = None
    condition: Condition | None = None

    @property
    def arguments(self) -> Arguments:
        """What was asked beyond the transaction's own columns."""
        return _conditional(self.condition) | _given(expire_after=self.expire_after_us)


@dataclass(slots=True, kw_only=True)
class CaptureHold(_Request):
    """
    Take reserved money.

    `amount_minor` None: all that is still reserved. `currency_code` is checked where it was named,
    in the request's `currency_field`.
    `to_user_id` None: to the hold's own target, or else to the outside.
    """

    kind: ClassVar[Kind] = Kind.CAPTURE
    hold_id: str
    amount_minor: int | None = None
    currency_code: str | None = None
    currency_field: str = "amount.currency_code"
    to_user_id: str | None = None
    keep_remainder: bool = False
    condition: Condition | None = None

    @property
    def arguments(self) -> Arguments:
        """What was asked beyond the transaction's own columns."""
        return _conditional(self.condition) | _given(
            hold_id=self.hold_id,
            amount=self.amount_minor,
            to_user_id=self.to_user_id,
            keep_remainder=self.keep_remainder or None,
        )


@dataclass(slots=True, kw_only=True)
class VoidHold(_Request):
    """Release what a hold still reserves."""

    kind: ClassVar[Kind] = Kind.VOID
    hold_id: str

    @property
    def arguments(self) -> Arguments:
        """What was asked beyond the transaction's own columns."""
        return {"hold_id": self.hold_id}


@dataclass(slots=True, kw_only=True)
class ExpireHold(_Request):
    """Release what a hold still reserves, its time being over."""

    kind: ClassVar[Kind] = Kind.EXPIRE
    hold_id: str


@dataclass(slots=True, kw_only=True)
class ReverseTransaction(_Request):
    """
    Give an earlier transaction back.

    `amount_minor` None: all that is left of it. `currency_code` is checked where it was named, in
    the request's `currency_field`.
    """

    kind: ClassVar[Kind] = Kind.REVERSAL
    original_id: str
    amount_minor: int | None = None
    currency_code: str | None = None
    currency_field: str = "amount.currency_code"
    condition: Condition | None = None

    @property
    def arguments(self) -> Arguments:
        """What was asked beyond the transaction's own columns."""
        return _conditional(self.condition) | _given(
            transaction_id=self.original_id, amount=self.amount_minor
        )


@dataclass(slots=True, kw_only=True)
class UpdateAccount(_Request):
    """Change what an account may do; None leaves a thing as it is."""

    kind: ClassVar[Kind] = Kind.UPDATE_ACCOUNT
    fields: ClassVar[dict[str, str]] = {"target": "user_id", "money": "currency_code"}
    target: AccountKey
    min_balance_minor: int | None = None
    state: str | None = None
    limits: tuple["SpendingLimit", ...] | None = None

    @property
    def arguments(self) -> Arguments:
        """What was asked beyond the transaction's own columns."""
        limits = None if self.limits is None else [list(limit) for limit in self.limits]
        return _given(min_balance=self.min_balance_minor, state=self.state, limits=limits)


Command = (
    Deposit
    | Withdraw
    | Transfer
    | OpenAccount
    | CreateHold
    | CaptureHold
    | VoidHold
    | ExpireHold
    | ReverseTransaction
    | UpdateAccount
)
HoldCommand = CaptureHold | VoidHold | ExpireHold


def accounts_of(command: Command) -> list[AccountKey]:
    """Name the accounts a command names itself; a hold's or an original's are found by its id."""
    keys = (getattr(command, "source", None), getattr(command, "target", None))
    return [key for key in keys if key]


def _conditional(condition: Condition | None) -> Arguments:
    return {} if condition is None else {"condition": list(condition)}


def _up_to(amount_minor: int, *, is_up_to: bool) -> Arguments:
    return {"amount_mode": "UP_TO", "amount": amount_minor} if is_up_to else {}


def _given(**arguments: Any) -> Arguments:
    return {name: value for name, value in arguments.items() if value is not None}
