"""Run by Alembic: apply steps inside the database transaction that `storage.migrate` began."""

from alembic import context

from wallet_service.storage.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
