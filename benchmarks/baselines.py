"""What the database alone can do, without the service: the limits to compare with."""

import io
import time
from pathlib import Path

import psycopg2
from wallet_client import new_request_id

from benchmarks import requests
from benchmarks.deployment import postgres_program, run
from wallet_service.ledger.books import Account, Books
from wallet_service.ledger.commands import AccountKey, Transfer
from wallet_service.ledger.decide import decide
from wallet_service.storage.columns import filled_columns
from wallet_service.storage.row_text import array, copy_into, copy_lines
from wallet_service.storage.schema import MOVING_COLUMNS, accounts, entries, transactions

BATCH = 1000

#: The same transfer as the service's, in one call: both accounts locked in order, the balance
#: checked, one transaction and two lines written; without hashes.
_FUNCTION = """
CREATE OR REPLACE FUNCTION plain_transfer(payer text, payee text, amount bigint, id uuid)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    now_us bigint := extract(epoch FROM clock_timestamp()) * 1000000;
    payer_sequence bigint; payer_minor bigint; payee_sequence bigint; payee_minor bigint;
BEGIN
    PERFORM 1 FROM accounts WHERE user_id IN (payer, payee) AND currency_code = 'RUB'
        ORDER BY user_id FOR UPDATE;
    IF EXISTS (SELECT 1 FROM transactions WHERE transaction_id = id) THEN
        RETURN;
    END IF;
    UPDATE accounts SET posted_minor = posted_minor - amount, sequence = sequence + 1,
        updated_at = now_us, outflow_minor = outflow_minor + amount,
        outflow_count = outflow_count + 1
        WHERE user_id = payer AND currency_code = 'RUB' AND posted_minor - held_minor >= amount
        RETURNING sequence, posted_minor INTO STRICT payer_sequence, payer_minor;
    UPDATE accounts SET posted_minor = posted_minor + amount, sequence = sequence + 1,
        updated_at = now_us WHERE user_id = payee AND currency_code = 'RUB'
        RETURNING sequence, posted_minor INTO STRICT payee_sequence, payee_minor;
    INSERT INTO transactions (transaction_id, caller, request_id, kind, state, source_user_id,
        source_sequence, target_user_id, target_sequence, currency_code, amount_minor,
        description, created_at)
        VALUES (id, 'service', id::text, 'TRANSFER', 'POSTED', payer, payer_sequence, payee,
        payee_sequence, 'RUB', amount, 'order 1734-22', now_us);
    INSERT INTO entries (user_id, currency_code, sequence, transaction_id, amount_minor,
        balance_minor, hash, created_at)
        VALUES (payer, 'RUB', payer_sequence, id, -amount, payer_minor, '', now_us),
               (payee, 'RUB', payee_sequence, id, amount, payee_minor, '', now_us);
END $$
"""

_PARTIES = {
    "uniform": f"\\set a random(0, {requests.ACCOUNTS - 1})\n"
    f"\\set b (:a + random(1, {requests.ACCOUNTS - 1})) % {requests.ACCOUNTS}\n",
    "hot": "\\set a random(1, 2)\n\\set b 3 - :a\n",
}
_CALL = "SELECT plain_transfer('user-' || :a, 'user-' || :b, random(1, 1000)::bigint, uuidv7());\n"


def pgbench_per_s(directory: Path, url: str, parties: str, *, clients: int, seconds: int) -> float:
    """Return how many transfers a second a plain SQL function makes, one a transaction."""
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(_FUNCTION)
    script = directory / f"{parties}.sql"
    script.write_text(_PARTIES[parties] + _CALL)
    command = [postgres_program("pgbench"), "--no-vacuum", "--protocol", "prepared"]
    command += ["--client", clients, "--jobs", 2, "--time", seconds, "--file", script, url]
    output = run(command)
    (line,) = (line for line in output.splitlines() if "without initial" in line)
    return float(line.split()[2])


def bulk_per_s(url: str, *, batches: int) -> float:
    """
    Return how many transfers a second the database takes in batches.

    The service's own rows are made beforehand. What is measured are only the locks, COPY and the
    account update, issued by the bare driver on one connection.
    """
    books = Books(now=time.time_ns() // 1000)
    connection = psycopg2.connect(url)
    cursor = connection.cursor()
    cursor.execute("SELECT * FROM accounts")
    for user_id, code, *rest, _limits in cursor.fetchall():
        account = Account(user_id, code, *rest, is_stored=True)
        account.head_hash = bytes(account.head_hash)
        books.accounts[account.key] = account
    connection.commit()
    prepared = [_batch(books) for _ in range(batches)]

    started = time.perf_counter()
    for moved, copies in prepared:
        cursor.execute(_LOCK, moved[:2])
        cursor.fetchall()
        for statement, lines in copies:
            cursor.copy_expert(statement, io.StringIO(lines))
        cursor.execute(_UPDATE, moved)
        connection.commit()
    elapsed_s = time.perf_counter() - started
    connection.close()
    return batches * BATCH / elapsed_s


_LOCK = """
SELECT accounts.* FROM accounts JOIN unnest(%s::text[], %s::text[]) AS wanted(user_id, code)
ON accounts.user_id = wanted.user_id AND currency_code = code
ORDER BY accounts.user_id, currency_code FOR UPDATE OF accounts
"""
_UPDATE = "UPDATE accounts SET {} FROM unnest({}) AS moved({}) WHERE {}".format(
    ", ".join(f"{name} = moved.{name}" for name in MOVING_COLUMNS),
    ", ".join(
        ["%s::text[]", "%s::text[]"]
        + [f"%s::{'bytea' if name == 'head_hash' else 'bigint'}[]" for name in MOVING_COLUMNS]
    ),
    ", ".join(("user_id", "currency_code", *MOVING_COLUMNS)),
    "accounts.user_id = moved.user_id AND accounts.currency_code = moved.currency_code",
)


def _batch(books: Books) -> tuple[list[str], list[tuple[str, str]]]:
    """Decide a thousand transfers; return what `_UPDATE` takes, keys first, and what to copy."""
    books.decided.clear()
    books.changed.clear()
    for _ in range(BATCH):
        payer, payee = requests.uniform()
        command = Transfer(
            caller="service",
            request_id=new_request_id(),
            source=AccountKey(payer, "RUB"),
            target=AccountKey(payee, "RUB"),
            amount_minor=1,
            description="order 1734-22",
        )
        decide(books, command)
    changed = [account for _, account in sorted(books.changed.items())]
    moved = [
        array(accounts.c[name], [getattr(account, name) for account in changed])
        for name in ("user_id", "currency_code", *MOVING_COLUMNS)
    ]
    records = sorted(outcome.transaction for outcome in books.decided)
    lines = [entry for outcome in books.decided for entry in outcome.entries]
    copies = [
        (copy_into(table, columns), "".join(copy_lines(columns)))
        for table, columns in (
            (transactions, filled_columns(transactions, records)),
            (entries, filled_columns(entries, lines)),
        )
    ]
    return moved, copies
