"""`kill -9` of the server in the midst of its work: no answer given is taken back."""

from pathlib import Path

import pytest
from harness.children import kill_process, wait_until_gone, workers_of
from harness.deployment import Deployment
from harness.load import Clients, scaled
from harness.patience import eventually
from harness.processes import ServerProcess

LAYOUTS = [("sqlite", 1), ("postgres", 1), ("postgres", 2)]


@pytest.mark.parametrize(("engine", "workers"), LAYOUTS)
def test_no_acknowledged_transfer_is_lost_when_the_server_is_killed(
    *, request: pytest.FixtureRequest, clients: Clients, tmp_path: Path, engine: str, workers: int
) -> None:
    database_url = request.getfixturevalue(f"{engine}_url")
    with ServerProcess(tmp_path, database_url, workers=workers) as server:

        def kill_and_restart() -> None:
            server.kill()
            server.start()

        deployment = Deployment(server, database_url, tmp_path)
        deployment.survive(clients, kill_and_restart, rounds=scaled(3), seed=workers)


def test_killing_the_supervisor_takes_its_workers_with_it(
    postgres_url: str, tmp_path: Path
) -> None:
    with ServerProcess(tmp_path, postgres_url, workers=2) as server:
        workers = workers_of(server.process.pid)

        server.kill()

        assert len(workers) == 2
        wait_until_gone(workers)


def test_a_killed_worker_is_replaced_and_its_acknowledged_transfers_are_kept(
    postgres_url: str, clients: Clients, tmp_path: Path
) -> None:
    with ServerProcess(tmp_path, postgres_url, workers=2) as server:

        def kill_one_worker() -> None:
            before = workers_of(server.process.pid)
            kill_process(min(before))
            eventually(lambda: len(workers_of(server.process.pid) - {min(before)}) == 2)

        deployment = Deployment(server, postgres_url, tmp_path)
        deployment.survive(clients, kill_one_worker, rounds=scaled(2), seed=3)
