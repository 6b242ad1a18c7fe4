"""The hash chain, recomputed from its documentation with the standard library alone."""

import hashlib
import json

import pytest
from hypothesis import given, strategies as st

from wallet_service.ledger.books import GENESIS_HASH, Entry, Transaction
from wallet_service.ledger.chain import entry_hash, transaction_digest

TRANSACTION = Transaction(
    transaction_id="3d8db05c-cc4e-82bd-a2eb-709804642db6",
    caller="alice",
    request_id="rent",
    kind="TRANSFER",
    state="POSTED",
    refusal_reason=None,
    refusal_values={},
    source_user_id="alice",
    source_sequence=3,
    target_user_id="bob",
    target_sequence=1,
    currency_code="RUB",
    amount_minor=2500,
    hold_id=None,
    reversal_of=None,
    description="rent for May",
    metadata={"flat": "7", "Flat": "8"},
    digest=None,
    created_at=1_700_000_000_000_000,
)
ENTRY = Entry(
    user_id="alice",
    currency_code="RUB",
    sequence=3,
    transaction_id=TRANSACTION.transaction_id,
    amount_minor=-2500,
    balance_minor=7500,
    hash=b"",
    created_at=TRANSACTION.created_at,
)
#: What each column could be changed to, one at a time.
CHANGED_TRANSACTION: dict[str, object] = {
    "transaction_id": "3d8db05c-cc4e-82bd-a2eb-709804642db7",
    "caller": "mallory",
    "request_id": "rent2",
    "kind": "DEPOSIT",
    "state": "REFUSED",
    "refusal_reason": "BALANCE_LIMIT",
    "refusal_values": {"required": 1},
    "source_user_id": None,
    "source_sequence": 4,
    "target_user_id": "mallory",
    "target_sequence": 2,
    "currency_code": "USD",
    "amount_minor": 2501,
    "hold_id": "3d8db05c-cc4e-82bd-a2eb-709804642db6",
    "reversal_of": "3d8db05c-cc4e-82bd-a2eb-709804642db6",
    "description": "rent for June",
    "metadata": {"flat": "8", "Flat": "7"},
    "created_at": 1_700_000_000_000_001,
    "arguments": {"amount_mode": "UP_TO"},
}
CHANGED_ENTRY: dict[str, object] = {
    "user_id": "bob",
    "currency_code": "USD",
    "sequence": 4,
    "amount_minor": 2500,
    "balance_minor": 7501,
}

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.dictionaries(TEXT, TEXT, max_size=4)
SUMS = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.one_of(st.none(), st.booleans(), SUMS, TEXT)
ARGUMENTS = st.dictionaries(TEXT, st.one_of(SCALARS, st.lists(SCALARS, max_size=3)), max_size=4)


def documented_digest(transaction: Transaction) -> bytes:
    """Hash a transaction as the documentation of the canonical form says."""
    left_out = {"digest"} if transaction.arguments else {"digest", "arguments"}
    columns = [value for name, value in transaction._asdict().items() if name not in left_out]
    form = json.dumps(
        ["wallet.transaction.v1", *columns],
        ensure_ascii=False,
        separators=(",", ":"),
        sort_keys=True,
    )
    return hashlib.sha256(form.encode("utf-8")).digest()


def documented_hash(entry: Entry, previous_hash: bytes, digest: bytes) -> bytes:
    """Hash an entry as the documentation of the canonical form says."""
    lines = (
        "wallet.entry.v1",
        entry.user_id,
        entry.currency_code,
        entry.sequence,
        entry.amount_minor,
        entry.balance_minor,
    )
    text = "".join(f"{line}\n" for line in lines)
    return hashlib.sha256(previous_hash + digest + text.encode("utf-8")).digest()


def test_the_chain_begins_with_32_zero_bytes() -> None:
    assert bytes.fromhex("00" * 32) == GENESIS_HASH


def test_hashes_stay_what_they_are_for_ever() -> None:
    digest = transaction_digest(TRANSACTION)

    assert digest.hex() == "5af35426974a22713c6fa9ae4504aa484ea6a4e7a7bda78e38c455c917764158"
    line = entry_hash(ENTRY, previous_hash=GENESIS_HASH, digest=digest)
    assert line.hex() == "f1592b2683dff754155faa912be3b7e9d8ae7a391cece6fc0057b18d22bbf8f6"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "плата за май",
        "\u00e9 and e\u0301",
        "emoji \U0001f4b8",
        "\u2028\u2029\ufeff\uffff",
        'quote " backslash \\ slash / </script>',
        "\x01\x02\x08\t\n\x0b\x0c\r\x0e\x1b\x1f\x7f\x80\x9f",
        "\0",
        "null",
    ],
)
def test_any_text_is_hashed_as_documented(text: str) -> None:
    odd = TRANSACTION._replace(description=text, metadata={text: text, "b": text, "a": ""})

    assert transaction_digest(odd) == documented_digest(odd)


@given(
    st.fixed_dictionaries(
        {
            "description": TEXT,
            "metadata": NAMES,
            "refusal_values": st.dictionaries(TEXT, st.one_of(SUMS, TEXT), max_size=4),
            "amount_minor": SUMS,
            "arguments": ARGUMENTS,
        }
    )
)
def test_any_transaction_is_hashed_as_documented(columns: dict[str, object]) -> None:
    odd = TRANSACTION._replace(**columns)

    assert transaction_digest(odd) == documented_digest(odd)


@given(SUMS, SUMS, st.binary(min_size=32, max_size=32))
def test_any_entry_is_hashed_as_documented(amount: int, balance: int, previous: bytes) -> None:
    entry = ENTRY._replace(amount_minor=amount, balance_minor=balance)
    digest = transaction_digest(TRANSACTION)

    got = entry_hash(entry, previous_hash=previous, digest=digest)

    assert got == documented_hash(entry, previous, digest)


def test_the_order_of_labels_does_not_matter() -> None:
    other_order = TRANSACTION._replace(metadata={"Flat": "8", "flat": "7"})

    assert transaction_digest(other_order) == transaction_digest(TRANSACTION)


def test_the_stored_digest_is_not_part_of_itself() -> None:
    assert transaction_digest(TRANSACTION._replace(digest=b"x")) == transaction_digest(TRANSACTION)


def test_every_column_is_tried() -> None:
    assert CHANGED_TRANSACTION.keys() == {*Transaction._fields} - {"digest"}
    # Two stand in the entry's transaction, whose digest is hashed with it; the outflow is made from
    # the entries before, and proven from them.
    shared, derived = {"transaction_id", "created_at"}, {"outflow_minor", "outflow_count"}
    assert CHANGED_ENTRY.keys() == {*Entry._fields} - {"hash"} - shared - derived
    assert shared <= CHANGED_TRANSACTION.keys()


@pytest.mark.parametrize("column", CHANGED_TRANSACTION)
def test_changing_a_column_of_a_transaction_changes_every_hash_above_it(column: str) -> None:
    changed = TRANSACTION._replace(**{column: CHANGED_TRANSACTION[column]})

    digests = [transaction_digest(transaction) for transaction in (TRANSACTION, changed)]
    lines = [entry_hash(ENTRY, previous_hash=GENESIS_HASH, digest=digest) for digest in digests]

    assert digests[0] != digests[1]
    assert lines[0] != lines[1]


@pytest.mark.parametrize("column", CHANGED_ENTRY)
def test_changing_a_column_of_an_entry_changes_its_hash(column: str) -> None:
    digest = transaction_digest(TRANSACTION)
    changed = ENTRY._replace(**{column: CHANGED_ENTRY[column]})

    lines = {
        entry_hash(entry, previous_hash=GENESIS_HASH, digest=digest) for entry in (ENTRY, changed)
    }

    assert len(lines) == 2


def test_changing_the_line_before_changes_the_hash() -> None:
    digest = transaction_digest(TRANSACTION)

    lines = {
        entry_hash(ENTRY, previous_hash=previous, digest=digest)
        for previous in (GENESIS_HASH, bytes([1]) + bytes(31))
    }

    assert len(lines) == 2
