"""
What must be true of the books after any fault, judged by SQL alone.

The numbers are those of the oracles that the project's fault tests agree on: O1 every acknowledged
transfer is there once; O2 one transaction a request; O3 what did not happen left no trace; O4 money
is neither made nor lost; O5 balances are the sums of their entries and never negative; O6 sequences
have no gaps; O8 what was answered before another was asked comes before it.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import create_engine, select

from harness.journal import Record
from wallet_service.storage.schema import accounts, entries, holds, reversals, transactions

Rows = list[dict[str, Any]]


class Stored:
    """All rows of a database, read in one go."""

    def __init__(self, database_url: str) -> None:
        engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg2://"))
        with engine.connect() as connection:
            self.accounts, self.transactions, self.entries, self.holds, self.reversals = (
                [dict(row) for row in connection.execute(select(table)).mappings()]
                for table in (accounts, transactions, entries, holds, reversals)
            )
        engine.dispose()

    def total_minor(self) -> int:
        """Sum all balances."""
        return sum(account["posted_minor"] for account in self.accounts)


def assert_books_hold(database_url: str, records: Sequence[Record], *, total_minor: int) -> Stored:
    """
    Judge the books after every request in doubt was settled.

    Args:
        database_url: Where the books are.

        records: All that the clients' journals tell.

        total_minor: All the money there is.
    """
    stored = Stored(database_url)
    failed = [record for record in records if record.verdict == "error"]
    assert not failed, f"unexcused: {Counter(record.reason for record in failed)}"
    _assert_recorded_once(stored.transactions, records)
    _assert_batches_whole(records)
    _assert_entries(stored, records)
    _assert_accounts(stored)
    assert_real_time_order(records)  # O8
    assert stored.total_minor() == total_minor  # O4
    return stored


def _assert_recorded_once(recorded: Rows, records: Sequence[Record]) -> None:
    requests = Counter((each["caller"], each["request_id"]) for each in recorded)
    assert max(requests.values()) == 1  # O2
    by_request = {each["request_id"]: each for each in recorded}
    for record in records:
        found = by_request.get(record.request_id)
        if record.verdict == "nothing":  # O3
            assert found is None, f"{record} happened"
            continue
        assert found is not None, f"{record} was lost"
        expected = "POSTED" if record.verdict == "ok" else "REFUSED"
        assert (found["transaction_id"], found["state"]) == (record.transaction_id, expected)
        assert (found["kind"], found["amount_minor"]) == (record.kind, record.amount_minor)
        if record.verdict == "ok":
            assert (found["hold_id"] or found["reversal_of"] or "") == _about(record)


def _about(record: Record) -> str:
    return record.transaction_id if record.kind == "HOLD" else record.about


def _assert_batches_whole(records: Sequence[Record]) -> None:
    verdicts: defaultdict[str, set[str]] = defaultdict(set)
    for record in records:
        if record.batch:
            verdicts[record.batch].add(record.verdict)
    assert all(len(each) == 1 for each in verdicts.values()), "a batch happened by halves"


def _assert_entries(stored: Stored, records: Sequence[Record]) -> None:
    lines: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
    for entry in stored.entries:
        lines[entry["transaction_id"]].add((entry["user_id"], entry["amount_minor"]))
    for record in records:
        expected = set()
        if record.verdict == "ok" and record.kind not in {"HOLD", "VOID"}:  # O1
            expected = {
                (record.source, -record.amount_minor),
                (record.target, record.amount_minor),
            }
        assert lines.get(record.transaction_id, set()) == expected, record


def _assert_accounts(stored: Stored) -> None:
    histories: defaultdict[tuple[str, str], Rows] = defaultdict(list)
    for entry in stored.entries:
        histories[entry["user_id"], entry["currency_code"]].append(entry)
    held: Counter[tuple[str, str]] = Counter()
    for hold in stored.holds:
        if hold["state"] == "ACTIVE":
            remaining_minor = hold["amount_minor"] - hold["captured_minor"]
            held[hold["user_id"], hold["currency_code"]] += remaining_minor
    for account in stored.accounts:
        key = account["user_id"], account["currency_code"]
        history = histories.pop(key, [])
        history.sort(key=lambda entry: entry["sequence"])
        balance_minor = 0
        for sequence, entry in enumerate(history, start=1):
            balance_minor += entry["amount_minor"]
            assert (entry["sequence"], entry["balance_minor"]) == (sequence, balance_minor)  # O6
            assert balance_minor >= 0
        assert (account["sequence"], account["posted_minor"]) == (len(history), balance_minor)  # O5
        assert account["held_minor"] == held.pop(key, 0) <= balance_minor
    assert not histories
    assert not held


def assert_real_time_order(records: Sequence[Record]) -> None:
    """Compare the order of answers and requests with the order in each source's books."""
    by_source: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.sequence:
            by_source[record.source].append(record)
    for sent in by_source.values():
        last_asked_at = 0
        for record in sorted(sent, key=lambda each: each.sequence):
            if record.answered_at is not None and record.reason == "":
                assert record.answered_at >= last_asked_at, f"{record} came too late in the books"
            last_asked_at = max(last_asked_at, record.invoked_at)
