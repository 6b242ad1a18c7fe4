"""
Page tokens: where the next page of a listing begins, tied to the listing.

A token grants nothing (every page is authorised anew), so it needs no secret: a checksum over it
and the listing's parameters is enough to tell a damaged or misplaced one.
"""

import base64
import binascii
import hashlib

from wallet_service.ledger.errors import PageTokenInvalid

_VERSION = b"\x01"
_CHECK_LENGTH = 8
_SEQUENCE_MAX = 2**63 - 1


def make_page_token(sequence: int, listing: str) -> str:
    """
    Name the page after a sequence.

    Args:
        sequence: The last one on the page before.

        listing: All parameters that the pages of one listing share, as text.
    """
    body = _VERSION + sequence.to_bytes(8, "big")
    return base64.urlsafe_b64encode(body + _check(body, listing)).decode().rstrip("=")


def read_page_token(token: str, listing: str) -> int | None:
    """
    Return the sequence the page before ended with; None for the empty token of the first page.

    Raises:
        PageTokenInvalid: Not made by `make_page_token` for this listing.
    """
    if not token:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise PageTokenInvalid(field="page_token") from error
    sequence = int.from_bytes(raw[1:-_CHECK_LENGTH], "big")
    # Base64 has several spellings of the same bytes; only the one we made is ours.
    if sequence > _SEQUENCE_MAX or token != make_page_token(sequence, listing):
        raise PageTokenInvalid(field="page_token")
    return sequence


def _check(body: bytes, listing: str) -> bytes:
    return hashlib.sha256(body + listing.encode()).digest()[:_CHECK_LENGTH]
