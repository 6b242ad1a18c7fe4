"""SQLite's log comes into its file by itself, beside the batches."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from harness.commands import deposit
from harness.patience import eventually
from sqlalchemy import select
from structlog.testing import capture_logs

from wallet_service.engine.execute import Submission, execute_batch
from wallet_service.ledger.books import Rules
from wallet_service.storage import checkpointer, sqlite
from wallet_service.storage.checkpointer import Checkpointer
from wallet_service.storage.database import Database, open_database
from wallet_service.storage.schema import accounts


@pytest.fixture
def file(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


@pytest.fixture
def embedded(sqlite_url: str) -> Iterator[Database]:
    """Books with one deposit, all of them still in the log: who wrote it goes on."""
    database = open_database(sqlite_url)
    _deposit(database, "first")
    yield database
    database.close()


@pytest.fixture
def copies(embedded: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(checkpointer, "_PAUSE_MS", 100)
    running = Checkpointer(embedded)
    yield
    running.stop()


def _deposit(database: Database, request_id: str) -> None:
    execute_batch(database, [Submission([deposit(request_id, "alice", 100)])], rules=Rules())


def _deposits_without_log(file: Path) -> int:
    """Count what the file would hold if it were alone."""
    alone = shutil.copy(file, file.with_suffix(".alone"))
    with closing(sqlite3.connect(alone)) as connection:
        count: int = connection.execute("SELECT count(*) FROM transactions").fetchone()[0]
    return count


@pytest.mark.usefixtures("embedded")
def test_what_is_written_stays_in_the_log_at_first(file: Path) -> None:
    assert _deposits_without_log(file) == 0


@pytest.mark.usefixtures("copies")
def test_what_is_written_comes_into_the_file_without_another_batch(file: Path) -> None:
    assert eventually(lambda: _deposits_without_log(file)) == 1


def test_a_log_that_grew_behind_a_reader_is_cut_again(
    file: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_LOG_BYTES_MAX", 100_000)
    log = file.with_name(f"{file.name}-wal")
    database = open_database(sqlite_url)
    with database.snapshot() as reader:
        reader.execute(select(accounts)).all()
        for number in range(20):
            _deposit(database, f"while it reads {number}")
        grown = log.stat().st_size
    database.probe(sqlite.checkpoint)
    _deposit(database, "afterwards")
    cut = log.stat().st_size
    database.close()

    assert grown > 200_000
    assert cut <= 100_000


@pytest.mark.usefixtures("copies")
def test_a_copy_that_fails_is_told_and_done_later(file: Path, embedded: Database) -> None:
    with capture_logs() as logs:
        away = file.rename(file.with_suffix(".away"))
        (cause, *_) = eventually(
            lambda: [log["cause"] for log in logs if log["event"] == "checkpoint_failed"]
        )
        away.rename(file)
    _deposit(embedded, "second")

    assert "unable to open database file" in cause
    assert eventually(lambda: _deposits_without_log(file) == 2)
