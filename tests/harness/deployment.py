"""A server under load while something happens to it, and the judgement afterwards."""

import random
from collections.abc import Callable
from pathlib import Path

from harness.journal import Record, read_journals, settle_unknown
from harness.load import Clients, open_books, scaled
from harness.oracles import assert_books_hold
from harness.processes import ServerProcess, run_wallet
from harness.tokens import service_token

CLIENTS = 6
ANSWERS_BETWEEN_FAULTS_MAX = 80
_USERS = [f"user-{number}" for number in range(10)]
_PATIENCE_S = 120 * scaled(1)


class Deployment:
    """A server on a database, under load from client processes."""

    def __init__(self, server: ServerProcess, database_url: str, directory: Path) -> None:
        self.server = server
        self._database_url = database_url
        self._directory = directory

    def survive(
        self, clients: Clients, fault: Callable[[], None], *, rounds: int, seed: int
    ) -> None:
        """Have a fault happen again and again under load; then judge the books."""
        total_minor = open_books(self.server.target, _USERS, amount_minor=1000)
        journals = [self._directory / f"journal-{number}" for number in range(CLIENTS)]
        under_way = clients.start_load(self.server.target, journals, _USERS, seed=seed)
        choices = random.Random(seed)
        try:
            for _ in range(rounds):
                clients.wait_for_answers(choices.randint(1, ANSWERS_BETWEEN_FAULTS_MAX))
                fault()
            clients.wait_for_answers(ANSWERS_BETWEEN_FAULTS_MAX)
        finally:
            clients.end_load()
        for future in under_way:
            future.result(_PATIENCE_S)

        self._judge(read_journals(journals), total_minor)

    def _judge(self, records: list[Record], total_minor: int) -> None:
        settle_unknown(self.server.target, service_token(), records)
        assert_books_hold(self._database_url, records, total_minor=total_minor)
        proof = run_wallet("verify", directory=self._directory, database_url=self._database_url)
        assert proof.returncode == 0, proof.stderr
        assert "incident" not in self.server.log
