"""Page tokens lead back to where a listing stopped, and nowhere else."""

import base64
import string
import uuid

import pytest
from hypothesis import given, strategies as st

from wallet_service.ledger.errors import PageTokenInvalid
from wallet_service.transport.page_token import Part, Position, make_page_token, read_page_token

SEQUENCE_MAX = 2**63 - 1
SEQUENCES = st.integers(0, SEQUENCE_MAX)
LISTINGS = st.text(max_size=40)
ALPHABET = string.ascii_letters + string.digits + "-_+/=. \n\0é"
SOME_ID = "3d8db05c-cc4e-82bd-a2eb-709804642db6"

VALUES = {
    Part.NUMBER: SEQUENCES,
    Part.NAME: st.text(
        st.characters(min_codepoint=48, max_codepoint=126), min_size=1, max_size=128
    ),
    Part.ID: st.uuids().map(str),
}
#: What positions can be made of, and one of that make.
PLACES = st.lists(st.sampled_from(Part), min_size=1, max_size=3).flatmap(
    lambda parts: st.tuples(st.just(parts), st.tuples(*(VALUES[part] for part in parts)))
)


def is_refused(token: str, listing: str, *parts: Part) -> bool:
    """Tell whether a token leads nowhere."""
    try:
        read_page_token(token, listing, *(parts or [Part.NUMBER]))
    except PageTokenInvalid as error:
        return error.values == {"field": "page_token"}
    return False


@given(PLACES, LISTINGS)
def test_a_token_leads_back_to_its_place(place: tuple[list[Part], Position], listing: str) -> None:
    parts, position = place

    assert read_page_token(make_page_token(position, listing), listing, *parts) == position


def test_the_empty_token_is_the_first_page() -> None:
    assert read_page_token("", "any listing", Part.NUMBER) is None


@given(SEQUENCES, LISTINGS, st.data())
def test_a_token_with_one_other_character_is_refused(
    sequence: int, listing: str, data: st.DataObject
) -> None:
    token = make_page_token((sequence,), listing)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from(sorted(set(ALPHABET) - {token[place]})))

    assert is_refused(token[:place] + other + token[place + 1 :], listing)


@pytest.mark.parametrize("sequence", [0, 1, 2, 10, 100, 1000, SEQUENCE_MAX])
def test_a_token_with_another_last_character_is_refused(sequence: int) -> None:
    token = make_page_token((sequence,), "alice")

    taken = [last for last in ALPHABET if not is_refused(token[:-1] + last, "alice")]

    assert taken == [token[-1]]


@given(SEQUENCES, st.data())
def test_a_token_cut_short_is_refused(sequence: int, data: st.DataObject) -> None:
    token = make_page_token((sequence,), "alice")

    assert is_refused(token[: data.draw(st.integers(1, len(token) - 1))], "alice")


@given(SEQUENCES, st.text(min_size=1, max_size=8))
def test_a_token_with_more_behind_it_is_refused(sequence: int, more: str) -> None:
    assert is_refused(make_page_token((sequence,), "alice") + more, "alice")


@pytest.mark.parametrize("depth", [1, 200, 1000, 100_000])
def test_a_token_of_nested_lists_is_refused(depth: int) -> None:
    body = bytes(9) + b"[" * depth + b"]" * depth

    assert is_refused(base64.urlsafe_b64encode(body).decode().rstrip("="), "alice")


@given(SEQUENCES, LISTINGS, LISTINGS)
def test_a_token_of_another_listing_is_refused(sequence: int, one: str, other: str) -> None:
    token = make_page_token((sequence,), one)

    assert is_refused(token, other) == (one != other)


@given(st.text(min_size=1, max_size=200))
def test_made_up_tokens_are_refused(token: str) -> None:
    assert is_refused(token, "alice")


@pytest.mark.parametrize(
    ("position", "parts"),
    [
        ((2**63,), [Part.NUMBER]),
        ((2**64 - 1,), [Part.NUMBER]),
        ((-1,), [Part.NUMBER]),
        ((True,), [Part.NUMBER]),
        (("7",), [Part.NUMBER]),
        ((None,), [Part.NUMBER]),
        ((7,), [Part.NAME]),
        (("",), [Part.NAME]),
        (("@external",), [Part.NAME]),
        (("a" * 129,), [Part.NAME]),
        (([],), [Part.NAME]),
        (("alice",), [Part.ID]),
        ((7,), [Part.ID]),
        ((SOME_ID, 7), [Part.NUMBER, Part.ID]),
        ((7,), [Part.NUMBER, Part.ID]),
        ((7, SOME_ID, 7), [Part.NUMBER, Part.ID]),
        ((), [Part.NUMBER]),
    ],
)
def test_a_place_that_no_row_can_have_is_refused(position: Position, parts: list[Part]) -> None:
    assert is_refused(make_page_token(position, "alice"), "alice", *parts)


def test_the_longest_place_still_makes_a_short_token() -> None:
    longest = (SEQUENCE_MAX, "a" * 128, str(uuid.UUID(int=2**128 - 1)))

    assert len(make_page_token(longest, "alice")) < 512
