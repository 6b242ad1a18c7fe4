"""Bring a database to the schema this code was written for, or say that it is not there."""

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from wallet_service.storage.database import Database

_ATTEMPTS_MAX = 5


class SchemaOutOfDate(Exception):
    """The database's schema is not the one this code was written for."""


def migrate(database: Database) -> str:
    """
    Apply all missing steps in one database transaction; do nothing where none is missing.

    Where several processes migrate at once, one of them wins, and the others find its work done.

    Returns:
        The version of the schema now.
    """
    lost_to_others: tuple[type[DBAPIError], ...] = (IntegrityError, ProgrammingError)
    if database.is_embedded:
        lost_to_others += (OperationalError,)  # a new file's first writer has it for itself
    for attempt in Retrying(
        retry=retry_if_exception_type(lost_to_others),
        stop=stop_after_attempt(_ATTEMPTS_MAX),
        wait=wait_random(0, 1),
        reraise=True,
    ):
        with attempt, database.transaction() as connection:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    return _version_needed()


def check_schema(database: Database) -> None:
    """
    Make sure that the schema is current.

    Raises:
        SchemaOutOfDate: It is older or newer than this code; the message tells what to do.

        sqlalchemy.exc.DBAPIError: The database does not answer.
    """
    with database.writer.connect() as connection:
        version = MigrationContext.configure(connection).get_current_revision()
    needed = _version_needed()
    if version != needed:
        raise SchemaOutOfDate(
            f"the database's schema is at version {version or 'none'}, this server needs {needed}:"
            " run `wallet migrate` of this release"
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "wallet_service:storage/migrations")
    config.set_main_option("path_separator", "os")
    return config


def _version_needed() -> str:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head
    return head
