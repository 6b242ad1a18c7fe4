"""
Decide holds: money reserved, then captured, voided or expired.

Everything about the available balance is checked when a hold is made, so a capture can never
overdraw.
"""

from wallet_service.ledger.books import EXTERNAL, Account, Books, Hold, HoldState, Outcome
from wallet_service.ledger.commands import (
    SYSTEM,
    AccountKey,
    CaptureHold,
    CreateHold,
    ExpireHold,
    HoldCommand,
    VoidHold,
)
from wallet_service.ledger.errors import (
    HoldNotDue,
    HoldNotFound,
    NotAllowed,
    SameAccount,
    ValidationFailed,
    Violation,
)
from wallet_service.ledger.post import NOTHING, Movement, note, post, refuse
from wallet_service.ledger.refusals import (
    account_closed,
    account_missing,
    balance_overflow,
    capture_exceeds,
    condition_failed,
    credit_blocked,
    debit_blocked,
    hold_over,
    is_due,
    spending_overflow,
    spending_refused,
)


def decide_create_hold(books: Books, command: CreateHold) -> Outcome:
    """Reserve money; the hold's id is its transaction's."""
    source = books.account(command.source)
    target = books.account(command.target) if command.target else None
    amount_minor = command.amount_minor
    hold = Hold(
        hold_id=command.transaction_id,
        user_id=source.user_id,
        currency_code=source.currency_code,
        target_user_id=target.user_id if target else None,
        amount_minor=amount_minor,
        captured_minor=0,
        state=HoldState.ACTIVE,
        created_at=books.now,
        updated_at=books.now,
        expires_at=command.expire_after_us and books.now + command.expire_after_us,
        description=command.description,
        metadata=command.metadata,
    )
    movement = Movement(source.user_id, hold.target_user_id, source.currency_code, amount_minor)
    refusal = (
        (account_missing(books, command.target) if command.target else None)
        or account_closed(source)
        or (account_closed(target) if target else None)
        or debit_blocked(source)
        or (credit_blocked(target) if target else None)
        or spending_refused(books, source, amount_minor, command.condition)
        or spending_overflow(source, amount_minor)
    )
    if refusal:
        return refuse(books, command, movement, refusal)
    # Past this line the hold must succeed.
    source.held_minor += amount_minor
    source.open_holds += 1
    books.keep(source)
    books.keep_hold(hold)
    return note(books, command, movement._replace(hold_id=hold.hold_id), hold=hold)


def decide_capture_hold(books: Books, command: CaptureHold) -> Outcome:
    """Take reserved money, all or a part; release the rest unless it shall be kept."""
    hold = _visible_hold(books, command)
    if hold is None:
        return refuse(books, command, NOTHING, HoldNotFound())
    _check_capture(hold, command)
    source = books.account(AccountKey(hold.user_id, hold.currency_code))
    target_key = capture_target(hold, command.to_user_id)
    target = books.account(target_key) if target_key else None
    movement = _capture_of(hold, command)
    amount_minor = movement.amount_minor
    remaining_minor = hold.remaining_minor - amount_minor if command.keep_remainder else 0
    available_after_minor = (
        source.available_minor + hold.remaining_minor - amount_minor - remaining_minor
    )
    refusal = (
        (account_missing(books, target_key) if target_key else None)
        or account_closed(source)
        or (account_closed(target) if target else None)
        or debit_blocked(source)
        or (credit_blocked(target) if target else None)
        or hold_over(books, hold)
        or capture_exceeds(hold, amount_minor)
        or condition_failed(source, command.condition, available_after_minor=available_after_minor)
        or (balance_overflow(target, amount_minor) if target else None)
    )
    if refusal:
        return refuse(books, command, movement, refusal)
    # Past this line the capture must succeed.
    outcome = post(books, command, movement, debit=source, credit=target)
    captured = _resolve(
        books,
        source,
        hold._replace(captured_minor=hold.captured_minor + amount_minor),
        state=HoldState.ACTIVE if remaining_minor else HoldState.CAPTURED,
        released_minor=hold.remaining_minor - remaining_minor,
        at=outcome.transaction.created_at,
    )
    return outcome._replace(hold=captured)


def decide_void_hold(books: Books, command: VoidHold) -> Outcome:
    """Release what a hold still reserves, on a frozen account too."""
    hold = _visible_hold(books, command)
    if hold is None:
        return refuse(books, command, NOTHING, HoldNotFound())
    refusal = hold_over(books, hold)
    if refusal:
        return refuse(books, command, _release_of(hold), refusal)
    # Past this line the release must succeed.
    return _release(books, command, hold, HoldState.VOIDED)


def decide_expire_hold(books: Books, command: ExpireHold) -> Outcome:
    """
    Release what a hold still reserves because its time is over.

    Raises:
        HoldNotDue: It is not, or somebody resolved the hold before. Nothing is recorded, so that a
            server whose clock is ahead spoils nothing.
    """
    hold = books.holds.get(command.hold_id)
    if hold is None or hold.state != HoldState.ACTIVE or not is_due(books, hold):
        raise HoldNotDue(hold_id=command.hold_id)
    return _release(books, command, hold, HoldState.EXPIRED)


def hold_movement(books: Books, command: HoldCommand) -> Movement:
    """Tell what a command that was not decided is about; nothing where its caller may not know."""
    hold = _find_hold(books, command)
    if hold is None:
        return NOTHING
    if not isinstance(command, CaptureHold):
        return _release_of(hold)
    # What contradicts the hold has no parties or currency that could be recorded as one.
    if command.to_user_id == hold.user_id or command.currency_code not in {
        None,
        hold.currency_code,
    }:
        return NOTHING
    return _capture_of(hold, command)


def capture_target(hold: Hold, to_user_id: str | None) -> AccountKey | None:
    """Name the account a capture pays: the hold's own target, or the one given; None: outside."""
    user_id = hold.target_user_id or to_user_id
    return AccountKey(user_id, hold.currency_code) if user_id else None


def _visible_hold(books: Books, command: HoldCommand) -> Hold | None:
    """
    Find a hold that its caller may resolve; one of strangers is as missing.

    Raises:
        NotAllowed: The payer gave consent by making it, and cannot take it back.
    """
    hold = _find_hold(books, command)
    if hold is None or command.is_service or command.caller == SYSTEM:
        return hold
    if command.caller != (hold.target_user_id or hold.user_id):
        raise NotAllowed(why="a hold that names its target is captured or voided by that user")
    return hold


def _find_hold(books: Books, command: HoldCommand) -> Hold | None:
    """Find a hold that its caller may know of."""
    hold = books.holds.get(command.hold_id)
    if hold is None or command.is_service:
        return hold
    return hold if command.caller in {SYSTEM, hold.user_id, hold.target_user_id} else None


def _check_capture(hold: Hold, command: CaptureHold) -> None:
    """Raise for a capture that contradicts its hold in itself."""
    if hold.target_user_id and command.to_user_id not in {None, hold.target_user_id}:
        raise NotAllowed(why="the hold names another target")
    if command.condition and not command.is_service and command.caller != hold.user_id:
        # Its answers would tell the one who is paid how much the payer has.
        raise NotAllowed(why="a condition is set by the payer, or a service")
    if command.to_user_id == hold.user_id:
        raise SameAccount(field="to_user_id")
    if command.currency_code not in {None, hold.currency_code}:
        text = f"the hold is in {hold.currency_code}"
        raise ValidationFailed([Violation(command.currency_field, text)])


def _release(books: Books, command: VoidHold | ExpireHold, hold: Hold, state: HoldState) -> Outcome:
    source = books.account(AccountKey(hold.user_id, hold.currency_code))
    movement = _release_of(hold)
    released = _resolve(
        books, source, hold, state=state, released_minor=hold.remaining_minor, at=books.now
    )
    books.keep(source)
    return note(books, command, movement, hold=released)


def _capture_of(hold: Hold, command: CaptureHold) -> Movement:
    target = capture_target(hold, command.to_user_id)
    return Movement(
        source_user_id=hold.user_id,
        target_user_id=target.user_id if target else EXTERNAL,
        currency_code=hold.currency_code,
        amount_minor=hold.remaining_minor if command.amount_minor is None else command.amount_minor,
        hold_id=hold.hold_id,
    )


def _release_of(hold: Hold) -> Movement:
    return Movement(
        source_user_id=hold.user_id,
        target_user_id=hold.target_user_id,
        currency_code=hold.currency_code,
        amount_minor=hold.remaining_minor,
        hold_id=hold.hold_id,
    )


def _resolve(
    books: Books, source: Account, hold: Hold, *, state: HoldState, released_minor: int, at: int
) -> Hold:
    """Give up some of what a hold reserves at its transaction's time; the account is not kept."""
    source.held_minor -= released_minor
    if state != HoldState.ACTIVE:
        source.open_holds -= 1
    resolved = hold._replace(state=state, updated_at=at)
    books.keep_hold(resolved)
    return resolved
