"""Walk through a very long history, page by page, while it grows."""

import random
import statistics
import threading
import time

import psycopg2
from harness.processes import ServerProcess
from harness.tokens import service_token
from wallet_client import Wallet

_PAGE = 50
_TIMED = 200
_USER = "user-3"
_OTHER = "user-4"

#: One account paying another, its newest line last; the hashes are made up: nothing reads them.
_FILL = """
WITH made AS (
    INSERT INTO transactions (transaction_id, caller, request_id, kind, state, source_user_id,
        source_sequence, target_user_id, target_sequence, currency_code, amount_minor, description,
        created_at)
    SELECT gen_random_uuid(), 'service', n::text, 'TRANSFER', 'POSTED', %(user)s, n, %(other)s, n,
        'RUB', 1, 'order 1734-22', n
    FROM generate_series(2, %(entries)s::bigint) AS n
    RETURNING *
)
INSERT INTO entries (user_id, currency_code, sequence, transaction_id, amount_minor, balance_minor,
    hash, created_at)
SELECT user_id, 'RUB', sequence, transaction_id, signed_minor, 1000000000, '', created_at
FROM made CROSS JOIN LATERAL (VALUES
    (source_user_id, source_sequence, -amount_minor),
    (target_user_id, target_sequence, amount_minor)
) AS lines (user_id, sequence, signed_minor);
UPDATE accounts SET sequence = %(entries)s WHERE user_id IN (%(user)s, %(other)s);
ANALYZE
"""


def fill(url: str, entries: int) -> None:
    """Give one account so many entries, in an opened PostgreSQL database."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(_FILL, {"user": _USER, "other": _OTHER, "entries": entries})
    connection.close()


def walk(server: ServerProcess, entries: int) -> dict[str, float]:
    """
    List all of the account's entries, newest first, while more are made.

    Returns:
        Median time of a page, of the first 200 and of the last 200 pages.

    Raises:
        RuntimeError: An entry came twice or not at all.
    """
    is_over = threading.Event()
    writer = threading.Thread(target=_write_on, args=(server.target, is_over))
    times = []
    expected = 0
    with Wallet(server.target, service_token(), plaintext=True, timeout_s=30) as wallet:
        writer.start()
        try:
            started = time.perf_counter()
            for row, each in enumerate(wallet.transactions(user_id=_USER, page_size=_PAGE)):
                if row and each.entry.sequence != expected - 1:
                    raise RuntimeError(f"after {expected} came {each.entry.sequence}")
                expected = each.entry.sequence
                if row % _PAGE == 0:
                    times.append(time.perf_counter() - started)
                    started = time.perf_counter()
        finally:
            is_over.set()
            writer.join()
    if expected != 1 or len(times) < entries // _PAGE:
        raise RuntimeError(f"the walk ended at {expected}, after {len(times)} pages")
    first, last = times[:_TIMED], times[-_TIMED - 1 : -1]
    return {
        "first pages ms": statistics.median(first) * 1000,
        "last pages ms": statistics.median(last) * 1000,
    }


def _write_on(target: str, is_over: threading.Event) -> None:
    """Make new entries in front of the walk until it is over."""
    with Wallet(target, service_token(), plaintext=True) as wallet:
        while not is_over.wait(random.uniform(0, 0.02)):
            wallet.transfer(_OTHER, 1, user_id=_USER)
