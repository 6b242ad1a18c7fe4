"""Page tokens lead back to where a listing stopped, and nowhere else."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet_service.ledger.errors import PageTokenInvalid
from wallet_service.transport.page_token import make_page_token, read_page_token

SEQUENCE_MAX = 2**63 - 1
SEQUENCES = st.integers(1, SEQUENCE_MAX)
LISTINGS = st.text(max_size=40)
ALPHABET = string.ascii_letters + string.digits + "-_+/=. \n\0é"


def is_refused(token: str, listing: str) -> bool:
    """Tell whether a token leads nowhere."""
    try:
        read_page_token(token, listing)
    except PageTokenInvalid as error:
        return error.values == {"field": "page_token"}
    return False


@given(SEQUENCES, LISTINGS)
def test_a_token_leads_back_to_its_place(sequence: int, listing: str) -> None:
    assert read_page_token(make_page_token(sequence, listing), listing) == sequence


def test_the_empty_token_is_the_first_page() -> None:
    assert read_page_token("", "any listing") is None


@given(SEQUENCES, LISTINGS, st.data())
def test_a_token_with_one_other_character_is_refused(
    sequence: int, listing: str, data: st.DataObject
) -> None:
    token = make_page_token(sequence, listing)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from(sorted(set(ALPHABET) - {token[place]})))

    assert is_refused(token[:place] + other + token[place + 1 :], listing)


@pytest.mark.parametrize("sequence", [1, 2, 1000, SEQUENCE_MAX])
def test_a_token_with_another_last_character_is_refused(sequence: int) -> None:
    token = make_page_token(sequence, "alice")

    taken = [last for last in ALPHABET if not is_refused(token[:-1] + last, "alice")]

    assert taken == [token[-1]]


@given(SEQUENCES, st.integers(1, 22))
def test_a_token_cut_short_is_refused(sequence: int, length: int) -> None:
    assert is_refused(make_page_token(sequence, "alice")[:length], "alice")


@given(SEQUENCES, st.text(min_size=1, max_size=8))
def test_a_token_with_more_behind_it_is_refused(sequence: int, more: str) -> None:
    assert is_refused(make_page_token(sequence, "alice") + more, "alice")


@given(SEQUENCES, LISTINGS, LISTINGS)
def test_a_token_of_another_listing_is_refused(sequence: int, one: str, other: str) -> None:
    token = make_page_token(sequence, one)

    assert is_refused(token, other) == (one != other)


@given(st.text(min_size=1, max_size=200))
def test_made_up_tokens_are_refused(token: str) -> None:
    assert is_refused(token, "alice")


@pytest.mark.parametrize("sequence", [2**63, 2**64 - 1])
def test_a_place_that_no_account_can_reach_is_refused(sequence: int) -> None:
    assert is_refused(make_page_token(sequence, "alice"), "alice")
