"""Watchers and workers die at random, and every watcher still sees each line once, in order."""

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from harness.children import kill_process, workers_of
from harness.jobs import watch_and_write
from harness.load import Clients, open_books, scaled
from harness.patience import eventually
from harness.processes import FORKS, ServerProcess

CLIENTS = 4
USERS = [f"user-{number}" for number in range(6)]
WATCHED = USERS[:2]


class Watcher:
    """A process that watches an account, and writes what it sees to a file."""

    def __init__(self, target: str, user_id: str, directory: Path) -> None:
        self._target = target
        self.user_id = user_id
        self._path = directory / f"seen-by-{user_id}"
        self._path.touch()
        self.resume()

    def resume(self) -> None:
        """Start, from after what was seen last."""
        self._process = FORKS.Process(
            target=watch_and_write, args=(self._target, self.user_id, self._path), daemon=True
        )
        self._process.start()

    def kill(self) -> None:
        """End as `kill -9` does."""
        self._process.kill()
        self._process.join()

    @property
    def seen(self) -> list[tuple[int, ...]]:
        """Sequence and balance of each line seen, in the order it came."""
        return [tuple(map(int, line.split())) for line in self._path.read_text().splitlines()]

    def wait_for_more(self) -> None:
        """Return once it has seen something new."""
        before = len(self.seen)
        eventually(lambda: len(self.seen) > before)


@pytest.fixture
def server(postgres_url: str, tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path, postgres_url, workers=2) as process:
        yield process


@pytest.fixture
def watchers(server: ServerProcess, tmp_path: Path) -> Iterator[list[Watcher]]:
    started = [Watcher(server.target, user_id, tmp_path) for user_id in WATCHED]
    yield started
    for watcher in started:
        watcher.kill()


def _kill_one_worker(server: ServerProcess) -> None:
    before = workers_of(server.process.pid)
    kill_process(min(before))
    eventually(lambda: len(workers_of(server.process.pid) - {min(before)}) == 2)


def _stored(database_url: str, user_id: str) -> list[tuple[int, ...]]:
    query = "SELECT sequence, balance_minor FROM entries WHERE user_id = %s ORDER BY sequence"
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(query, (user_id,))
        return cursor.fetchall()


def test_watchers_see_every_line_once_and_in_order_whoever_is_killed(
    *,
    server: ServerProcess,
    watchers: list[Watcher],
    clients: Clients,
    postgres_url: str,
    tmp_path: Path,
) -> None:
    open_books(server.target, USERS, amount_minor=1000)
    choices = random.Random(4)
    journals = [tmp_path / f"journal-{number}" for number in range(CLIENTS)]
    under_way = clients.start_load(server.target, journals, USERS, seed=4)

    try:
        for number in range(scaled(6)):
            for watcher in watchers:
                watcher.wait_for_more()
            if number % 3 == 1:
                _kill_one_worker(server)
            victim = choices.choice(watchers)
            victim.kill()
            clients.wait_for_answers(choices.randint(1, 40))
            victim.resume()
    finally:
        clients.end_load()
    for future in under_way:
        future.result(60)

    for watcher in watchers:
        stored = _stored(postgres_url, watcher.user_id)
        eventually(lambda: watcher.seen[-1][0] >= len(stored))  # noqa: B023 (asked at once)
        assert watcher.seen == stored
        assert [sequence for sequence, _ in stored] == list(range(1, len(stored) + 1))
    assert "incident" not in server.log
