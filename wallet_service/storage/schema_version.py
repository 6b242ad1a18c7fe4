"""
Whether a database has the schema this code was written for.

Apart from `migrate`: it loads Alembic, whose memory a server that migrates nothing can save.
"""

from sqlalchemy import column, inspect, select, table

from wallet_service.storage.database import Database

#: The last step in `migrations/versions`.
VERSION = "0002"
#: Those before it.
EARLIER = {"0001"}

_VERSIONS = table("alembic_version", column("version_num"))


class SchemaOutOfDate(Exception):
    """The database's schema is not the one this code was written for."""


def read_version(database: Database) -> str | None:
    """
    Return the version of a database's schema; None where there is none.

    Raises:
        sqlalchemy.exc.DBAPIError: The database does not answer.
    """
    with database.writer.connect() as connection:
        if not inspect(connection).has_table(_VERSIONS.name):
            return None
        version: str | None = connection.scalar(select(_VERSIONS.c.version_num))
        return version


def check_schema(database: Database) -> None:
    """
    Make sure that the schema is current.

    Raises:
        SchemaOutOfDate: It is older or newer than this code; the message tells what to do.

        sqlalchemy.exc.DBAPIError: The database does not answer.
    """
    version = check_not_newer(database)
    if version != VERSION:
        raise SchemaOutOfDate(
            f"the database's schema is at version {version or 'none'}, this server needs {VERSION}:"
            " run `wallet migrate` of this release"
        )


def check_not_newer(database: Database) -> str | None:
    """
    Make sure that the schema is none that this release does not know; return its version.

    Raises:
        SchemaOutOfDate: It is.

        sqlalchemy.exc.DBAPIError: The database does not answer.
    """
    version = read_version(database)
    if version not in {None, VERSION, *EARLIER}:
        raise SchemaOutOfDate(
            f"the database's schema is at version {version}, which this release does not know:"
            " run the release that migrated it, or a later one, or use another database"
        )
    return version
