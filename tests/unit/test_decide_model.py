"""
Random histories, judged by a model that shares no code with the ledger.

The model is a few dictionaries. After every step the ledger's answer must be the model's, and the
books must prove.
"""

from typing import Any

from harness.commands import deposit, open_account, transfer, withdraw
from harness.ledger_model import hash_of_line
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from wallet_service.ledger.books import Books, Outcome, Rules
from wallet_service.ledger.commands import AccountKey, Command
from wallet_service.ledger.decide import decide
from wallet_service.ledger.errors import RequestIdReused

CAP = 9 * 10**18
USERS = st.sampled_from(["ann", "ben", "cy"])
PAIRS = st.sampled_from([(a, b) for a in ("ann", "ben", "cy") for b in ("ann", "ben", "cy")])
CURRENCIES = st.sampled_from(["RUB", "JPY"])
AMOUNTS = st.one_of(st.integers(1, 60), st.sampled_from([10**15, 10**15 - 1]))
STATES = ["ACTIVE", "ACTIVE", "ACTIVE", "NO_DEBITS", "NO_CREDITS", "FROZEN", "CLOSED"]

Name = tuple[str, str]


class Model:
    """What should be true, in dictionaries."""

    def __init__(self, *, opens_on_credit: bool) -> None:
        self.opens_on_credit = opens_on_credit
        self.posted: dict[Name, int] = {}
        self.held: dict[Name, int] = {}
        self.floor: dict[Name, int] = {}
        self.state: dict[Name, str] = {}
        self.lines: dict[Name, int] = {}
        self.answers: dict[str, tuple[object, str]] = {}
        self.brought_in = 0

    def ask(
        self, request_id: str, content: object, *, giver: Name | None, taker: Name | None, sum_: int
    ) -> tuple[str, bool]:
        """Answer "POSTED" or why not, and whether it was answered before."""
        if request_id in self.answers:
            known, answer = self.answers[request_id]
            return (answer, True) if known == content else ("REQUEST_ID_REUSED", False)
        answer = self.refusal(giver, taker, sum_) or "POSTED"
        self.answers[request_id] = (content, answer)
        if answer == "POSTED":
            self.move(giver, taker, sum_)
        return answer, False

    def refusal(self, giver: Name | None, taker: Name | None, sum_: int) -> str | None:
        """Say why not, if not: the first that is true, in the documented order."""
        states = [self.state.get(name) for name in (giver, taker) if name]
        moves = sum_ > 0
        checks = {
            "ACCOUNT_NOT_FOUND": giver
            and taker
            and taker not in self.posted
            and not self.opens_on_credit,
            "ACCOUNT_CLOSED": "CLOSED" in states,
            "ACCOUNT_FROZEN": moves
            and (
                (giver and self.state.get(giver) in ("NO_DEBITS", "FROZEN"))
                or (taker and self.state.get(taker) in ("NO_CREDITS", "FROZEN"))
            ),
            "INSUFFICIENT_FUNDS": giver and self.spendable(giver) < sum_,
            "BALANCE_LIMIT": taker and self.posted.get(taker, 0) + sum_ > CAP,
        }
        return next((reason for reason, applies in checks.items() if applies), None)

    def spendable(self, name: Name) -> int:
        """Say how much an account could still give."""
        return self.posted.get(name, 0) - self.held.get(name, 0) - self.floor.get(name, 0)

    def move(self, giver: Name | None, taker: Name | None, sum_: int) -> None:
        """Move money; with nobody on a side it comes from or goes to the outside."""
        for name, signed in ((giver, -sum_), (taker, sum_)):
            if name:
                self.posted[name] = self.posted.get(name, 0) + signed
                self.lines[name] = self.lines.get(name, 0) + bool(sum_)
                self.brought_in += signed


class Ledger(RuleBasedStateMachine):
    """Asks the ledger and the model the same, each step a batch of its own at an odd time."""

    opens_on_credit = False

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(opens_on_credit=self.opens_on_credit)
        self.books = Books(now=0, rules=Rules(open_on_credit=self.opens_on_credit))
        self.asked: list[tuple[Command, dict[str, Any]]] = []
        self.outcomes: dict[str, Outcome] = {}

    def ask(self, command: Command, **movement: Any) -> None:
        """Compare the two answers to one request."""
        content = (command.kind, movement, command.description)
        expected = self.model.ask(command.request_id, content, **movement)
        try:
            outcome = decide(self.books, command)
        except RequestIdReused as error:
            answer = (error.reason, False)
        else:
            answer = (outcome.transaction.refusal_reason or "POSTED", outcome.is_replayed)
            first = self.outcomes.setdefault(command.transaction_id, outcome)
            assert first == outcome._replace(is_replayed=False)
        self.asked.append((command, movement))

        assert answer == expected

    def fresh_id(self) -> str:
        return f"request {len(self.asked)}"

    @rule(now=st.integers(0, 10**6))
    def begin_a_batch(self, now: int) -> None:
        before = self.books
        self.books = Books(now, before.rules, accounts=before.accounts, outcomes=before.outcomes)

    @rule(user=USERS, code=CURRENCIES, amount=AMOUNTS)
    def bring_in(self, user: str, code: str, amount: int) -> None:
        command = deposit(self.fresh_id(), user, amount, currency_code=code)
        self.ask(command, giver=None, taker=(user, code), sum_=amount)

    @rule(user=USERS, code=CURRENCIES, amount=AMOUNTS)
    def take_out(self, user: str, code: str, amount: int) -> None:
        command = withdraw(self.fresh_id(), user, amount, currency_code=code)
        self.ask(command, giver=(user, code), taker=None, sum_=amount)

    @rule(pair=PAIRS.filter(lambda pair: pair[0] != pair[1]), code=CURRENCIES, amount=AMOUNTS)
    def pay(self, pair: Name, code: str, amount: int) -> None:
        command = transfer(self.fresh_id(), pair, amount, currency_code=code)
        self.ask(command, giver=(pair[0], code), taker=(pair[1], code), sum_=amount)

    @rule(user=USERS, code=CURRENCIES)
    def open(self, user: str, code: str) -> None:
        command = open_account(self.fresh_id(), user, currency_code=code)
        self.ask(command, giver=None, taker=(user, code), sum_=0)

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        if self.asked:
            command, movement = data.draw(st.sampled_from(self.asked))
            self.ask(command, **movement)

    @rule(data=st.data(), user=USERS, amount=AMOUNTS)
    def reuse(self, data: st.DataObject, user: str, amount: int) -> None:
        if self.asked:
            request_id = data.draw(st.sampled_from(self.asked))[0].request_id
            command = withdraw(request_id, user, amount)
            self.ask(command, giver=(user, "RUB"), taker=None, sum_=amount)

    @rule(user=USERS, code=CURRENCIES, state=st.sampled_from(STATES))
    def operator_sets_the_state(self, user: str, code: str, state: str) -> None:
        if (user, code) in self.model.posted:
            self.model.state[user, code] = state
            self.books.accounts[AccountKey(user, code)].state = state

    @rule(user=USERS, code=CURRENCIES, floor=st.integers(-40, 0), held=st.integers(0, 40))
    def operator_sets_floor_and_holds(self, user: str, code: str, floor: int, held: int) -> None:
        name = (user, code)
        if self.model.posted.get(name, floor - 1) - held >= floor:
            self.model.floor[name], self.model.held[name] = floor, held
            account = self.books.accounts[AccountKey(user, code)]
            account.min_balance_minor, account.held_minor = floor, held

    @rule(user=USERS, room=st.integers(0, 50))
    def history_filled_an_account(self, user: str, room: int) -> None:
        account = self.books.accounts.get(AccountKey(user, "JPY"))
        if account and not account.sequence and not account.posted_minor:
            self.model.posted[user, "JPY"] = account.posted_minor = CAP - room
            self.model.brought_in += CAP - room

    @invariant()
    def balances_are_the_models(self) -> None:
        accounts = self.books.accounts
        posted = {tuple(key): account.posted_minor for key, account in accounts.items()}

        assert posted == self.model.posted
        assert sum(posted.values()) == self.model.brought_in
        assert all(
            account.available_minor >= account.min_balance_minor for account in accounts.values()
        )

    @invariant()
    def every_line_proves(self) -> None:
        lines = sorted(
            (line.user_id, line.currency_code, line.sequence, line, outcome)
            for outcome in self.outcomes.values()
            for line in outcome.entries
        )
        heads: dict[Name, tuple[int, bytes, int]] = {}
        for user, code, sequence, line, outcome in lines:
            last, head, time = heads.get((user, code), (0, bytes(32), 0))
            head = hash_of_line(head, outcome, line)
            assert (sequence, line.hash) == (last + 1, head)
            assert line.created_at >= time
            heads[user, code] = (sequence, head, line.created_at)
        for name, account in self.books.accounts.items():
            last, head, _ = heads.get(tuple(name), (0, bytes(32), 0))
            assert (account.sequence, account.head_hash) == (last, head)
            assert account.sequence == self.model.lines.get(tuple(name), 0)


class GenerousLedger(Ledger):
    """The same where paying somebody opens their account."""

    opens_on_credit = True


TestLedger = Ledger.TestCase
TestGenerousLedger = GenerousLedger.TestCase
TestLedger.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestGenerousLedger.settings = TestLedger.settings
