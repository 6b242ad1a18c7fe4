"""Bring a database to the schema this code was written for, or say that it is not there."""

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from wallet_service.storage.database import Database


class SchemaOutOfDate(Exception):
    """The database's schema is not the one this code was written for."""


def migrate(database: Database) -> str:
    """
    Apply all missing steps in one database transaction; do nothing where none is missing.

    Returns:
        The version of the schema now.
    """
    config = _config()
    with database.writer.begin() as connection:
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
