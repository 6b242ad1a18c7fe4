"""A transaction's id: derived from caller and request id, unique, ordered where the request is."""

import hashlib
import uuid

import pytest
from harness.commands import deposit, open_account, transfer, withdraw
from hypothesis import given, strategies as st

from wallet_service.ledger.commands import AccountKey, Command, accounts_of
from wallet_service.ledger.ids import transaction_id

REQUEST_IDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=128)


def _uuid7(timestamp_ms: int, rest: int = 0) -> str:
    value = timestamp_ms << 80 | 0x7 << 76 | (rest >> 62 & 0xFFF) << 64 | 0b10 << 62
    return str(uuid.UUID(int=value | rest & (2**62 - 1)))


@given(REQUEST_IDS)
def test_an_id_is_a_uuid_of_version_8(request_id: str) -> None:
    parsed = uuid.UUID(transaction_id("alice", request_id))

    assert parsed.version == 8
    assert parsed.variant == uuid.RFC_4122
    assert str(parsed) == transaction_id("alice", request_id)


@given(REQUEST_IDS)
def test_an_id_is_made_of_the_hash_of_caller_nul_and_request_id(request_id: str) -> None:
    digest = hashlib.sha256(b"alice\0" + request_id.encode()).digest()
    expected = int.from_bytes(digest[:16], "big")
    fixed = 0xF << 76 | 0b11 << 62

    got = uuid.UUID(transaction_id("alice", request_id)).int

    assert got | fixed == expected | fixed


def test_an_id_stays_what_it_is_for_ever() -> None:
    assert transaction_id("alice", "rent") == "3d8db05c-cc4e-82bd-a2eb-709804642db6"


def test_caller_and_request_id_do_not_run_together() -> None:
    assert transaction_id("ab", "c") != transaction_id("a", "bc")
    assert transaction_id("a", "b") != transaction_id("b", "a")


@given(st.lists(st.tuples(REQUEST_IDS, REQUEST_IDS), unique=True, min_size=2, max_size=50))
def test_other_callers_or_requests_have_other_ids(pairs: list[tuple[str, str]]) -> None:
    assert len({transaction_id(*pair) for pair in pairs}) == len(pairs)


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**74 - 1))
def test_the_milliseconds_of_a_uuid7_are_kept(timestamp_ms: int, rest: int) -> None:
    request_id = _uuid7(timestamp_ms, rest)

    got = uuid.UUID(transaction_id("alice", request_id))

    assert uuid.UUID(request_id).version == 7
    assert got.version == 8
    assert got.int >> 80 == timestamp_ms


@given(st.lists(st.integers(0, 2**48 - 1), unique=True, min_size=2, max_size=20))
def test_requests_named_in_order_get_ids_in_order(timestamps: list[int]) -> None:
    ids = [transaction_id("alice", _uuid7(timestamp)) for timestamp in sorted(timestamps)]

    assert ids == sorted(ids)


def test_equal_milliseconds_still_give_other_ids() -> None:
    same = _uuid7(1_700_000_000_000)

    assert transaction_id("alice", same) != transaction_id("bob", same)
    assert transaction_id("alice", same) != transaction_id("alice", _uuid7(1_700_000_000_000, 1))


@pytest.mark.parametrize(
    "request_id",
    [
        "8f14e45f-ceea-467f-a83c-6ee5f5a5b6d7",  # version 4
        "01890a5d-ac96-774b-0cce-b302099a8057",  # version 7's digit, another variant
        "01890a5d-ac96-774b-bcce-b302099a805z",  # not hexadecimal
        "01890a5dac96774bbcceb302099a8057",  # without hyphens
        "{01890a5d-ac96-774b-bcce-b302099a80}",  # 36 characters, but no UUID
        "-" * 36,
    ],
)
def test_other_request_ids_are_hashed_whole(request_id: str) -> None:
    digest = hashlib.sha256(b"alice\0" + request_id.encode()).digest()

    assert uuid.UUID(transaction_id("alice", request_id)).bytes[:6] == digest[:6]


@pytest.mark.parametrize(
    ("command", "user_ids"),
    [
        (deposit("1", "alice", 5), ["alice"]),
        (withdraw("1", "alice", 5), ["alice"]),
        (transfer("1", ("alice", "bob"), 5), ["alice", "bob"]),
        (open_account("1", "alice"), ["alice"]),
    ],
)
def test_a_command_names_its_accounts(command: Command, user_ids: list[str]) -> None:
    assert accounts_of(command) == [AccountKey(user_id, "RUB") for user_id in user_ids]
    assert command.transaction_id == transaction_id("caller", "1")
