"""
Random histories of all that moves or reserves money, judged by a model that shares no code.

After every step the ledger's answers must be the model's, and the books must prove.
"""

from typing import Any

from harness.commands import (
    CALLER,
    capture_hold,
    create_hold,
    deposit,
    expire_hold,
    open_account,
    reverse,
    transfer,
    update_account,
    void_hold,
    withdraw,
)
from harness.ledger_model import Ask, Model, ask_of, hash_of_line
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from wallet_service.ledger.atomic import decide_atomic
from wallet_service.ledger.books import Books, Outcome
from wallet_service.ledger.commands import Command
from wallet_service.ledger.decide import decide
from wallet_service.ledger.errors import RequestIdReused, WalletError
from wallet_service.ledger.ids import transaction_id

NAMES = ["ann", "ben", "cy"]
SIDES = [(a, b) for a in [None, *NAMES] for b in [None, *NAMES] if a != b]
USERS = st.sampled_from(NAMES)
TARGETS = st.sampled_from([None, *NAMES])
AMOUNTS = st.integers(1, 60)
PARTS = st.one_of(st.none(), st.integers(1, 60))
PATIENCE = st.sampled_from([None, None, 1, 50])
STATES = st.sampled_from(
    ["ACTIVE", "ACTIVE", "ACTIVE", "NO_DEBITS", "NO_CREDITS", "FROZEN", "CLOSED"]
)

Request = tuple[Command, Ask]
Draw = st.DrawFn


def ledger_id(name: str) -> str:
    """Return the ledger's id of what the model knows by its request id."""
    return transaction_id(CALLER, name)


@st.composite
def movements(draw: Draw, name: str) -> Request:
    """Ask for money to come in, go out, or move."""
    giver, taker = draw(st.sampled_from(SIDES))
    amount = draw(AMOUNTS)
    ask = ask_of("pay", name, giver=giver, taker=taker, amount=amount)
    if not giver:
        return deposit(name, taker, amount), ask
    if not taker:
        return withdraw(name, giver, amount), ask
    return transfer(name, (giver, taker), amount), ask


@st.composite
def reservations(draw: Draw, name: str) -> Request:
    """Ask for a hold."""
    giver, taker = draw(st.sampled_from(SIDES).filter(lambda side: side[0]))
    amount, patience = draw(AMOUNTS), draw(PATIENCE)
    ask = ask_of("reserve", name, giver=giver, taker=taker, amount=amount, patience=patience)
    return create_hold(name, giver, amount, target=taker, expire_after_us=patience), ask


@st.composite
def resolutions(draw: Draw, name: str, holds: list[str]) -> Request:
    """Ask for a hold to be captured, voided or expired."""
    hold = draw(st.sampled_from([*holds, *holds, "never made"]))
    words: dict[str, Any] = {"is_service": True}
    match draw(st.sampled_from(["take", "take", "release", "run_out"])):
        case "take":
            amount, to, keep = draw(PARTS), draw(TARGETS), draw(st.booleans())
            ask = ask_of("take", name, hold=hold, amount=amount, to=to, keep=keep)
            words |= {"to_user_id": to, "keep_remainder": keep}
            return capture_hold(name, ledger_id(hold), amount, **words), ask
        case "release":
            return void_hold(name, ledger_id(hold), **words), ask_of("release", name, hold=hold)
        case _:
            return expire_hold(ledger_id(hold)), ask_of("run_out", f"expire {hold}", hold=hold)


@st.composite
def reversals(draw: Draw, name: str, originals: list[str]) -> Request:
    """Ask for something earlier to be given back."""
    original, amount = draw(st.sampled_from([*originals, "never made"])), draw(PARTS)
    ask = ask_of("give_back", name, original=original, amount=amount)
    return reverse(name, ledger_id(original), amount, is_service=True), ask


@st.composite
def changes(draw: Draw, name: str) -> Request:
    """Ask for an account to be opened or changed."""
    user = draw(USERS)
    if draw(st.booleans()):
        return open_account(name, user), ask_of("set_up", name, user=user)
    floor = draw(st.one_of(st.none(), st.integers(-40, 10)))
    state = draw(st.one_of(st.none(), STATES))
    ask = ask_of("change", name, user=user, floor=floor, state=state)
    return update_account(name, user, min_balance_minor=floor, state=state), ask


class Ledger(RuleBasedStateMachine):
    """Asks the ledger and the model the same."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.books = Books(now=0)
        self.count = 0
        self.holds: list[str] = []
        self.originals: list[str] = []
        self.singles: list[Request] = []
        self.batches: list[list[Request]] = []
        self.first: dict[str, Outcome] = {}

    @initialize()
    def everybody_has_money(self) -> None:
        """Begin where most requests can be carried out: nearly all would be refused."""
        for user in NAMES:
            name, hold = f"salary of {user}", f"deposit of {user}"
            paid = ask_of("pay", name, giver=None, taker=user, amount=100)
            kept = ask_of("reserve", hold, giver=user, taker=None, amount=20, patience=30)
            self.ask_one((deposit(name, user, 100), paid))
            self.ask_one((create_hold(hold, user, 20, expire_after_us=30), kept))
            self.holds.append(hold)
            self.originals.append(name)

    def request(self, data: st.DataObject) -> Request:
        """Draw a new request of any kind."""
        self.count += 1
        name = f"request {self.count}"
        kinds = [
            movements(name),
            movements(name),
            reservations(name),
            resolutions(name, self.holds),
            resolutions(name, self.holds),
            reversals(name, self.originals),
            changes(name),
        ]
        command, ask = data.draw(st.sampled_from(kinds).flatmap(lambda kind: kind))
        self.originals.append(name)
        self.holds += [name] if ask["do"] == "reserve" else []
        return command, ask

    def same(self, outcome: Outcome) -> str:
        """Return an answer of the ledger, which is the first one if it is repeated."""
        outcome = outcome._replace(hold=None)  # a repeat shows the hold as it has become
        first = self.first.setdefault(outcome.transaction.transaction_id, outcome)
        assert first._replace(is_replayed=outcome.is_replayed) == outcome
        return outcome.transaction.refusal_reason or "POSTED"

    def ask_one(self, request: Request) -> None:
        """Compare the answers to a request."""
        expected = self.model.answer(request[1])
        try:
            answer = self.same(decide(self.books, request[0]))
        except WalletError as error:
            answer = error.reason if isinstance(error, RequestIdReused) else "raised"
        assert answer == expected

    def ask_together(self, requests: list[Request]) -> None:
        """Compare the answers to requests of which all are carried out or none."""
        expected = self.model.together([ask for _, ask in requests])
        try:
            outcomes = decide_atomic(self.books, [command for command, _ in requests])
            answers = [self.same(outcome) for outcome in outcomes]
        except WalletError as error:
            answer = error.reason if isinstance(error, RequestIdReused) else "raised"
            answers = [answer] * len(requests)
        assert answers == expected

    @rule(step=st.integers(-20, 40))
    def time_passes(self, step: int) -> None:
        before = self.books
        self.model.now = max(0, self.model.now + step)
        self.books = Books(
            self.model.now,
            accounts=before.accounts,
            outcomes=before.outcomes,
            holds=before.holds,
            reversed_minor=before.reversed_minor,
        )

    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        self.singles.append(self.request(data))
        self.ask_one(self.singles[-1])

    @rule(data=st.data(), size=st.integers(1, 5))
    def ask_all_or_nothing(self, data: st.DataObject, size: int) -> None:
        requests = [self.request(data) for _ in range(size)]
        if len({ask["id"] for _, ask in requests}) == size:
            self.batches.append(requests)
            self.ask_together(requests)

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        if self.singles:
            self.ask_one(data.draw(st.sampled_from(self.singles)))
        if self.batches:
            again = data.draw(st.sampled_from(self.batches))
            self.ask_together(again)
            another = self.request(data)
            if another[1]["id"] not in {ask["id"] for _, ask in again}:
                self.ask_together([*again, another])

    @rule(data=st.data())
    def reuse(self, data: st.DataObject) -> None:
        if self.originals:
            self.ask_one(data.draw(movements(data.draw(st.sampled_from(self.originals)))))

    @invariant()
    def balances_and_holds_are_the_models(self) -> None:
        accounts = {key.user_id: account for key, account in self.books.accounts.items()}
        states = {ledger_id(name): hold for name, hold in self.model.holds.items()}

        assert {user: one.posted_minor for user, one in accounts.items()} == self.model.posted
        assert {
            name: (hold.state, hold.remaining_minor) for name, hold in self.books.holds.items()
        } == {name: (hold["state"], hold["left"]) for name, hold in states.items()}
        for user, account in accounts.items():
            own = [hold for hold in states.values() if hold["giver"] == user]
            is_open = [hold for hold in own if hold["state"] == "ACTIVE"]
            assert (account.held_minor, account.open_holds) == (
                self.model.reserved(user),
                len(is_open),
            )
            assert account.available_minor >= account.min_balance_minor
            assert (account.outflow_minor, account.outflow_count) == self.model.spent(user)
            assert account.state == self.model.state.get(user, "ACTIVE")

    @invariant()
    def no_original_is_given_back_beyond_itself(self) -> None:
        for name, reversed_minor in self.books.reversed_minor.items():
            assert 0 < reversed_minor <= self.first[name].transaction.amount_minor

    @invariant()
    def every_line_proves(self) -> None:
        heads: dict[str, tuple[int, int, bytes, int]] = {}
        lines = [(line, outcome) for outcome in self.first.values() for line in outcome.entries]
        for line, outcome in sorted(lines, key=lambda pair: (pair[0].user_id, pair[0].sequence)):
            last, balance, head, time = heads.get(line.user_id, (0, 0, bytes(32), 0))
            head = hash_of_line(head, outcome, line)
            balance += line.amount_minor
            assert (line.sequence, line.balance_minor, line.hash) == (last + 1, balance, head)
            assert line.created_at >= time
            heads[line.user_id] = (line.sequence, balance, head, line.created_at)
        for key, account in self.books.accounts.items():
            last, balance, head, _ = heads.get(key.user_id, (0, 0, bytes(32), 0))
            assert (account.sequence, account.posted_minor, account.head_hash) == (
                last,
                balance,
                head,
            )
            assert account.sequence == self.model.lines.get(key.user_id, 0)


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
