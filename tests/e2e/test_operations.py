"""What docs/operations.md tells an operator, held against the code and a real PostgreSQL."""

import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2
from harness.documents import ROOT, blocks, codes, table
from harness.processes import ServerProcess
from harness.tokens import token
from wallet_client import Wallet

from wallet_service.ledger.errors import Unavailable

OPERATIONS = "docs/operations.md"
LOG_CALL = re.compile(r"_log\.(\w+)\(\s*\"(\w+)\"")
DECISION = re.compile(
    r"# \d+\. .+\n\n\*\*Context\.\*\* .+\n\n\*\*Choice\.\*\* .+\*\*Cost\.\*\* ", re.DOTALL
)


def test_the_table_of_log_events_lists_exactly_what_is_logged() -> None:
    text = "\n".join(path.read_text() for path in (ROOT / "wallet_service").rglob("*.py"))

    listed = [(row[1], codes(row[0])[0]) for row in table(OPERATIONS, "Logs")]

    assert sorted(listed) == sorted(set(LOG_CALL.findall(text)))  # one may be logged in two places


def test_the_table_of_unavailable_lists_exactly_its_reasons() -> None:
    listed = {codes(row[0])[0] for row in table(OPERATIONS, "UNAVAILABLE")}

    assert listed == {kind.reason for kind in Unavailable.__subclasses__()}


def test_the_query_for_reading_by_hand_shows_times_and_sums(
    postgres_url: str, tmp_path: Path
) -> None:
    with (
        ServerProcess(tmp_path, postgres_url) as server,
        Wallet(server.target, token("alice"), plaintext=True) as alice,
    ):
        alice.deposit(300, request_id="salary", description="May")
        alice.withdraw(100, request_id="cash")
    [query] = blocks(OPERATIONS, "sql")

    with closing(psycopg2.connect(postgres_url)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        rows = cursor.fetchall()

    assert [(*row[:3], *row[4:]) for row in rows] == [
        (2, -100, 200, "WITHDRAWAL", "alice", "cash", ""),
        (1, 300, 300, "DEPOSIT", "alice", "salary", "May"),
    ]
    assert all(abs(datetime.now(UTC) - row[3]) < timedelta(hours=1) for row in rows)


def test_every_decision_is_numbered_short_and_says_what_it_costs() -> None:
    paths = sorted((ROOT / "docs/decisions").glob("*.md"))

    assert [path.name[:4] for path in paths] == [f"{n:04}" for n in range(1, len(paths) + 1)]
    for path in paths:
        text = path.read_text()
        assert DECISION.match(text), path.name
        assert text.startswith(f"# {int(path.name[:4])}. ")
        assert len(text.splitlines()) <= 40
