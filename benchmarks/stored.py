"""Fill a database as years of use would, faster than they would."""

import time
import uuid

import psycopg2

from benchmarks.requests import ACCOUNTS

_ROWS_A_STEP = 250_000

#: Transactions between two users each, with ids ordered in time as well-made ones are, and their
#: lines, after all lines there are. The hashes are made up: nothing here reads them.
_FILL = """
WITH made AS (
    INSERT INTO transactions (transaction_id, caller, request_id, kind, state, source_user_id,
        source_sequence, target_user_id, target_sequence, currency_code, amount_minor, description,
        created_at)
    SELECT (lpad(to_hex(%(ms)s + n), 12, '0') || '8' || lpad(to_hex(n %% 4096), 3, '0') || '8'
            || substr(md5(n::text), 1, 15))::uuid,
        'service', gen_random_uuid()::text, 'TRANSFER', 'POSTED', 'user-' || n %% %(accounts)s,
        %(last)s + 1 + 2 * ((n - %(first)s) / %(accounts)s), 'user-' || (n + 1) %% %(accounts)s,
        %(last)s + 2 + 2 * ((n - %(first)s) / %(accounts)s), 'RUB', 1, 'order 1734-22',
        (%(ms)s + n) * 1000
    FROM generate_series(%(start)s::bigint, %(end)s::bigint - 1) AS n
    RETURNING *
)
INSERT INTO entries (user_id, currency_code, sequence, transaction_id, amount_minor, balance_minor,
    hash, created_at)
SELECT user_id, 'RUB', sequence, transaction_id, signed_minor, 1000000000, %(hash)s, created_at
FROM made CROSS JOIN LATERAL (VALUES
    (source_user_id, source_sequence, -amount_minor),
    (target_user_id, target_sequence, amount_minor)
) AS lines (user_id, sequence, signed_minor)
"""
_ACCOUNTS = """
UPDATE accounts SET sequence = %(last)s + 2 + 2 * (%(added)s / %(accounts)s)
"""


class Filler:
    """Adds transactions to an opened PostgreSQL database, a known number at a time."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True
        self._started_ms = time.time_ns() // 10**6 - 5 * 365 * 24 * 3600 * 1000
        self.stored = 0

    def fill(self, until: int) -> None:
        """Store transactions until there are so many."""
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT max(sequence) FROM accounts")
            ((last,),) = cursor.fetchall()
            first = self.stored
            while self.stored < until:
                end = min(until, self.stored + _ROWS_A_STEP)
                parameters = {
                    "ms": self._started_ms,
                    "start": self.stored,
                    "end": end,
                    "first": first,
                    "last": last,
                    "accounts": ACCOUNTS,
                    "hash": uuid.uuid4().bytes * 2,
                }
                cursor.execute(_FILL, parameters)
                self.stored = end
            added = self.stored - first
            cursor.execute(_ACCOUNTS, {"last": last, "added": added, "accounts": ACCOUNTS})
            cursor.execute("VACUUM ANALYZE")
            cursor.execute("CHECKPOINT")  # what filling left to write is not what is measured

    def close(self) -> None:
        """Leave the database."""
        self._connection.close()
