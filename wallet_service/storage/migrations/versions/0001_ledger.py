"""Accounts, transactions and entries."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_json = sa.JSON().with_variant(JSONB(), "postgresql")
_id = sa.Uuid(as_uuid=False)


def upgrade() -> None:
    _create_accounts()
    _create_transactions()
    _create_entries()


def _create_accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("user_id", _name, nullable=False),
        sa.Column("currency_code", _name, nullable=False),
        sa.Column("posted_minor", sa.BigInteger, nullable=False),
        sa.Column("held_minor", sa.BigInteger, nullable=False),
        sa.Column("min_balance_minor", sa.BigInteger, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("head_hash", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "currency_code", name="accounts_pkey"),
        sa.CheckConstraint("held_minor >= 0", name="accounts_held_not_negative"),
        sa.CheckConstraint(
            "posted_minor - held_minor >= min_balance_minor",
            name="accounts_available_above_minimum",
        ),
        sa.CheckConstraint("sequence >= 0", name="accounts_sequence_not_negative"),
        sa.CheckConstraint(
            "posted_minor <= 9000000000000000000", name="accounts_posted_within_limit"
        ),
        postgresql_with={"fillfactor": "50"},
        comment="One user's balance in one currency: the sum of its entries",
    )


def _create_transactions() -> None:
    op.create_table(
        "transactions",
        sa.Column("transaction_id", _id, nullable=False),
        sa.Column("caller", _name, nullable=False),
        sa.Column("request_id", _name, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("refusal_reason", sa.Text),
        sa.Column("refusal_values", _json),
        sa.Column("source_user_id", _name),
        sa.Column("source_sequence", sa.BigInteger),
        sa.Column("target_user_id", _name),
        sa.Column("target_sequence", sa.BigInteger),
        sa.Column("currency_code", _name, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("hold_id", _id),
        sa.Column("reversal_of", _id),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("metadata", _json),
        sa.Column("digest", sa.LargeBinary),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("transaction_id", name="transactions_pkey"),
        sa.CheckConstraint("amount_minor >= 0", name="transactions_amount_not_negative"),
        sa.CheckConstraint("source_user_id <> target_user_id", name="transactions_sides_differ"),
        sa.CheckConstraint(
            "(state = 'REFUSED') = (refusal_reason IS NOT NULL)",
            name="transactions_refusal_has_reason",
        ),
        comment="Every accepted or refused request, for ever",
    )


def _create_entries() -> None:
    op.create_table(
        "entries",
        sa.Column("user_id", _name, nullable=False),
        sa.Column("currency_code", _name, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("transaction_id", _id, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("balance_minor", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "currency_code", "sequence", name="entries_pkey"),
        sa.CheckConstraint("sequence > 0", name="entries_sequence_positive"),
        sa.CheckConstraint("amount_minor <> 0", name="entries_amount_not_zero"),
        comment="The signed lines of every account",
    )
