"""Each `wallet` command, run as an operator runs it: its output, its exit code, its complaints."""

import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from harness.authority import issue_certificate
from harness.certificates import make_certificate, write_certificate
from harness.postgres import GivenPostgres, StartedPostgres, create_database, drop_database
from harness.processes import ServerProcess, lasting_port, run_wallet, wallet_environment
from harness.tokens import token
from sqlalchemy import make_url
from wallet_client import NotAllowed, Wallet

from wallet_service.settings import Settings

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
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def _run(
    *arguments: str, directory: Path, database_url: str = "", **settings: object
) -> "subprocess.CompletedProcess[str]":
    url = database_url or f"sqlite:///{directory / 'wallet.db'}"
    environment = wallet_environment(directory, url, **settings)
    return run_wallet(*arguments, directory=directory, environment=environment)


def _assert_one_clear_line(
    outcome: "subprocess.CompletedProcess[str]", code: int, *parts: str
) -> None:
    """Make sure that a command complained in one line, not with a stack of code."""
    assert outcome.returncode == code, outcome.stderr
    assert "Traceback" not in outcome.stderr
    complaint = outcome.stderr.splitlines()[-1]
    assert complaint.startswith("wallet: ")
    assert all(part in complaint for part in parts), complaint


def test_config_prints_what_is_set_and_what_is_not(tmp_path: Path) -> None:
    outcome = _run("config", directory=tmp_path, batch_max=1, reflection="FALSE")

    assert (outcome.returncode, outcome.stderr) == (0, "")
    lines = outcome.stdout.splitlines()
    assert [line.partition("=")[0] for line in lines] == [
        f"WALLET_{name.upper()}" for name in Settings.model_fields
    ]
    assert {
        "WALLET_BATCH_MAX=1",
        "WALLET_REFLECTION=false",
        "WALLET_CURRENCY=RUB",
        "WALLET_JWT_JWKS_URL=",
        f"WALLET_DATABASE_URL=sqlite:///{tmp_path / 'wallet.db'}",
    } <= set(lines)


def test_what_config_prints_can_be_set(tmp_path: Path) -> None:
    issuer = r'the shop\'s "login" # 1'
    printed = _run(
        "config", directory=tmp_path, threads=7, self_deposit=False, jwt_issuer=issuer
    ).stdout
    (tmp_path / ".env").write_text(printed)
    environment = {
        name: value
        for name, value in wallet_environment(tmp_path, "").items()
        if not name.startswith("WALLET_")
    }

    again = run_wallet("config", directory=tmp_path, environment=environment)

    assert again.stdout == printed


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://wallet:s3cret%40@db:5432/wallet", "postgresql://wallet:***@db:5432/wallet"),
        (
            "postgresql://db/wallet?user=a&password=s3cret",
            "postgresql://db/wallet?user=a&password=***",
        ),
        ("postgresql://db/w?sslpassword=s3cret&a=b", "postgresql://db/w?sslpassword=***&a=b"),
        ("postgresql://wallet:a&s3cret/b@db/wallet", "postgresql://wallet:***@db/wallet"),
        ("postgresql://wallet:a@s3cret@db/wallet", "postgresql://wallet:***@db/wallet"),
        ("postgresql://wallet:s3cret?s3cret@db/wallet", "postgresql://wallet:***@db/wallet"),
        ("postgresql://wallet@db/wallet", "postgresql://wallet@db/wallet"),
    ],
)
def test_config_keeps_passwords_to_itself(tmp_path: Path, url: str, shown: str) -> None:
    printed = _run("config", directory=tmp_path, database_url=url).stdout

    assert f"WALLET_DATABASE_URL={shown}\n" in printed
    assert "s3cret" not in printed


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://s3cret@keys.example/jwks", "https://***@keys.example/jwks"),
        ("https://a:s3cret@keys.example/jwks", "https://a:***@keys.example/jwks"),
        ("https://keys.example/jwks?kind=a&sig=s3cret", "https://keys.example/jwks?kind=a&sig=***"),
        ("https://keys.example/jwks?x-api-key=s3cret", "https://keys.example/jwks?x-api-key=***"),
    ],
)
def test_config_keeps_what_opens_a_jwks_to_itself(tmp_path: Path, url: str, shown: str) -> None:
    outcome = _run("config", directory=tmp_path, jwt_secret_file="", jwt_jwks_url=url)
    printed = outcome.stdout

    assert shown in printed
    assert "s3cret" not in printed


def test_token_prints_a_token_and_nothing_else(tmp_path: Path) -> None:
    outcome = _run("token", "alice", directory=tmp_path)

    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert TOKEN.fullmatch(outcome.stdout)


def test_a_printed_token_works_within_its_scopes(sqlite_url: str, tmp_path: Path) -> None:
    plain = _run("token", "alice", directory=tmp_path).stdout.strip()
    scopes = ("--scope", "wallet:admin", "--scope", "wallet:act-for-any")
    scoped = _run("token", "shop", *scopes, directory=tmp_path).stdout.strip()

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
    token = _run("token", "alice", "--ttl", str(longest), directory=tmp_path).stdout.strip()
    refused = _run("token", "alice", "--ttl", str(longest + 1), directory=tmp_path)

    with (
        ServerProcess(tmp_path, sqlite_url) as server,
        Wallet(server.target, token, plaintext=True) as alice,
    ):
        assert alice.balance().posted.minor_units == 0
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--ttl" in refused.stderr


def test_token_refuses_a_name_that_no_user_can_have(tmp_path: Path) -> None:
    outcome = _run("token", "@external", directory=tmp_path)

    assert outcome.stdout == ""
    _assert_one_clear_line(outcome, 2, "USER_ID")


def test_token_needs_the_key_that_tokens_are_signed_with(tmp_path: Path) -> None:
    outcome = _run(
        "token",
        "alice",
        directory=tmp_path,
        jwt_secret_file="",
        jwt_jwks_url="https://login.invalid/jwks",
    )

    assert outcome.stdout == ""
    _assert_one_clear_line(outcome, 2, "WALLET_JWT_SECRET_FILE")


@pytest.mark.parametrize("command", [("token", "alice"), ("serve",)], ids=["token", "serve"])
def test_a_secret_that_could_be_guessed_is_refused(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "short").write_text("hunter2")

    outcome = _run(*command, directory=tmp_path, jwt_secret_file=tmp_path / "short")

    assert outcome.stdout == ""
    _assert_one_clear_line(outcome, 2, "WALLET_JWT_SECRET_FILE", "32")


def test_a_secret_of_our_own_making_that_got_lost_is_named_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var/development-jwt-secret").touch()

    outcome = _run("token", "alice", directory=tmp_path, jwt_secret_file="")

    _assert_one_clear_line(outcome, 2, "var/development-jwt-secret: ", "32")
    assert "WALLET_JWT_SECRET_FILE" not in outcome.stderr


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("workers", "0"),
        ("listen", "50051"),
        ("listen", "127.0.0.1:65536"),
        ("currency", "XXX"),
        ("self_deposit", "perhaps"),
        ("log_level", "loud"),
        ("jwt_secret_file", "missing"),
        ("database_url", "wallet.db"),
        ("database_url", "mysql://root@localhost/wallet"),
        ("database_url", "sqlite://"),
        ("database_url", "sqlite:///jwt-secret/wallet.db"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, setting: str, value: str) -> None:
    outcome = _run("serve", directory=tmp_path, **{setting: value})

    assert outcome.stdout == ""
    _assert_one_clear_line(outcome, 2, f"WALLET_{setting.upper()}")


def test_an_address_of_keys_that_is_none_is_named(tmp_path: Path) -> None:
    outcome = _run(
        "token", "alice", directory=tmp_path, jwt_secret_file="", jwt_jwks_url="login.invalid"
    )

    _assert_one_clear_line(outcome, 2, "WALLET_JWT_JWKS_URL")


@pytest.mark.parametrize("setting", ["jwt_public_key_file", "jwt_jwks_file"])
@pytest.mark.parametrize("content", [None, "not a key"], ids=["missing", "garbage"])
def test_a_wrong_key_file_is_named(tmp_path: Path, setting: str, content: str | None) -> None:
    if content:
        (tmp_path / "keys").write_text(content)

    outcome = _run("serve", directory=tmp_path, jwt_secret_file="", **{setting: tmp_path / "keys"})

    _assert_one_clear_line(outcome, 2, f"WALLET_{setting.upper()}")


@pytest.mark.parametrize("content", [None, "not a certificate"], ids=["missing", "garbage"])
def test_a_wrong_certificate_is_named(tmp_path: Path, content: str | None) -> None:
    issued = issue_certificate(tmp_path, "wallet.example")
    wrong = tmp_path / "wrong.crt"
    if content:
        wrong.write_text(content)

    outcome = _run("serve", directory=tmp_path, tls_cert_file=wrong, tls_key_file=issued.key_file)

    _assert_one_clear_line(outcome, 2, "WALLET_TLS_CERT_FILE")


def test_a_certificate_that_grpc_cannot_use_is_named(tmp_path: Path) -> None:
    certificate = make_certificate("wallet", Ed25519PrivateKey.generate())

    outcome = _run("serve", directory=tmp_path, **write_certificate(tmp_path, certificate))

    _assert_one_clear_line(outcome, 2, "WALLET_TLS_CERT_FILE", "RSA or ECDSA")


@pytest.mark.parametrize("setting", ["jwt_secret_file", "tls_cert_file"])
def test_a_wrong_setting_that_workers_find_is_named_too(tmp_path: Path, setting: str) -> None:
    issued = issue_certificate(tmp_path, "wallet.example")
    tls = {"tls_cert_file": issued.cert_file, "tls_key_file": issued.key_file}

    outcome = _run(
        "serve", "--workers", "2", directory=tmp_path, **{**tls, setting: tmp_path / "missing"}
    )

    _assert_one_clear_line(outcome, 2, f"WALLET_{setting.upper()}")


@pytest.mark.parametrize("content", [None, "", "not a certificate"], ids=repr)
def test_wrong_authorities_of_clients_are_named(tmp_path: Path, content: str | None) -> None:
    issued = issue_certificate(tmp_path, "wallet.example")
    wrong = tmp_path / "clients.crt"
    if content is not None:
        wrong.write_text(content)

    outcome = _run(
        "serve",
        directory=tmp_path,
        tls_cert_file=issued.cert_file,
        tls_key_file=issued.key_file,
        tls_client_ca_file=wrong,
    )

    _assert_one_clear_line(outcome, 2, "WALLET_TLS_CLIENT_CA_FILE", str(wrong))


def test_half_a_pair_of_tls_files_is_refused(tmp_path: Path) -> None:
    outcome = _run("serve", directory=tmp_path, tls_cert_file="server.crt")

    _assert_one_clear_line(outcome, 2, "WALLET_TLS_CERT_FILE", "WALLET_TLS_KEY_FILE")


def test_plaintext_for_other_machines_must_be_allowed(tmp_path: Path) -> None:
    outcome = _run("serve", "--listen", "0.0.0.0:0", directory=tmp_path)

    _assert_one_clear_line(outcome, 2, "WALLET_LISTEN", "--insecure")


def test_a_secret_of_our_own_making_serves_this_machine_only(tmp_path: Path) -> None:
    outcome = _run(
        "serve", "--listen", "0.0.0.0:0", "--insecure", directory=tmp_path, jwt_secret_file=""
    )

    _assert_one_clear_line(outcome, 2, "WALLET_JWT_SECRET_FILE")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_named(tmp_path: Path, taken_port: int, workers: str) -> None:
    listen = f"127.0.0.1:{taken_port}"

    outcome = _run("serve", "--listen", listen, "--workers", workers, directory=tmp_path)

    assert outcome.stdout == ""
    _assert_one_clear_line(outcome, 2, "WALLET_LISTEN", listen)


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_migrate_makes_the_schema_and_may_be_repeated(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str
) -> None:
    urls = {"postgres": "empty_postgres_url"}
    url = request.getfixturevalue(urls[engine]) if engine in urls else ""

    first = _run("migrate", directory=tmp_path, database_url=url)
    again = _run("migrate", directory=tmp_path, database_url=url)

    assert RELEASE.fullmatch(first.stdout), first.stderr
    assert (again.returncode, again.stdout) == (0, first.stdout)
    empty = "wallet: proven: 0 accounts, 0 entries, 0 transactions, 0 holds\n"
    assert _run("verify", directory=tmp_path, database_url=url).stdout == empty


@pytest.mark.parametrize("command", ["serve", "verify", "export"])
def test_a_database_without_schema_asks_for_migrate(
    empty_postgres_url: str, tmp_path: Path, command: str
) -> None:
    outcome = _run(command, directory=tmp_path, database_url=empty_postgres_url)

    assert outcome.stdout == ""
    _assert_one_clear_line(outcome, 1, "WALLET_DATABASE_URL", "`wallet migrate`")


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

    outcome = _run("migrate", directory=tmp_path, database_url=url)

    _assert_one_clear_line(outcome, 1, "WALLET_DATABASE_URL", "timeout expired")


def test_migrate_makes_no_books_where_they_could_be_lost(
    empty_postgres_url: str, tmp_path: Path
) -> None:
    url = make_url(empty_postgres_url).update_query_dict({"options": "-c synchronous_commit=off"})

    outcome = _run(
        "migrate",
        directory=tmp_path,
        database_url=url.render_as_string(hide_password=False),
    )

    _assert_one_clear_line(outcome, 1, "WALLET_DATABASE_URL", "synchronous_commit")


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_the_file_of_another_program_is_left_alone_at_once(tmp_path: Path, command: str) -> None:
    file = tmp_path / "other.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE accounts (name TEXT)")

    outcome = _run(command, directory=tmp_path, database_url=f"sqlite:///{file}")

    _assert_one_clear_line(outcome, 1, "WALLET_DATABASE_URL", "table accounts already exists")
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

    outcome = _run("verify", directory=tmp_path, database_url=database_url)

    assert outcome.stdout == "wallet: proven: 2 accounts, 4 entries, 4 transactions, 1 holds\n"


def test_healthcheck_follows_the_server(server_process: ServerProcess, tmp_path: Path) -> None:
    serving = _run("healthcheck", directory=tmp_path, listen=server_process.target)
    server_process.terminate()
    stopped = _run("healthcheck", directory=tmp_path, listen=server_process.target)

    assert (serving.returncode, serving.stdout) == (0, "wallet: SERVING\n")
    assert stopped.returncode == 1
    assert "no answer" in stopped.stdout


def test_healthcheck_of_a_certificate_finds_nobody_there(tmp_path: Path) -> None:
    files = write_certificate(tmp_path, make_certificate("wallet"))

    outcome = _run("healthcheck", directory=tmp_path, listen="127.0.0.1:1", **files)

    assert outcome.returncode == 1
    assert "no answer from 127.0.0.1:1: " in outcome.stdout


def test_healthcheck_follows_the_server_whatever_became_of_its_files(
    sqlite_url: str, tmp_path: Path
) -> None:
    tls = write_certificate(tmp_path, make_certificate("wallet"))
    with ServerProcess(tmp_path, sqlite_url, **tls) as server:
        for spoilt in (make_certificate("another").chain, b"not a certificate"):
            tls["tls_cert_file"].write_bytes(spoilt)
            outcome = _run("healthcheck", directory=tmp_path, listen=server.target, **tls)

            assert (outcome.returncode, outcome.stdout) == (0, "wallet: SERVING\n")


@pytest.mark.parametrize(
    "names",
    [[], [x509.IPAddress(ip_address("10.0.0.5"))], [x509.RFC822Name("a@b.example")]],
    ids=str,
)
def test_healthcheck_works_for_a_certificate_without_a_hosts_name(
    sqlite_url: str, tmp_path: Path, names: list[x509.GeneralName]
) -> None:
    issued = issue_certificate(tmp_path, "wallet.example", names)
    tls = {"tls_cert_file": issued.cert_file, "tls_key_file": issued.key_file}
    with ServerProcess(tmp_path, sqlite_url, **tls) as server:
        outcome = _run("healthcheck", directory=tmp_path, listen=server.target, **tls)

    assert (outcome.returncode, outcome.stdout) == (0, "wallet: SERVING\n")


def test_healthcheck_asks_no_proxy(
    server_process: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    outcome = _run("healthcheck", directory=tmp_path, listen=server_process.target)

    assert (outcome.returncode, outcome.stdout) == (0, "wallet: SERVING\n")


@pytest.mark.parametrize("demands_clients", [False, True], ids=["TLS", "mutual TLS"])
def test_healthcheck_works_whatever_name_the_certificate_is_for(
    sqlite_url: str, tmp_path: Path, *, demands_clients: bool
) -> None:
    issued = issue_certificate(tmp_path, "wallet.example")
    tls = {"tls_cert_file": issued.cert_file, "tls_key_file": issued.key_file}
    if demands_clients:
        tls["tls_client_ca_file"] = issued.ca_file
    with ServerProcess(tmp_path, sqlite_url, **tls) as server:
        outcome = _run("healthcheck", directory=tmp_path, listen=server.target, **tls)

    assert (outcome.returncode, outcome.stdout) == (0, "wallet: SERVING\n")


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

    _assert_one_clear_line(outcome, 1, "No space left on device")


def test_help_names_every_command(tmp_path: Path) -> None:
    outcome = _run("--help", directory=tmp_path)

    assert outcome.returncode == 0
    for command in ("serve", "migrate", "token", "verify", "statement", "export", "healthcheck"):
        assert f" {command} " in outcome.stdout


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
