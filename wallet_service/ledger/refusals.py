"""
The checks that can refuse a command, each one answer or None.

Clients rely on their order: hold or original exists; account exists, closed, frozen; hold is open;
amounts against hold or original, nothing there for an amount "up to"; condition; limits; available
funds; balance cap. The first that applies is the answer.
"""

from wallet_service.ledger.books import Account, AccountState, Books, Hold, HoldState
from wallet_service.ledger.commands import AccountKey, Condition
from wallet_service.ledger.errors import (
    AccountClosed,
    AccountFrozen,
    AccountNotFound,
    BalanceLimit,
    CaptureExceedsHold,
    ConditionFailed,
    HoldExpired,
    HoldNotActive,
    InsufficientFunds,
    LimitExceeded,
    Refusal,
)
from wallet_service.ledger.limits import Outflow, Window, window_reset
from wallet_service.ledger.money import BALANCE_MINOR_MAX

_STATES_WITHOUT_DEBITS = frozenset({AccountState.NO_DEBITS, AccountState.FROZEN})
_STATES_WITHOUT_CREDITS = frozenset({AccountState.NO_CREDITS, AccountState.FROZEN})


def account_missing(books: Books, key: AccountKey) -> Refusal | None:
    """Refuse to pay an account nobody opened: a typo must not swallow money."""
    if books.is_open(key) or books.rules.open_on_credit:
        return None
    return AccountNotFound(**key._asdict())


def account_closed(account: Account) -> Refusal | None:
    """Refuse to move money on a closed account."""
    if account.state != AccountState.CLOSED:
        return None
    return AccountClosed(user_id=account.user_id, currency_code=account.currency_code)


def debit_blocked(account: Account) -> Refusal | None:
    """Refuse to take money from an account whose state forbids it."""
    return _frozen(account) if account.state in _STATES_WITHOUT_DEBITS else None


def credit_blocked(account: Account) -> Refusal | None:
    """Refuse to bring money to an account whose state forbids it."""
    return _frozen(account) if account.state in _STATES_WITHOUT_CREDITS else None


def hold_over(books: Books, hold: Hold) -> Refusal | None:
    """Refuse to use a hold that was resolved, or whose time is over though nobody swept it yet."""
    if hold.state == HoldState.EXPIRED or (hold.state == HoldState.ACTIVE and is_due(books, hold)):
        return HoldExpired(hold_id=hold.hold_id)
    if hold.state != HoldState.ACTIVE:
        return HoldNotActive(hold_id=hold.hold_id, state=hold.state)
    return None


def is_due(books: Books, hold: Hold) -> bool:
    """Tell whether a hold's time is over."""
    return hold.expires_at is not None and hold.expires_at <= books.now


def capture_exceeds(hold: Hold, amount_minor: int) -> Refusal | None:
    """Refuse to take more than a hold still reserves."""
    if amount_minor <= hold.remaining_minor:
        return None
    return CaptureExceedsHold(
        hold_id=hold.hold_id, remaining=hold.remaining_minor, required=amount_minor
    )


def spending_refused(
    books: Books, account: Account, amount_minor: int, condition: Condition | None
) -> Refusal | None:
    """Refuse to spend or reserve against a condition, a limit or what is there, in this order."""
    available_after_minor = account.available_minor - amount_minor
    return (
        condition_failed(account, condition, available_after_minor=available_after_minor)
        or limit_exceeded(books, account, amount_minor)
        or funds_short(account, amount_minor)
    )


def condition_failed(
    account: Account, condition: Condition | None, *, available_after_minor: int
) -> Refusal | None:
    """Refuse a debit whose own condition does not hold on the account it is made on."""
    if condition is None:
        return None
    floors = (
        ("available_at_least", account.available_minor, condition.available_at_least),
        ("balance_after_at_least", available_after_minor, condition.balance_after_at_least),
    )
    for name, actual, required in floors:
        if required is not None and actual < required:
            return ConditionFailed(condition=name, actual=actual, required=required)
    expected = condition.expected_sequence
    if expected is not None and account.sequence != expected:
        return ConditionFailed(
            condition="expected_sequence", actual=account.sequence, required=expected
        )
    return None


def limit_exceeded(books: Books, account: Account, amount_minor: int) -> Refusal | None:
    """Refuse to spend more, or more often, than an account's limits leave room for."""
    for limit in account.limits:
        before = books.outflows.get((account.key, limit), Outflow())
        if limit.window == Window.TRANSACTION:
            spent_minor = spent_count = reserved_minor = reserved_count = 0
        else:
            reserved_minor, reserved_count = account.held_minor, account.open_holds
            spent_minor = account.outflow_minor - before.minor + reserved_minor
            spent_count = account.outflow_count - before.debits + reserved_count
        sums = (limit.max_minor, spent_minor, reserved_minor, amount_minor, before.freeing_sum_at)
        counts = (limit.max_count, spent_count, reserved_count, 1, before.freeing_count_at)
        for limited, measure in (("amount", sums), ("count", counts)):
            maximum, spent, reserved, required, freeing_at = measure
            if maximum is not None and spent + required > maximum:
                return LimitExceeded(
                    user_id=account.user_id,
                    currency_code=account.currency_code,
                    window=limit.window,
                    limited=limited,
                    limit=maximum,
                    remaining=max(0, maximum - spent),
                    required=required,
                    reset_time=_reset_time(books, account, limit.window, freeing_at)
                    if reserved + required <= maximum  # else no waiting helps
                    else "",
                )
    return None


def _reset_time(books: Books, account: Account, window: str, freeing_at: int | None) -> str:
    """Tell when room begins to come back: what frees it is in this batch if it is not stored."""
    return window_reset(window, books.now, account.updated_at if freeing_at is None else freeing_at)


def funds_short(account: Account, amount_minor: int) -> Refusal | None:
    """Refuse to spend more than is available above the account's minimum."""
    shortfall = amount_minor - account.spendable_minor
    if shortfall <= 0:
        return None
    return InsufficientFunds(
        user_id=account.user_id,
        currency_code=account.currency_code,
        available=account.available_minor,
        required=amount_minor,
        shortfall=shortfall,
    )


def spending_overflow(account: Account, amount_minor: int) -> Refusal | None:
    """
    Refuse to spend or reserve more, in all of an account's time, than can be counted.

    What is held counts already: to take it is never refused for that.
    """
    return _above_limit(account, account.outflow_minor + account.held_minor + amount_minor)


def balance_overflow(account: Account, amount_minor: int) -> Refusal | None:
    """Refuse to bring an account above what can be stored."""
    return _above_limit(account, account.posted_minor + amount_minor)


def _above_limit(account: Account, figure_minor: int) -> Refusal | None:
    if figure_minor <= BALANCE_MINOR_MAX:
        return None
    return BalanceLimit(
        user_id=account.user_id,
        currency_code=account.currency_code,
        balance_max=BALANCE_MINOR_MAX,
    )


def _frozen(account: Account) -> AccountFrozen:
    return AccountFrozen(
        user_id=account.user_id, currency_code=account.currency_code, state=account.state
    )
