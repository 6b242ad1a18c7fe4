"""Bring a database to the schema this code was written for."""

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from wallet_service.storage.database import Database
from wallet_service.storage.schema_version import VERSION, check_not_newer

_ATTEMPTS_MAX = 5


def migrate(database: Database) -> str:
    """
    Apply all missing steps in one database transaction; do nothing where none is missing.

    Where several processes migrate at once, one of them wins, and the others find its work done.

    Returns:
        The version of the schema now.

    Raises:
        SchemaOutOfDate: A later release has migrated it further, or another program uses it.
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
        with attempt:
            check_not_newer(database)
            with database.transaction() as connection:
                config = _config()
                config.attributes["connection"] = connection
                command.upgrade(config, VERSION)
    return VERSION


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "wallet_service:storage/migrations")
    config.set_main_option("path_separator", "os")
    return config
