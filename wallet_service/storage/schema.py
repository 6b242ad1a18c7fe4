"""
The tables.

`transactions` and `entries` are append-only; `accounts`, `holds` and `reversals` are state. Every
rule that `ledger` checks stands here once more as a named constraint. Sums are minor units; times
are microseconds since 1970-01-01 UTC, an integer on both databases, so that a time read back is the
time that was hashed.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    literal_column,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

#: Text compared byte by byte: identifiers need no language, and every server sorts (and locks) them
#: alike.
_Name = Text().with_variant(Text(collation="C"), "postgresql")
#: An empty object or list is stored as null.
_Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
_Id = Uuid(as_uuid=False)

accounts = Table(
    "accounts",
    metadata,
    Column("user_id", _Name, nullable=False),
    Column("currency_code", _Name, nullable=False),
    Column("posted_minor", BigInteger, nullable=False),
    Column("held_minor", BigInteger, nullable=False),
    Column("min_balance_minor", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("head_hash", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("outflow_minor", BigInteger, nullable=False, server_default="0"),
    Column("outflow_count", BigInteger, nullable=False, server_default="0"),
    Column("open_holds", BigInteger, nullable=False, server_default="0"),
    Column("limits", _Json),
    PrimaryKeyConstraint("user_id", "currency_code", name="accounts_pkey"),
    CheckConstraint("held_minor >= 0", name="accounts_held_not_negative"),
    CheckConstraint(
        "posted_minor - held_minor >= min_balance_minor", name="accounts_available_above_minimum"
    ),
    CheckConstraint("sequence >= 0", name="accounts_sequence_not_negative"),
    CheckConstraint("posted_minor <= 9000000000000000000", name="accounts_posted_within_limit"),
    # Free space on each page lets a balance change in place, without touching the index.
    postgresql_with={"fillfactor": "50"},
    comment="One user's balance in one currency: the sum of its entries",
)

#: What moving money or reserving it changes on an account; the rest is an operator's to change.
MOVING_COLUMNS = (
    "posted_minor",
    "held_minor",
    "sequence",
    "head_hash",
    "updated_at",
    "outflow_minor",
    "outflow_count",
    "open_holds",
)

transactions = Table(
    "transactions",
    metadata,
    Column("transaction_id", _Id, nullable=False),
    Column("caller", _Name, nullable=False),
    Column("request_id", _Name, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("refusal_reason", Text),
    Column("refusal_values", _Json),
    Column("source_user_id", _Name),
    Column("source_sequence", BigInteger),
    Column("target_user_id", _Name),
    Column("target_sequence", BigInteger),
    Column("currency_code", _Name, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("hold_id", _Id),
    Column("reversal_of", _Id),
    Column("description", Text, nullable=False),
    Column("metadata", _Json),
    Column("digest", LargeBinary),
    Column("created_at", BigInteger, nullable=False),
    Column("arguments", _Json),
    # The id is derived from caller and request id: this key is what makes a request happen once.
    PrimaryKeyConstraint("transaction_id", name="transactions_pkey"),
    CheckConstraint("amount_minor >= 0", name="transactions_amount_not_negative"),
    CheckConstraint("source_user_id <> target_user_id", name="transactions_sides_differ"),
    CheckConstraint(
        "(state = 'REFUSED') = (refusal_reason IS NOT NULL)", name="transactions_refusal_has_reason"
    ),
    comment="Every accepted or refused request, for ever",
)

entries = Table(
    "entries",
    metadata,
    Column("user_id", _Name, nullable=False),
    Column("currency_code", _Name, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("transaction_id", _Id, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("balance_minor", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("outflow_minor", BigInteger, nullable=False, server_default="0"),
    Column("outflow_count", BigInteger, nullable=False, server_default="0"),
    # Two servers cannot both write an account's next line.
    PrimaryKeyConstraint("user_id", "currency_code", "sequence", name="entries_pkey"),
    CheckConstraint("sequence > 0", name="entries_sequence_positive"),
    CheckConstraint("amount_minor <> 0", name="entries_amount_not_zero"),
    comment="The signed lines of every account",
)

holds = Table(
    "holds",
    metadata,
    Column("hold_id", _Id, nullable=False),
    Column("user_id", _Name, nullable=False),
    Column("currency_code", _Name, nullable=False),
    Column("target_user_id", _Name),
    Column("amount_minor", BigInteger, nullable=False),
    Column("captured_minor", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("description", Text, nullable=False),
    Column("metadata", _Json),
    PrimaryKeyConstraint("hold_id", name="holds_pkey"),
    CheckConstraint("amount_minor > 0", name="holds_amount_positive"),
    CheckConstraint(
        "captured_minor >= 0 AND captured_minor <= amount_minor",
        name="holds_captured_within_amount",
    ),
    # Pages of an account's holds, newest first.
    Index("holds_of_account", "user_id", "currency_code", "created_at", "hold_id"),
    comment="Money reserved on accounts",
)

# The sweeper asks only for open holds whose time is over.
Index(
    "holds_due",
    holds.c.expires_at,
    postgresql_where=holds.c.state == literal_column("'ACTIVE'"),
    sqlite_where=holds.c.state == literal_column("'ACTIVE'"),
)

# An operator asks who changed an account; these are few among many.
CHANGES_ACCOUNT = transactions.c.kind.in_(
    [literal_column("'OPEN_ACCOUNT'"), literal_column("'UPDATE_ACCOUNT'")]
)
Index(
    "transactions_of_operators",
    transactions.c.target_user_id,
    transactions.c.currency_code,
    transactions.c.created_at,
    transactions.c.transaction_id,
    postgresql_where=CHANGES_ACCOUNT,
    sqlite_where=CHANGES_ACCOUNT,
)

reversals = Table(
    "reversals",
    metadata,
    Column("transaction_id", _Id, nullable=False),
    Column("reversed_minor", BigInteger, nullable=False),
    PrimaryKeyConstraint("transaction_id", name="reversals_pkey"),
    CheckConstraint("reversed_minor > 0", name="reversals_reversed_positive"),
    comment="How much of a transaction was given back",
)
