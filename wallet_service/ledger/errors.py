"""
Every error of the service, each with its values and its public reason.

    WalletError
    ├── Refusal                     the books say no: recorded, bound to the request id
    │   ├── AccountNotFound
    │   ├── AccountClosed
    │   ├── AccountFrozen
    │   ├── HoldNotFound
    │   ├── OriginalNotFound
    │   ├── HoldNotActive
    │   ├── HoldExpired
    │   ├── CaptureExceedsHold
    │   ├── ReversalExceedsOriginal
    │   ├── NotReversible
    │   ├── ConditionFailed
    │   ├── LimitExceeded
    │   ├── InsufficientFunds
    │   ├── BalanceLimit
    │   ├── AccountNotEmpty
    │   └── BatchRefused
    ├── RequestIdReused             of a batch: `atomic.UsedApart`
    ├── InvalidRequest              the request cannot be meant
    │   ├── ValidationFailed
    │   ├── CurrencyUnsupported
    │   ├── PageTokenInvalid
    │   └── SameAccount
    ├── TransactionNotFound
    ├── Unauthenticated             who is calling?
    │   ├── TokenMissing
    │   ├── TokenInvalid
    │   └── TokenExpired
    ├── PermissionDenied            the caller may not
    │   ├── ScopeMissing
    │   └── NotAllowed
    ├── Contention                  rolled back for certain
    ├── Overloaded
    │   └── TooManyStreams
    ├── Unavailable
    │   ├── DatabaseUnavailable     nothing was written
    │   ├── KeysUnavailable
    │   ├── ShuttingDown
    │   └── OutcomeUnknown          written or not: the same request id tells
    ├── DeadlineExceeded
    ├── LedgerCorrupt
    ├── InternalError
    └── HoldNotDue                  the sweeper's own

`reason` is a name of `wallet.v1.ErrorReason` without its prefix. `values` become the metadata of
`google.rpc.ErrorInfo`; sums in them are minor units. Which status each becomes stands in
`transport/status.py`.
"""

from typing import ClassVar, NamedTuple

Value = int | str


class WalletError(Exception):
    """A failure with a public reason; its message states its values."""

    reason: ClassVar[str]
    template: ClassVar[str]

    def __init__(self, **values: Value) -> None:
        super().__init__(self.template.format(**values))
        self.values: dict[str, Value] = values


class Refusal(WalletError):
    """A definite "no" that depends on the books' state."""


class AccountNotFound(Refusal):
    reason = "ACCOUNT_NOT_FOUND"
    template = "account {user_id}/{currency_code} was never opened"


class AccountClosed(Refusal):
    reason = "ACCOUNT_CLOSED"
    template = "account {user_id}/{currency_code} is closed"


class AccountFrozen(Refusal):
    reason = "ACCOUNT_FROZEN"
    template = "account {user_id}/{currency_code} is {state}"


class InsufficientFunds(Refusal):
    reason = "INSUFFICIENT_FUNDS"
    template = (
        "account {user_id}/{currency_code}:"
        " {available} available, {required} required, {shortfall} short"
    )


class BalanceLimit(Refusal):
    reason = "BALANCE_LIMIT"
    template = "account {user_id}/{currency_code} cannot count beyond {balance_max}"


class HoldNotFound(Refusal):
    reason = "HOLD_NOT_FOUND"
    template = "no such hold"


class OriginalNotFound(Refusal):
    reason = "TRANSACTION_NOT_FOUND"
    template = "no such transaction"


class HoldNotActive(Refusal):
    reason = "HOLD_NOT_ACTIVE"
    template = "hold {hold_id} is {state}"


class HoldExpired(Refusal):
    reason = "HOLD_EXPIRED"
    template = "hold {hold_id} has expired"


class CaptureExceedsHold(Refusal):
    reason = "CAPTURE_EXCEEDS_HOLD"
    template = "hold {hold_id}: {remaining} still reserved, {required} required"


class ReversalExceedsOriginal(Refusal):
    reason = "REVERSAL_EXCEEDS_ORIGINAL"
    template = "transaction {original_id}: {remaining} left to give back, {required} required"


class NotReversible(Refusal):
    reason = "NOT_REVERSIBLE"
    template = "transaction {original_id} is a {state} {kind}, which cannot be given back"


class ConditionFailed(Refusal):
    reason = "CONDITION_FAILED"
    template = "condition {condition}: {actual}, required {required}"


class LimitExceeded(Refusal):
    reason = "LIMIT_EXCEEDED"
    template = (
        "account {user_id}/{currency_code}, {window} limit of {limit} ({limited}):"
        " {remaining} left, {required} required"
    )


class AccountNotEmpty(Refusal):
    reason = "ACCOUNT_NOT_EMPTY"
    template = "account {user_id}/{currency_code} has money or holds"


class BatchRefused(Refusal):
    reason = "BATCH_REFUSED"
    template = "operation {failed_index} of the atomic batch was refused: {failed_reason}"


class RequestIdReused(WalletError):
    reason = "REQUEST_ID_REUSED"
    template = "this request_id was used before with another {fields}"


class InvalidRequest(WalletError):
    """The request itself is wrong, whatever the books say."""


class Violation(NamedTuple):
    """One wrong field: its path in the request, and what is wrong with it."""

    field: str
    description: str


class ValidationFailed(InvalidRequest):
    reason = "VALIDATION_FAILED"
    template = "{summary}"

    def __init__(self, violations: list[Violation]) -> None:
        super().__init__(summary="; ".join(f"{field}: {text}" for field, text in violations))
        self.values = {"fields": ",".join(dict.fromkeys(field for field, _ in violations))}
        self.violations = violations


class CurrencyUnsupported(InvalidRequest):
    reason = "CURRENCY_UNSUPPORTED"
    template = "{field}: {currency_code!r} is not a current ISO 4217 currency code"


class PageTokenInvalid(InvalidRequest):
    reason = "PAGE_TOKEN_INVALID"
    template = "{field}: damaged, or from a listing with other parameters"


class SameAccount(InvalidRequest):
    reason = "SAME_ACCOUNT"
    template = "{field}: source and target are the same account"


class TransactionNotFound(WalletError):
    reason = "TRANSACTION_NOT_FOUND"
    template = "no such transaction"


class Unauthenticated(WalletError):
    """The call carries no token this service accepts."""


class TokenMissing(Unauthenticated):
    reason = "TOKEN_MISSING"
    template = "metadata 'authorization: Bearer <JWT>' is missing"


class TokenInvalid(Unauthenticated):
    reason = "TOKEN_INVALID"
    template = "the token is not valid here"


class TokenExpired(Unauthenticated):
    reason = "TOKEN_EXPIRED"
    template = "the token has expired"


class PermissionDenied(WalletError):
    """The caller is known, and may not."""


class ScopeMissing(PermissionDenied):
    reason = "SCOPE_MISSING"
    template = "this needs a token with scope {scope}"


class NotAllowed(PermissionDenied):
    reason = "NOT_ALLOWED"
    template = "{why}"


class Contention(WalletError):
    reason = "CONTENTION"
    template = "rolled back, others kept the accounts busy: retry with the same request_id"


class Overloaded(WalletError):
    reason = "OVERLOADED"
    template = "too many requests under way: retry later with the same request_id"


class TooManyStreams(Overloaded):
    reason = "TOO_MANY_STREAMS"
    template = "too many open streams"


class HoldNotDue(WalletError):
    """The sweeper's own: a hold to expire is not due, or no longer active. Nobody else asks."""

    reason = "HOLD_NOT_ACTIVE"
    template = "hold {hold_id} is not to be expired"


class Unavailable(WalletError):
    """Not now; the same request may be sent again."""


class DatabaseUnavailable(Unavailable):
    reason = "DATABASE_UNAVAILABLE"
    template = "the database does not answer, nothing was written: retry with the same request_id"


class KeysUnavailable(Unavailable):
    reason = "KEYS_UNAVAILABLE"
    template = "the keys to check tokens with cannot be read: retry with the same request_id"


class ShuttingDown(Unavailable):
    reason = "SHUTTING_DOWN"
    template = "this server is stopping: retry with the same request_id"


class OutcomeUnknown(Unavailable):
    reason = "OUTCOME_UNKNOWN"
    template = "written or not, it could not be learned: retry with the same request_id"


class DeadlineExceeded(WalletError):
    reason = "DEADLINE_EXCEEDED"
    template = "the deadline passed first: retry with the same request_id to learn the outcome"


class LedgerCorrupt(WalletError):
    reason = "LEDGER_CORRUPT"
    template = "{row}: {problem}"


class InternalError(WalletError):
    reason = "INTERNAL"
    template = "internal error, incident {incident_id}"


REFUSALS: dict[str, type[Refusal]] = {kind.reason: kind for kind in Refusal.__subclasses__()}
