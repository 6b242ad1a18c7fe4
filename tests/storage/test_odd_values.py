"""Values that SQLite keeps, the wallet never stored, and some of which cannot even be read."""

from collections.abc import Iterator
from typing import Any

import pytest
from harness.books import ALICE, run_commands, write_books
from sqlalchemy import Table, text

from wallet_service.audit.export import export_ledger
from wallet_service.audit.render import render
from wallet_service.audit.statement import Period, stream_statement
from wallet_service.audit.verify import verify
from wallet_service.ledger.commands import Deposit
from wallet_service.ledger.errors import LedgerCorrupt
from wallet_service.storage.database import Database, open_database
from wallet_service.storage.schema import (
    entries,
    holds,
    metadata,
    reversals,
    transactions,
)

LATER = 2**62  # beyond the years that people count


@pytest.fixture
def books(sqlite_url: str) -> Iterator[Database]:
    """An empty SQLite file."""
    opened = open_database(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def ids(books: Database) -> dict[str, str]:
    """Books to damage; the ids of their transactions."""
    return write_books(books)


def _damage(database: Database, change: str, **values: Any) -> None:
    with database.transaction() as connection:
        assert connection.execute(text(f"UPDATE {change}"), values).rowcount > 0


def _prove(database: Database) -> None:
    verify(database, lambda _done, _total: None)


def _export(database: Database, text_format: str) -> str:
    return "".join(export_ledger(database, text_format, lambda _done, _total: None))


def _print_statement(database: Database, text_format: str) -> str:
    lines = stream_statement(database, ALICE, Period())
    return "".join(render(ALICE, lines, text_format))


def _stored(transaction_id: str) -> str:
    return transaction_id.replace("-", "")


#: Which rows have such an id, by what was asked.
SPELLED_IDS = [
    (transactions, "transaction_id", "refused"),
    (transactions, "transaction_id", "transfer"),
    (transactions, "transaction_id", "void"),
    (transactions, "hold_id", "void"),
    (transactions, "hold_id", "capture"),
    (transactions, "reversal_of", "reversal"),
    (entries, "transaction_id", "withdrawal"),
    (holds, "hold_id", "given_up"),
    (reversals, "transaction_id", "sale"),
]


@pytest.mark.parametrize("spelled", ["upper({})", "'{{' || {} || '}}'", "' ' || substr({}, 2)"])
@pytest.mark.parametrize(("table", "column", "name"), SPELLED_IDS, ids=str)
def test_an_id_spelled_in_another_way_is_found(
    *, books: Database, ids: dict[str, str], table: Table, column: str, name: str, spelled: str
) -> None:
    key = "transaction_id" if table is not holds else "hold_id"
    change = f"{table} SET {column} = {spelled.format(column)} WHERE {key} = :id"
    _damage(books, change, id=_stored(ids[name]))

    with pytest.raises(LedgerCorrupt, match=f"{column} is not 32 lower-case") as corrupt:
        _prove(books)

    assert str(corrupt.value.values["row"]).startswith(f"{table} ")


def test_every_column_of_ids_is_spelled_in_another_way_here() -> None:
    columns = {
        column
        for table in metadata.sorted_tables
        for column in table.columns
        if str(column.type) == "CHAR(32)"
    }

    assert {table.c[column] for table, column, _ in SPELLED_IDS} == columns


#: What is stored instead, and the complaint, by "table, column".
ODD_VALUES: dict[tuple[str, str], tuple[object, str]] = {
    ("accounts", "limits"): ("{", "limits is not JSON"),
    ("accounts", "created_at"): ("abc", "created_at is not an integer"),
    ("transactions", "metadata"): ('{"month"', "metadata is not JSON"),
    ("transactions", "arguments"): ("{}\0", "arguments is not JSON"),
    ("transactions", "refusal_values"): (b"\xff", "refusal_values is not JSON"),
    ("transactions", "caller"): (b"\xff", "caller is not text"),
    ("transactions", "description"): (b"\xff", "description is not text"),
    ("transactions", "created_at"): ("abc", "created_at is not an integer"),
    ("transactions", "digest"): ("abc", "digest is not bytes"),
    ("transactions", "transaction_id"): ("nonsense", "transaction_id is not 32"),
    ("entries", "amount_minor"): ("abc", "amount_minor is not an integer"),
    ("entries", "created_at"): (b"\1", "created_at is not an integer"),
    ("entries", "transaction_id"): ("zz", "transaction_id is not 32"),
    ("holds", "metadata"): ("{", "metadata is not JSON"),
    ("holds", "hold_id"): ("zz", "hold_id is not 32"),
}
WHERE = {
    "accounts": ("user_id = 'alice'", "accounts alice/RUB"),
    "entries": ("user_id = 'alice' AND sequence = 2", "entries alice/RUB #2"),
    "transactions": ("request_id = '3'", "transactions {transfer}"),
    "holds": ("description = 'deposit'", "holds {held}"),
}


def _make_odd(database: Database, ids: dict[str, str], place: tuple[str, str]) -> str:
    """Damage a value; return the complaint."""
    table, column = place
    value, problem = ODD_VALUES[place]
    where, row = WHERE[table]
    _damage(database, f"{table} SET {column} = :value WHERE {where}", value=value)
    if place in {("transactions", "transaction_id"), ("holds", "hold_id")}:
        row = f"{table} {value!s}"
    return f"{row.format(**ids)}: {problem}"


@pytest.mark.parametrize("place", ODD_VALUES, ids=".".join)
def test_the_proof_names_the_row_of_a_value_that_cannot_be_read(
    books: Database, ids: dict[str, str], place: tuple[str, str]
) -> None:
    complaint = _make_odd(books, ids, place)

    with pytest.raises(LedgerCorrupt) as corrupt:
        _prove(books)

    # What can be read may be found as what it is not, or by the line that vouches for it.
    assert corrupt.value.values["row"] in {complaint.partition(":")[0], "entries alice/RUB #2"}


@pytest.mark.parametrize("text_format", ["jsonl", "csv", "beancount"])
@pytest.mark.parametrize("place", ODD_VALUES, ids=".".join)
def test_an_export_names_the_row_of_a_value_that_cannot_be_read(
    books: Database, ids: dict[str, str], place: tuple[str, str], text_format: str
) -> None:
    complaint = _make_odd(books, ids, place)

    with pytest.raises(LedgerCorrupt) as corrupt:
        _export(books, text_format)

    assert str(corrupt.value).startswith(complaint)


@pytest.mark.parametrize("text_format", ["table", "csv", "json"])
@pytest.mark.parametrize(
    "place",
    [
        ("transactions", "metadata"),
        ("transactions", "arguments"),
        ("transactions", "description"),
        ("entries", "amount_minor"),
        ("entries", "transaction_id"),
    ],
    ids=".".join,
)
def test_a_statement_names_the_row_of_a_value_that_cannot_be_read(
    books: Database, ids: dict[str, str], place: tuple[str, str], text_format: str
) -> None:
    complaint = _make_odd(books, ids, place)

    with pytest.raises(LedgerCorrupt) as corrupt:
        _print_statement(books, text_format)

    assert str(corrupt.value).startswith(complaint)


@pytest.mark.parametrize(
    "limits",
    [
        "5",
        '"x"',
        "[1]",
        '{"window": 1}',
        '[["CALENDAR_DAY", 100.0, null]]',
        '[["CALENDAR_DAY", 100, true]]',
        '[["FORTNIGHT", 100, null]]',
    ],
)
def test_limits_of_another_shape_name_their_account(database: Database, limits: str) -> None:
    write_books(database)
    kind = "json" if database.is_embedded else "jsonb"
    shaped = f"CAST('{limits}' AS {kind})" if kind == "jsonb" else f"'{limits}'"
    _damage(database, f"accounts SET limits = {shaped} WHERE user_id = 'alice'")

    with pytest.raises(LedgerCorrupt, match="accounts alice/RUB: limits is n"):
        _prove(database)
    with pytest.raises(LedgerCorrupt, match="accounts alice/RUB: limits is n"):
        _export(database, "beancount")
    with pytest.raises(LedgerCorrupt, match="accounts alice/RUB: limits is n"):
        run_commands(
            database, Deposit(caller="service", request_id="x", target=ALICE, amount_minor=1)
        )


@pytest.mark.parametrize("number", ["1", "1" + 30 * "0"])
def test_labels_that_no_request_could_bring_name_their_transaction(
    database: Database, number: str
) -> None:
    ids = write_books(database)
    _damage(
        database, f"""transactions SET metadata = '{{"month": {number}}}' WHERE request_id = '3'"""
    )

    with pytest.raises(LedgerCorrupt, match=ids["transfer"]):
        _prove(database)


@pytest.mark.parametrize("text_format", ["jsonl", "csv", "beancount"])
def test_an_export_names_the_transaction_that_it_cannot_write(
    database: Database, text_format: str
) -> None:
    ids = write_books(database)
    _damage(database, "transactions SET created_at = :time WHERE request_id = '3'", time=LATER)

    with pytest.raises(LedgerCorrupt, match=f"transactions {ids['transfer']}: it cannot be"):
        _export(database, text_format)


@pytest.mark.parametrize("column", ["created_at", "updated_at"])
def test_an_export_names_the_account_that_it_cannot_write(database: Database, column: str) -> None:
    write_books(database)
    _damage(database, f"accounts SET {column} = :time WHERE user_id = 'alice'", time=LATER)

    with pytest.raises(LedgerCorrupt, match=f"accounts alice/RUB: {column}"):
        _export(database, "beancount")


def test_a_statement_names_the_line_that_it_cannot_write(database: Database) -> None:
    write_books(database)
    _damage(
        database,
        "entries SET created_at = :time WHERE user_id = 'alice' AND sequence = 3",
        time=LATER - 1,
    )

    with pytest.raises(LedgerCorrupt, match="entries alice/RUB #3: created_at"):
        _print_statement(database, "table")
