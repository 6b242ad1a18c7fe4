"""Holds, reversals, spending limits, and what requests ask beyond their transactions' columns."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_json = sa.JSON().with_variant(JSONB(), "postgresql")
_id = sa.Uuid(as_uuid=False)
_active = sa.text("state = 'ACTIVE'")
_of_operators = sa.text("kind IN ('OPEN_ACCOUNT', 'UPDATE_ACCOUNT')")


def upgrade() -> None:
    _add_outflow()
    op.add_column("transactions", sa.Column("arguments", _json))
    op.create_index(
        "transactions_of_operators",
        "transactions",
        ["target_user_id", "currency_code", "created_at", "transaction_id"],
        postgresql_where=_of_operators,
        sqlite_where=_of_operators,
    )
    op.create_table(
        "holds",
        sa.Column("hold_id", _id, nullable=False),
        sa.Column("user_id", _name, nullable=False),
        sa.Column("currency_code", _name, nullable=False),
        sa.Column("target_user_id", _name),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("captured_minor", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("metadata", _json),
        sa.PrimaryKeyConstraint("hold_id", name="holds_pkey"),
        sa.CheckConstraint("amount_minor > 0", name="holds_amount_positive"),
        sa.CheckConstraint(
            "captured_minor >= 0 AND captured_minor <= amount_minor",
            name="holds_captured_within_amount",
        ),
        comment="Money reserved on accounts",
    )
    op.create_index(
        "holds_of_account", "holds", ["user_id", "currency_code", "created_at", "hold_id"]
    )
    op.create_index(
        "holds_due", "holds", ["expires_at"], postgresql_where=_active, sqlite_where=_active
    )
    op.create_table(
        "reversals",
        sa.Column("transaction_id", _id, nullable=False),
        sa.Column("reversed_minor", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("transaction_id", name="reversals_pkey"),
        sa.CheckConstraint("reversed_minor > 0", name="reversals_reversed_positive"),
        comment="How much of a transaction was given back",
    )


def _add_outflow() -> None:
    """Give every entry what had left its account until then, and every account its sum."""
    for table in ("accounts", "entries"):
        for column in ("outflow_minor", "outflow_count"):
            op.add_column(
                table, sa.Column(column, sa.BigInteger, nullable=False, server_default="0")
            )
    op.add_column(
        "accounts", sa.Column("open_holds", sa.BigInteger, nullable=False, server_default="0")
    )
    op.add_column("accounts", sa.Column("limits", _json))
    # Until now, whatever made a balance smaller was spending.
    op.execute(
        """
        UPDATE entries
        SET outflow_minor = spent.total_minor, outflow_count = spent.total_count
        FROM (
            SELECT
                user_id,
                currency_code,
                sequence,
                sum(CASE WHEN amount_minor < 0 THEN -amount_minor ELSE 0 END) OVER account
                    AS total_minor,
                sum(CASE WHEN amount_minor < 0 THEN 1 ELSE 0 END) OVER account AS total_count
            FROM entries
            WINDOW account AS (PARTITION BY user_id, currency_code ORDER BY sequence)
        ) AS spent
        WHERE entries.user_id = spent.user_id
            AND entries.currency_code = spent.currency_code
            AND entries.sequence = spent.sequence
        """
    )
    op.execute(
        """
        UPDATE accounts
        SET outflow_minor = entries.outflow_minor, outflow_count = entries.outflow_count
        FROM entries
        WHERE entries.user_id = accounts.user_id
            AND entries.currency_code = accounts.currency_code
            AND entries.sequence = accounts.sequence
        """
    )
