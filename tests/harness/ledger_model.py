"""
What the ledger should answer, in a few dictionaries that share no code with it.

Amounts are minor units of one currency. A request is a dictionary: what to `do`, under which `id`,
and its content.
"""

import hashlib
import json
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from wallet_service.ledger.books import Entry, Outcome

NO_CREDIT, NO_DEBIT = ("NO_CREDITS", "FROZEN"), ("NO_DEBITS", "FROZEN")

Ask = dict[str, Any]


class No(Exception):
    """Why a request is refused."""


class Model:
    """What should be true. Money never was or is anywhere but in `posted`."""

    def __init__(self) -> None:
        self.now = 0
        self.posted: dict[str, int] = {}
        self.floor: dict[str, int] = {}
        self.state: dict[str, str] = {}
        self.lines: dict[str, int] = {}
        self.holds: dict[str, Ask] = {}
        self.moves: dict[str, Ask] = {}
        self.answers: dict[str, tuple[Ask, str]] = {}
        self.refused_together: set[tuple[str, ...]] = set()

    def reserved(self, user: str) -> int:
        """Add up what open holds reserve of a user's money."""
        return sum(hold["left"] for hold in self.holds.values() if hold["giver"] == user)

    def free(self, user: str) -> int:
        """Say how much a user could still give."""
        return self.posted.get(user, 0) - self.reserved(user) - self.floor.get(user, 0)

    def answer(self, ask: Ask) -> str:
        """Answer one request: "POSTED" or why not; one seen before as it was answered then."""
        name = ask["id"]
        if name in self.answers:
            known, answer = self.answers[name]
            return answer if known == ask else "REQUEST_ID_REUSED"
        try:
            getattr(self, ask["do"])(ask)
            answer = "POSTED"
        except No as no:
            answer = str(no)
        if answer != "raised":
            self.answers[name] = (ask, answer)
        return answer

    def together(self, asks: Sequence[Ask]) -> list[str]:
        """Answer requests of which all shall be done or none."""
        ids = tuple(ask["id"] for ask in asks)
        known = [self.answers[name][1] for name in ids if name in self.answers]
        if known:
            was_alone = len(ids) == 1 and known != ["BATCH_REFUSED"]
            was_posted = set(known) == {"POSTED"} and len(known) == len(ids)
            if was_posted or was_alone or ids in self.refused_together:
                return [self.answer(ask) for ask in asks]
            return ["REQUEST_ID_REUSED"] * len(asks)
        before = deepcopy(vars(self))
        answers = []
        for ask in asks:
            answers.append(self.answer(ask))
            if answers[-1] != "POSTED":
                vars(self).update(before)
                if answers[-1] == "raised":
                    return ["raised"] * len(asks)
                for other in asks:
                    told = answers[-1] if other is ask else "BATCH_REFUSED"
                    self.answers[other["id"]] = (other, told)
                self.refused_together.add(ids)
                return [self.answers[other["id"]][1] for other in asks]
        return answers

    def check(self, giver: str | None, taker: str | None, *, must_exist: bool = True) -> None:
        """Refuse where an account is missing, closed or frozen."""
        if must_exist and giver and taker and taker not in self.posted:
            raise No("ACCOUNT_NOT_FOUND")
        if "CLOSED" in (self.state.get(giver or ""), self.state.get(taker or "")):
            raise No("ACCOUNT_CLOSED")
        if self.state.get(giver or "") in NO_DEBIT or self.state.get(taker or "") in NO_CREDIT:
            raise No("ACCOUNT_FROZEN")

    def shift(self, ask: Ask, giver: str | None, taker: str | None, amount: int) -> None:
        """Move money, and remember the movement as one that may be given back."""
        for user, signed in ((giver, -amount), (taker, amount)):
            if user:
                self.posted[user] = self.posted.get(user, 0) + signed
                self.lines[user] = self.lines.get(user, 0) + 1
        self.moves[ask["id"]] = {"giver": giver, "taker": taker, "left": amount}

    def pay(self, ask: Ask) -> None:
        """Move money; with nobody on a side it comes from or goes to the outside."""
        giver, taker, amount = ask["giver"], ask["taker"], ask["amount"]
        self.check(giver, taker)
        if giver and self.free(giver) < amount:
            raise No("INSUFFICIENT_FUNDS")
        self.shift(ask, giver, taker, amount)

    def reserve(self, ask: Ask) -> None:
        """Make a hold."""
        giver, taker, amount = ask["giver"], ask["taker"], ask["amount"]
        self.check(giver, taker)
        if self.free(giver) < amount:
            raise No("INSUFFICIENT_FUNDS")
        ends = None if ask["patience"] is None else self.now + ask["patience"]
        hold = {"giver": giver, "taker": taker, "left": amount, "state": "ACTIVE", "ends": ends}
        self.holds[ask["id"]] = hold

    def check_open(self, hold: Ask) -> None:
        """Refuse a hold that was resolved or whose time is over."""
        if hold["state"] == "EXPIRED" or (hold["state"] == "ACTIVE" and self.is_due(hold)):
            raise No("HOLD_EXPIRED")
        if hold["state"] != "ACTIVE":
            raise No("HOLD_NOT_ACTIVE")

    def is_due(self, hold: Ask) -> bool:
        """Tell whether a hold's time is over."""
        return hold["ends"] is not None and hold["ends"] <= self.now

    def take(self, ask: Ask) -> None:
        """Capture a hold."""
        hold = self.holds.get(ask["hold"])
        if not hold:
            raise No("HOLD_NOT_FOUND")
        if (hold["taker"] and ask["to"] not in (None, hold["taker"])) or ask["to"] == hold["giver"]:
            raise No("raised")
        taker = hold["taker"] or ask["to"]
        amount = hold["left"] if ask["amount"] is None else ask["amount"]
        self.check(hold["giver"], taker)
        self.check_open(hold)
        if amount > hold["left"]:
            raise No("CAPTURE_EXCEEDS_HOLD")
        self.shift(ask, hold["giver"], taker, amount)
        hold["left"] = hold["left"] - amount if ask["keep"] else 0
        hold["state"] = "ACTIVE" if hold["left"] else "CAPTURED"

    def release(self, ask: Ask) -> None:
        """Void a hold."""
        hold = self.holds.get(ask["hold"])
        if not hold:
            raise No("HOLD_NOT_FOUND")
        self.check_open(hold)
        hold.update(left=0, state="VOIDED")

    def run_out(self, ask: Ask) -> None:
        """Expire a hold."""
        hold = self.holds.get(ask["hold"])
        if not hold or hold["state"] != "ACTIVE" or not self.is_due(hold):
            raise No("raised")
        hold.update(left=0, state="EXPIRED")

    def give_back(self, ask: Ask) -> None:
        """Reverse a movement, or some of it."""
        original = ask["original"]
        if original not in self.answers:
            raise No("TRANSACTION_NOT_FOUND")
        move = self.moves.get(original)
        if not move or self.answers[original][0]["do"] == "give_back":
            raise No("NOT_REVERSIBLE")
        amount = move["left"] if ask["amount"] is None else ask["amount"]
        self.check(move["taker"], move["giver"], must_exist=False)
        if not 0 < amount <= move["left"]:
            raise No("REVERSAL_EXCEEDS_ORIGINAL")
        if move["taker"] and self.free(move["taker"]) < amount:
            raise No("INSUFFICIENT_FUNDS")
        move["left"] -= amount
        self.shift(ask, move["taker"], move["giver"], amount)

    def set_up(self, ask: Ask) -> None:
        """Open an account."""
        if self.state.get(ask["user"]) == "CLOSED":
            raise No("ACCOUNT_CLOSED")
        self.posted.setdefault(ask["user"], 0)

    def change(self, ask: Ask) -> None:
        """Change an account's floor or state."""
        user, floor, state = ask["user"], ask["floor"], ask["state"]
        if user not in self.posted:
            raise No("ACCOUNT_NOT_FOUND")
        if state == "CLOSED" and (self.posted[user] or self.reserved(user)):
            raise No("ACCOUNT_NOT_EMPTY")
        if floor is not None and floor > self.posted[user] - self.reserved(user):
            raise No("INSUFFICIENT_FUNDS")
        self.floor[user] = self.floor.get(user, 0) if floor is None else floor
        self.state[user] = state or self.state.get(user, "ACTIVE")

    def spent(self, user: str) -> tuple[int, int]:
        """Say how much a user spent and did not get back, in how many movements."""
        left = [
            move["left"]
            for name, move in self.moves.items()
            if move["giver"] == user and move["left"] and self.answers[name][0]["do"] != "give_back"
        ]
        return sum(left), len(left)


def hash_of_line(head: bytes, outcome: Outcome, line: Entry) -> bytes:
    """Chain a line to the one before as the documented canonical form says."""
    record = {k: v for k, v in outcome.transaction._asdict().items() if k != "digest"}
    if not record["arguments"]:
        del record["arguments"]
    form = json.dumps(
        ["wallet.transaction.v1", *record.values()],
        sort_keys=True,
        ensure_ascii=False,
        separators=(",", ":"),
    )
    digest = hashlib.sha256(form.encode()).digest()
    fields = ["wallet.entry.v1", *line[:3], line.amount_minor, line.balance_minor]
    return hashlib.sha256(head + digest + "".join(f"{x}\n" for x in fields).encode()).digest()


def ask_of(do: str, request_id: str, **content: Any) -> Ask:
    """Write down a request for the model."""
    return {"do": do, "id": request_id, **content}
