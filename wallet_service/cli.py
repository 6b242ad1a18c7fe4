"""The `wallet` command."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.exc import DBAPIError

from wallet_service import server, workers
from wallet_service.audit.export import export_ledger
from wallet_service.audit.render import render
from wallet_service.audit.statement import Period, parse_moment, stream_statement
from wallet_service.audit.verify import verify as prove_books
from wallet_service.config import lines_of
from wallet_service.development import make_token, quick_start
from wallet_service.healthcheck import ask_health
from wallet_service.ledger.commands import AccountKey
from wallet_service.ledger.errors import LedgerCorrupt
from wallet_service.ledger.money import EXPONENTS
from wallet_service.logs import configure_logs
from wallet_service.settings import Settings, SettingsError, load_settings
from wallet_service.storage.database import Database
from wallet_service.storage.dialect import UnsafeDatabase
from wallet_service.storage.queries import read_account
from wallet_service.storage.schema_version import SchemaOutOfDate, check_schema
from wallet_service.transport.auth import SCOPES
from wallet_service.transport.validation import USER_ID_RULE, is_user_id

_TOKEN_TTL_S = 3600
_TOKEN_TTL_MAX_S = 10 * 365 * 24 * 3600

main = typer.Typer(
    name="wallet",
    help="Keeps users' money: exact, once, durable. Settings are WALLET_* variables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class StatementFormat(StrEnum):
    """How a statement is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


class ExportFormat(StrEnum):
    """How the ledger is written."""

    JSONL = "jsonl"
    CSV = "csv"
    BEANCOUNT = "beancount"


def _show_version(is_asked: bool) -> None:  # noqa: FBT001 (as typer calls it)
    if is_asked:
        typer.echo(f"wallet {version('wallet-service')}")
        raise typer.Exit


@main.callback()
def _before(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the release and exit."
        ),
    ] = False,
) -> None:
    """Take what stands before the command's name."""


_errors = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def _clear_failures() -> Iterator[None]:
    """End with one clear line where no code is at fault: 2 for a setting, 3 for damage, else 1."""
    try:
        yield
    except SettingsError as error:
        _fail(str(error), code=2)
    except (UnsafeDatabase, SchemaOutOfDate) as error:
        _fail(f"WALLET_DATABASE_URL: {error}", code=1)
    except LedgerCorrupt as error:
        _fail(f"DAMAGED {error}", code=3)
    except DBAPIError as error:
        _fail(f"WALLET_DATABASE_URL: {error.orig}", code=1)
    except BrokenPipeError:  # whoever reads has read enough
        raise
    except OSError as error:
        with suppress(OSError):
            sys.stdout.close()  # what could not be written is not tried again at the end
        _fail(str(error), code=1)


def _fail(message: str, *, code: int) -> NoReturn:
    line = " ".join(message.split())  # a driver's message can have several
    _errors.print(f"wallet: {line}", style="red", markup=False)
    raise typer.Exit(code)


@main.command()
def serve(
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to serve [127.0.0.1:50051].")
    ] = None,
    worker_count: Annotated[
        int | None, typer.Option("--workers", metavar="N", help="Processes sharing the port [1].")
    ] = None,
    *,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow plaintext where other machines can call.")
    ] = False,
) -> None:
    """Serve until SIGTERM, then drain."""
    with _clear_failures():
        settings = load_settings(listen=listen, workers=worker_count, insecure=insecure or None)
        configure_logs(settings.log_level)
        workers.serve(settings, on_ready=lambda port: _announce(settings, port))


def _announce(settings: Settings, port: int) -> None:
    address = f"{settings.listen.rpartition(':')[0]}:{port}"
    lines = [f"wallet: serving on {address}"]
    if settings.is_development:
        lines.append(quick_start(settings, address))
    with suppress(OSError):  # it serves though nobody reads that
        typer.echo("\n".join(lines))


@main.command()
def migrate() -> None:
    """Bring the database's schema to this release's version."""
    from wallet_service.storage.migrate import migrate as migrate_schema  # noqa: PLC0415 (seldom)

    with _clear_failures():
        database = server.open_from(load_settings())
        database.check_durability()  # rather before there are books in it
        typer.echo(f"wallet: the schema is at version {migrate_schema(database)}")


@main.command()
def token(
    user_id: Annotated[str, typer.Argument(metavar="USER_ID", help="Who the token speaks for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(metavar="SCOPE", help="wallet:act-for-any or wallet:admin; repeatable."),
    ] = None,
    ttl: Annotated[
        int,
        typer.Option(
            min=1, max=_TOKEN_TTL_MAX_S, metavar="SECONDS", help="For how long it is good."
        ),
    ] = _TOKEN_TTL_S,
) -> None:
    """Print a token, and nothing else, on standard output."""
    with _clear_failures():
        _check_user_id("USER_ID", user_id)
        for name in scope or ():
            if name not in SCOPES:
                raise SettingsError(f"--scope: {name} is none of {', '.join(sorted(SCOPES))}")
        typer.echo(make_token(load_settings(), user_id, scopes=scope or (), ttl_s=ttl))


def _check_user_id(argument: str, user_id: str) -> None:
    if not is_user_id(user_id):
        raise SettingsError(f"{argument}: {USER_ID_RULE}")


def _open_books(settings: Settings) -> Database:
    """Open the database for a command that only reads, and so makes none."""
    database = server.open_from(settings, must_exist=True)
    check_schema(database)
    return database


@main.command()
def verify() -> None:
    """Prove the books: exit 0 with counts, or 3 naming the damaged row."""
    with _clear_failures():
        database = _open_books(load_settings())
        with _progress("proving") as progress:
            counts = prove_books(database, progress)
        typer.echo(
            f"wallet: proven: {counts.accounts} accounts, {counts.entries} entries,"
            f" {counts.transactions} transactions, {counts.holds} holds"
        )


@main.command()
def statement(
    user_id: Annotated[str, typer.Argument(metavar="USER", help="Whose account.")],
    currency: Annotated[str | None, typer.Option(help="Which [WALLET_CURRENCY].")] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="A date or RFC 3339 time.")
    ] = None,
    end: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="TIME", help="A date, that day included, or a time, excluded."
        ),
    ] = None,
    *,
    text_format: Annotated[StatementFormat, typer.Option("--format")] = StatementFormat.TABLE,
) -> None:
    """Print an account's statement: opening balance, lines, closing balance."""
    with _clear_failures():
        _check_user_id("USER", user_id)
        settings = load_settings()
        period = _period(start, end)
        key = AccountKey(user_id, currency or settings.currency)
        database = _open_books(settings)
        _check_currency(database, key)
        _write(render(key, stream_statement(database, key, period), text_format))


def _check_currency(database: Database, key: AccountKey) -> None:
    """Refuse a currency of no account: accounts outlive theirs, anything else was mistyped."""
    if key.currency_code in EXPONENTS:
        return
    if not key.currency_code.isascii() or read_account(database, key) is None:
        raise SettingsError("--currency: not a current ISO 4217 currency code")


def _period(start: str | None, end: str | None) -> Period:
    period = Period(_moment("--from", start, is_end=False), _moment("--to", end, is_end=True))
    if period.start is not None and period.end is not None and period.end <= period.start:
        raise SettingsError(f"--to: {end} leaves no time after --from {start}")
    return period


def _moment(option: str, text: str | None, *, is_end: bool) -> int | None:
    try:
        return None if text is None else parse_moment(text, is_end=is_end)
    except ValueError as error:
        raise SettingsError(
            f"{option}: must be a date or an RFC 3339 time, not {text!r}"
        ) from error


@main.command()
def export(
    text_format: Annotated[ExportFormat, typer.Option("--format")] = ExportFormat.JSONL,
) -> None:
    """Print the whole ledger, as of one moment."""
    with _clear_failures():
        database = _open_books(load_settings())
        with _progress("exporting") as progress:
            _write(export_ledger(database, text_format, progress))


def _write(texts: Iterable[str]) -> None:
    """Write data as it is: `typer.echo` would leave out what looks like a terminal's colours."""
    sys.stdout.writelines(texts)
    sys.stdout.flush()


@contextmanager
def _progress(doing: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal; nothing elsewhere."""
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Standard output is the command's own: by default the bar would draw it to the terminal too.
    with Progress(
        *columns, console=_errors, disable=not _errors.is_terminal, redirect_stdout=False
    ) as bar:
        task = bar.add_task("")
        yield lambda done, total: bar.update(task, completed=done, total=total)


@main.command()
def config() -> None:
    """Print all settings as they are now, as lines of a `.env` file without passwords."""
    with _clear_failures():
        for line in lines_of(load_settings()):
            typer.echo(line)


@main.command()
def healthcheck() -> None:
    """Ask the server at WALLET_LISTEN whether it serves: exit 0 if so, else 1."""
    with _clear_failures():
        status = ask_health(load_settings())
    if status != "SERVING":
        _fail(status, code=1)
    typer.echo("wallet: SERVING")
