"""deploy/postgresql/roles.sql on a real PostgreSQL: the server's login serves, and no more."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from harness.documents import ROOT
from harness.postgres import GivenPostgres, StartedPostgres, create_database, drop_database
from harness.processes import ServerProcess, run_wallet
from harness.tokens import service_token, token
from psycopg2 import sql
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy.engine import make_url
from wallet_client import InsufficientFunds, Wallet

SCRIPT = (ROOT / "deploy/postgresql/roles.sql").read_text()
ROLES = ("wallet_owner", "wallet_app", "wallet_reader")
PASSWORD = "a password of the tests"
STATE = ("accounts", "holds", "reversals")
TABLES = (*STATE, "transactions", "entries", "alembic_version")


def _execute(url: str, statement: str | sql.Composable) -> None:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)


def _present_roles(url: str) -> set[str]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT rolname FROM pg_roles")
        return {name for (name,) in cursor.fetchall()}


def _login(role: str) -> str:
    return f"{role}_test_{os.getpid()}"


@pytest.fixture(scope="module")
def guarded_url(postgres: StartedPostgres | GivenPostgres, postgres_template: str) -> Iterator[str]:
    """A migrated database with the roles, and a login in each of them."""
    url = create_database(postgres, template=postgres_template)
    present = _present_roles(url)
    _execute(url, SCRIPT)
    for role in ROLES:
        statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}").format(
            sql.Identifier(_login(role)), sql.Literal(PASSWORD), sql.Identifier(role)
        )
        _execute(url, statement)
    yield url
    drop_database(postgres, url)
    for name in [*map(_login, ROLES), *(role for role in ROLES if role not in present)]:
        _execute(postgres.admin_url, sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def _url_of(role: str, guarded_url: str) -> str:
    url = make_url(guarded_url).set(username=_login(role), password=PASSWORD)
    return url.render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def app_url(guarded_url: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of the books as the server's login, with an account of alice's that has 300."""
    url = _url_of("wallet_app", guarded_url)
    with (
        ServerProcess(tmp_path_factory.mktemp("server"), url) as server,
        Wallet(server.target, token("alice"), plaintext=True) as alice,
    ):
        alice.deposit(300)
    return url


@pytest.fixture
def reader_url(app_url: str, guarded_url: str) -> str:
    return _url_of("wallet_reader", guarded_url)


@pytest.fixture
def owner_url(app_url: str, guarded_url: str) -> str:
    return _url_of("wallet_owner", guarded_url)


def _alices_kopecks(url: str) -> int:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT posted_minor FROM accounts WHERE user_id = 'alice'")
        return int(cursor.fetchone()[0])


def _assert_forbidden(url: str, statement: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        _execute(url, statement)
    assert _alices_kopecks(url) == 300


def test_the_service_runs_with_the_rights_of_the_app_role(app_url: str, tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path, app_url) as server,
        Wallet(server.target, service_token(), plaintext=True) as service,
    ):
        service.open_account("carol")
        service.deposit(500, user_id="dave")
        again = service.transfer("carol", 200, user_id="dave", request_id="once")
        assert service.transfer("carol", 200, user_id="dave", request_id="once").replayed
        service.withdraw(50, user_id="carol")
        with pytest.raises(InsufficientFunds):
            service.transfer("carol", 301, user_id="dave")

        assert not again.replayed
        assert service.balance(user_id="dave").posted.minor_units == 300
        assert len(list(service.transactions(user_id="carol"))) == 2


def test_a_login_that_lacks_rights_is_told_at_the_start(reader_url: str, tmp_path: Path) -> None:
    outcome = run_wallet("serve", directory=tmp_path, database_url=reader_url)

    assert outcome.returncode == 1
    assert "this login may not INSERT in accounts: run deploy/postgresql/roles.sql" in (
        outcome.stderr
    )


def test_holds_reversals_and_settings_need_no_other_rights(app_url: str, tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path, app_url) as server,
        Wallet(server.target, service_token(), plaintext=True) as service,
    ):
        service.deposit(500, user_id="erin")
        kept = service.create_hold(100, user_id="erin").hold
        released = service.create_hold(200, user_id="erin").hold
        taken = service.capture_hold(kept.hold_id, 60, keep_remainder=True).transaction
        service.void_hold(released.hold_id)
        service.reverse(taken.transaction_id, 10)
        service.reverse(taken.transaction_id, 20)
        service.update_account("erin", min_balance_minor=-100)
        balance = service.balance(user_id="erin")

        assert (balance.posted.minor_units, balance.held.minor_units) == (470, 40)
        assert next(service.watch(user_id="erin")).amount.minor_units == 500
        assert [change.caller for change in service.account_changes("erin")] == ["service"]


@pytest.mark.parametrize("table", ["transactions", "entries"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {} SET amount_minor = 1",
        "DELETE FROM {}",
        "TRUNCATE {}",
        "SELECT * FROM {} FOR UPDATE",
        "DROP TABLE {}",
        "ALTER TABLE {} ADD COLUMN note text",
        "CREATE INDEX ON {} (created_at)",
        "CREATE RULE sly AS ON INSERT TO {} DO INSTEAD NOTHING",
    ],
)
def test_the_app_role_cannot_change_what_was_recorded(
    app_url: str, table: str, statement: str
) -> None:
    _assert_forbidden(app_url, statement.format(table))


@pytest.mark.parametrize(
    "statement",
    [
        *(f"DELETE FROM {table}" for table in STATE),
        *(f"TRUNCATE {table}" for table in STATE),
        *(f"DROP TABLE {table}" for table in STATE),
        "ALTER TABLE accounts DROP CONSTRAINT accounts_available_above_minimum",
        "UPDATE alembic_version SET version_num = '0000'",
        "CREATE TABLE mine (number int)",
        "CREATE TEMPORARY TABLE mine (number int)",
        "CREATE SCHEMA mine",
        "SET ROLE wallet_owner",
    ],
)
def test_the_app_role_cannot_do_more_than_serve(app_url: str, statement: str) -> None:
    _assert_forbidden(app_url, statement)


@pytest.mark.parametrize(
    "statement",
    [
        *(f"INSERT INTO {table} DEFAULT VALUES" for table in TABLES),
        *(f"DELETE FROM {table}" for table in TABLES),
        "UPDATE accounts SET posted_minor = 1",
        "UPDATE holds SET state = 'VOIDED'",
        "UPDATE reversals SET reversed_minor = 0",
        "CREATE TABLE mine (number int)",
    ],
)
def test_the_reader_role_cannot_write(reader_url: str, statement: str) -> None:
    _assert_forbidden(reader_url, statement)


def test_the_reader_role_is_enough_for_verify(reader_url: str, tmp_path: Path) -> None:
    outcome = run_wallet("verify", directory=tmp_path, database_url=reader_url)

    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.startswith("wallet: proven: ")


def test_the_owner_role_migrates(owner_url: str, tmp_path: Path) -> None:
    outcome = run_wallet("migrate", directory=tmp_path, database_url=owner_url)
    _execute(owner_url, "ALTER TABLE accounts ADD COLUMN note text")
    _execute(owner_url, "ALTER TABLE accounts DROP COLUMN note")
    _execute(owner_url, "CREATE TABLE tomorrow (number int)")
    _execute(owner_url, "DROP TABLE tomorrow")

    assert outcome.returncode == 0, outcome.stderr


def test_the_script_may_be_run_again(guarded_url: str, app_url: str) -> None:
    _execute(guarded_url, SCRIPT)

    _assert_forbidden(app_url, "DELETE FROM transactions")


def test_the_script_names_every_table(postgres_url: str) -> None:
    with closing(psycopg2.connect(postgres_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = {name for (name,) in cursor.fetchall()}

    assert tables == set(TABLES)
    assert all(f"ALTER TABLE {table} OWNER TO wallet_owner" in SCRIPT for table in tables)
