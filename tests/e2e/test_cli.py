"""Each `wallet` command, run as an operator runs it: its output, its exit code, its complaints."""

import re
import socket
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from harness.documents import ROOT
from harness.postgres import GivenPostgres, StartedPostgres, create_database, drop_database
from harness.processes import (
    ServerProcess,
    assert_one_clear_line,
    lasting_port,
    run_wallet,
    wallet_environment,
)
from harness.tokens import token
from sqlalchemy import make_url
from wallet_client import NotAllowed, Wallet

RELEASE = re.compile(r"wallet: the schema is at version \d{4}\n")
SMALL_MALLOC = ("arena_max=2", "mmap_threshold=131072", "tcache_max=512")
TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+\n")


@pytest.fixture
def empty_postgres_url(postgres: StartedPostgres | GivenPostgres) -> Iterator[str]:
    """A PostgreSQL database without any table."""
    url = create_database(postgres)
    yield url
    drop_database(postgres, url)


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody else listens on, and would share with whoever does not look."""
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as listener:
        yield listener.getsockname()[1]


def test_token_prints_a_token_and_nothing_else(tmp_path: Path) -> None:
    outcome = run_wallet("token", "alice", directory=tmp_path)

    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert TOKEN.fullmatch(outcome.stdout)


def test_a_printed_token_works_within_its_scopes(sqlite_url: str, tmp_path: Path) -> None:
    plain = run_wallet("token", "alice", directory=tmp_path).stdout.strip()
    scopes = ("--scope", "wallet:admin", "--scope", "wallet:act-for-any")
    scoped = run_wallet("token", "shop", *scopes, directory=tmp_path).stdout.strip()

    with (
        ServerProcess(tmp_path, sqlite_url) as server,
        Wallet(server.target, plain, plaintext=True) as alice,
        Wallet(server.target, scoped, plaintext=True) as shop,
    ):
        assert alice.deposit(100).transaction.target_user_id == "alice"
        assert shop.open_account("bob").account.balance.user_id == "bob"
        assert shop.balance(user_id="alice").posted.minor_units == 100
        with pytest.raises(NotAllowed) as refused:
            alice.open_account("bob")
        assert refused.value.reason == "SCOPE_MISSING"


def test_a_token_is_good_for_ten_years_at_most(sqlite_url: str, tmp_path: Path) -> None:
    longest = 10 * 365 * 24 * 3600
    token = run_wallet("token", "alice", "--ttl", str(longest), directory=tmp_path).stdout.strip()
    refused = run_wallet("token", "alice", "--ttl", str(longest + 1), directory=tmp_path)

    with (
        ServerProcess(tmp_path, sqlite_url) as server,
        Wallet(server.target, token, plaintext=True) as alice,
    ):
        assert alice.balance().posted.minor_units == 0
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--ttl" in refused.stderr


def test_token_refuses_a_name_that_no_user_can_have(tmp_path: Path) -> None:
    outcome = run_wallet("token", "@external", directory=tmp_path)

    assert outcome.stdout == ""
    assert_one_clear_line(outcome, 2, "USER_ID")


def test_token_needs_the_key_that_tokens_are_signed_with(tmp_path: Path) -> None:
    outcome = run_wallet(
        "token",
        "alice",
        directory=tmp_path,
        jwt_secret_file="",
        jwt_jwks_url="https://login.invalid/jwks",
    )

    assert outcome.stdout == ""
    assert_one_clear_line(outcome, 2, "WALLET_JWT_SECRET_FILE")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_named(tmp_path: Path, taken_port: int, workers: str) -> None:
    listen = f"127.0.0.1:{taken_port}"

    outcome = run_wallet("serve", "--listen", listen, "--workers", workers, directory=tmp_path)

    assert outcome.stdout == ""
    assert_one_clear_line(outcome, 2, "WALLET_LISTEN", listen)


def test_plaintext_for_other_machines_may_be_allowed(tmp_path: Path, taken_port: int) -> None:
    listen = f"0.0.0.0:{taken_port}"

    outcome = run_wallet("serve", "--listen", listen, "--insecure", directory=tmp_path)

    # It was about to serve: without leave it does not get as far as the port.
    assert_one_clear_line(outcome, 2, "WALLET_LISTEN: cannot listen on", listen)


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_migrate_makes_the_schema_and_may_be_repeated(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str
) -> None:
    urls = {"postgres": "empty_postgres_url"}
    url = request.getfixturevalue(urls[engine]) if engine in urls else ""

    first = run_wallet("migrate", directory=tmp_path, database_url=url)
    again = run_wallet("migrate", directory=tmp_path, database_url=url)

    assert RELEASE.fullmatch(first.stdout), first.stderr
    assert (again.returncode, again.stdout) == (0, first.stdout)
    empty = "wallet: proven: 0 accounts, 0 entries, 0 transactions, 0 holds\n"
    assert run_wallet("verify", directory=tmp_path, database_url=url).stdout == empty


@pytest.mark.parametrize("command", ["serve", "verify", "export"])
def test_a_database_without_schema_asks_for_migrate(
    empty_postgres_url: str, tmp_path: Path, command: str
) -> None:
    outcome = run_wallet(command, directory=tmp_path, database_url=empty_postgres_url)

    assert outcome.stdout == ""
    assert_one_clear_line(outcome, 1, "WALLET_DATABASE_URL", "`wallet migrate`")


def test_several_workers_start_where_one_has_just_ended(sqlite_url: str, tmp_path: Path) -> None:
    port = lasting_port()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        with socket.create_connection(("127.0.0.1", port)):
            listener.accept()[0].close()  # the side that closes first remembers the connection

    address = f"127.0.0.1:{port}"
    with ServerProcess(tmp_path, sqlite_url, workers=2, listen=address) as server:
        assert server.target == address


def test_migrate_says_that_the_database_does_not_answer(tmp_path: Path, taken_port: int) -> None:
    url = f"postgresql://wallet@127.0.0.1:{taken_port}/wallet"

    outcome = run_wallet("migrate", directory=tmp_path, database_url=url)

    assert_one_clear_line(outcome, 1, "WALLET_DATABASE_URL", "timeout expired")


def test_migrate_makes_no_books_where_they_could_be_lost(
    empty_postgres_url: str, tmp_path: Path
) -> None:
    url = make_url(empty_postgres_url).update_query_dict({"options": "-c synchronous_commit=off"})

    outcome = run_wallet(
        "migrate",
        directory=tmp_path,
        database_url=url.render_as_string(hide_password=False),
    )

    assert_one_clear_line(outcome, 1, "WALLET_DATABASE_URL", "synchronous_commit")


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_the_file_of_another_program_is_left_alone_at_once(tmp_path: Path, command: str) -> None:
    file = tmp_path / "other.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE accounts (name TEXT)")

    outcome = run_wallet(command, directory=tmp_path, database_url=f"sqlite:///{file}")

    assert_one_clear_line(outcome, 1, "WALLET_DATABASE_URL", "table accounts already exists")
    assert "waiting_for_database" not in outcome.stderr


def test_verify_counts_what_it_proved(
    server_process: ServerProcess, database_url: str, tmp_path: Path
) -> None:
    with (
        Wallet(server_process.target, token("alice"), plaintext=True) as alice,
        Wallet(server_process.target, token("bob"), plaintext=True) as bob,
    ):
        bob.deposit(1)
        alice.deposit(100)
        alice.transfer("bob", 100)
        bob.create_hold(70)

    outcome = run_wallet("verify", directory=tmp_path, database_url=database_url)

    assert outcome.stdout == "wallet: proven: 2 accounts, 4 entries, 4 transactions, 1 holds\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only there a device is always full")
@pytest.mark.parametrize("command", ["config", "export --format csv", "token alice"])
def test_output_that_cannot_be_written_is_told(
    sqlite_url: str, tmp_path: Path, command: str
) -> None:
    with Path("/dev/full").open("w") as full:
        outcome = subprocess.run(
            [sys.executable, "-m", "wallet_service", *command.split()],
            cwd=tmp_path,
            env=wallet_environment(tmp_path, sqlite_url),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )

    assert_one_clear_line(outcome, 1, "No space left on device")


def test_help_names_every_command(tmp_path: Path) -> None:
    outcome = run_wallet("--help", directory=tmp_path)

    assert outcome.returncode == 0
    for command in ("serve", "migrate", "token", "verify", "statement", "export", "healthcheck"):
        assert f" {command} " in outcome.stdout


def test_the_version_is_the_releases_own(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    outcome = run_wallet("--version", directory=tmp_path)

    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert outcome.stdout == f"wallet {project['version']}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only there a process shows what it began with")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("chosen", ["", "glibc.malloc.check=0"])
def test_a_server_begins_with_a_small_malloc_unless_somebody_chose_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, chosen: str
) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if chosen:
        monkeypatch.setenv("GLIBC_TUNABLES", chosen)
    small = [f"glibc.malloc.{choice}" for choice in SMALL_MALLOC]

    with ServerProcess(tmp_path, f"sqlite:///{tmp_path / 'wallet.db'}", workers=workers) as server:
        process = psutil.Process(server.process.pid)
        processes = [process, *process.children()]
        environments = [Path(f"/proc/{each.pid}/environ").read_text() for each in processes]

    expected = f"GLIBC_TUNABLES={chosen or ':'.join(small)}:"
    for environment in environments:
        # Some releases of glibc cut the text where they read it.
        assert expected in environment.replace("\0", ":")
    assert len(environments) >= workers
