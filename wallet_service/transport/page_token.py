"""
Page tokens: where the next page of a listing begins, tied to the listing.

A token grants nothing (every page is authorised anew), so it needs no secret: a checksum over it
and the listing's parameters is enough to tell a damaged or misplaced one.
"""

import base64
import binascii
import hashlib
from typing import Any

import orjson

from wallet_service.ledger.errors import PageTokenInvalid

_VERSION = b"\x01"
_CHECK_LENGTH = 8


def make_page_token(position: Any, listing: str) -> str:
    """
    Name the page after a position.

    Args:
        position: Where the page before ended, as JSON can hold it.

        listing: All parameters that the pages of one listing share, as text.
    """
    body = _VERSION + orjson.dumps(position)
    return base64.urlsafe_b64encode(_check(body, listing) + body).decode().rstrip("=")


def read_page_token(token: str, listing: str) -> Any:
    """
    Return the position the page before ended with; None for the empty token of the first page.

    Raises:
        PageTokenInvalid: Not made by `make_page_token` for this listing.
    """
    if not token:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise PageTokenInvalid(field="page_token") from error
    check, body = raw[:_CHECK_LENGTH], raw[_CHECK_LENGTH:]
    if check != _check(body, listing) or body[:1] != _VERSION:
        raise PageTokenInvalid(field="page_token")
    return orjson.loads(body[1:])


def _check(body: bytes, listing: str) -> bytes:
    return hashlib.sha256(body + listing.encode()).digest()[:_CHECK_LENGTH]
