"""
The hash chain: what makes a changed, swapped or missing line show.

Version 1 of the canonical form, which anybody can recompute:

- A transaction is the JSON array of its columns in table order without `digest`, led by
  "wallet.transaction.v1": UTF-8, no white space, object keys sorted, null for what is absent.
  `arguments`, the last, are left out where there are none.
- Its digest is SHA-256 over that.
- An entry is the text "wallet.entry.v1", user id, currency code, sequence, amount and balance
  after, each followed by a line feed.
- Its hash is SHA-256 over the hash of the account's entry before (32 zero bytes before the first),
  the digest of its transaction, and that text.

So each line vouches for its account's whole past and for every field of its transaction.
"""

import hashlib

import orjson

from wallet_service.ledger.books import Entry, Transaction

_DIGEST = Transaction._fields.index("digest")


def transaction_digest(transaction: Transaction) -> bytes:
    """
    Hash every field of a transaction.

    Returns:
        32 bytes. The column `digest` itself is left out; it stores this value where no entry
        vouches for the transaction.
    """
    fields = ["wallet.transaction.v1", *transaction]
    if not transaction.arguments:
        fields.pop()
    del fields[_DIGEST + 1]
    return hashlib.sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).digest()


def entry_hash(entry: Entry, *, previous_hash: bytes, digest: bytes) -> bytes:
    """
    Hash a line with all that came before it on its account.

    Args:
        entry: Its own `hash` is not read.

        previous_hash: Of the account's entry before; `GENESIS_HASH` before the first.

        digest: Of the entry's transaction.

    Returns:
        32 bytes.
    """
    text = line_text(entry[:3], entry.amount_minor, entry.balance_minor)
    return line_hash(text, previous_hash=previous_hash, digest=digest)


def line_text(place: tuple[str, str, int], amount_minor: int, balance_minor: int) -> str:
    """Write an entry in its canonical form, as of a user id, currency code and sequence."""
    user_id, currency_code, sequence = place
    return (
        f"wallet.entry.v1\n{user_id}\n{currency_code}\n"
        f"{sequence}\n{amount_minor}\n{balance_minor}\n"
    )


def line_hash(text: str, *, previous_hash: bytes, digest: bytes) -> bytes:
    """Hash an entry's canonical form as `entry_hash` does."""
    return hashlib.sha256(previous_hash + digest + text.encode()).digest()
