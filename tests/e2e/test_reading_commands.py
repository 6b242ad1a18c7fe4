"""Commands that only read make nothing, and tell in one line what they cannot read."""

from pathlib import Path

import pytest
from harness.books import write_books
from harness.processes import run_wallet
from sqlalchemy import text

from wallet_service.storage.database import open_database

COMMANDS = [("verify",), ("statement", "alice"), ("export",)]


@pytest.mark.parametrize("path", ["wallet.db", "mistyped/wallet.db"])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_a_file_that_is_not_there_is_told_and_not_made(
    tmp_path: Path, command: tuple[str, ...], path: str
) -> None:
    database_url = f"sqlite:///{tmp_path / path}"

    outcome = run_wallet(*command, directory=tmp_path, database_url=database_url)

    assert (outcome.returncode, outcome.stdout) == (2, "")
    complaint = f"wallet: WALLET_DATABASE_URL: no such file: {tmp_path / path}\n"
    assert outcome.stderr == complaint
    assert [path.name for path in tmp_path.iterdir()] == ["jwt-secret"]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            "transactions SET metadata = '{' WHERE request_id = '3'",
            "transactions {transfer}: metadata is not JSON",
        ),
        (
            "entries SET transaction_id = 'zz' WHERE user_id = 'alice' AND sequence = 2",
            "entries alice/RUB #2: transaction_id is not 32 lower-case hexadecimal digits",
        ),
    ],
)
def test_the_row_of_a_value_that_cannot_be_read_is_named_in_one_line(
    *, tmp_path: Path, sqlite_url: str, command: tuple[str, ...], change: str, complaint: str
) -> None:
    database = open_database(sqlite_url)
    ids = write_books(database)
    with database.transaction() as connection:
        assert connection.execute(text(f"UPDATE {change}")).rowcount == 1
    database.close()

    outcome = run_wallet(*command, directory=tmp_path, database_url=sqlite_url)

    assert outcome.returncode == 3
    assert outcome.stderr == f"wallet: DAMAGED {complaint.format(**ids)}\n"
