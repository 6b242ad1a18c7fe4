"""
Page tokens: where the next page of a listing begins, tied to the listing.

A token grants nothing (every page is authorised anew), so it needs no secret: a checksum over it
and the listing's parameters is enough to tell a damaged or misplaced one.
"""

import base64
import binascii
import hashlib
from enum import Enum
from typing import Any

import orjson

from wallet_service.ledger.errors import PageTokenInvalid
from wallet_service.storage.pages import Position
from wallet_service.transport.validation import is_id, is_user_id

_VERSION = b"\x01"
_CHECK_LENGTH = 8
_NUMBER_MAX = 2**63 - 1


class Part(Enum):
    """What a part of a row's key is: a sequence or time, a user or currency, a UUID."""

    NUMBER = "number"
    NAME = "name"
    ID = "id"


def make_page_token(position: Position, listing: str) -> str:
    """
    Name the page after a position.

    Args:
        position: The key of the last row that the page before has, or looked at.

        listing: All parameters that the pages of one listing share, as text.
    """
    body = _VERSION + orjson.dumps(position)
    return base64.urlsafe_b64encode(_check(body, listing) + body).decode().rstrip("=")


def read_page_token(token: str, listing: str, *parts: Part) -> Position | None:
    """
    Return the position the page before ended with; None for the empty token of the first page.

    Args:
        token: As the client sent it.

        listing: As when the token was made.

        parts: What a position of this listing is made of.

    Raises:
        PageTokenInvalid: Not made by `make_page_token` for this listing.
    """
    if not token:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        position = tuple(orjson.loads(raw[_CHECK_LENGTH + len(_VERSION) :]))
    except (binascii.Error, ValueError, TypeError) as error:
        raise PageTokenInvalid(field="page_token") from error
    if len(position) != len(parts) or not all(map(_fits, position, parts)):
        raise PageTokenInvalid(field="page_token")
    # Base64 has several spellings of the same bytes; only the one we made is ours.
    if token != make_page_token(position, listing):
        raise PageTokenInvalid(field="page_token")
    return position


def _fits(value: Any, part: Part) -> bool:
    if part is Part.NUMBER:
        return type(value) is int and 0 <= value <= _NUMBER_MAX
    return isinstance(value, str) and (is_user_id(value) if part is Part.NAME else is_id(value))


def _check(body: bytes, listing: str) -> bytes:
    return hashlib.sha256(body + listing.encode()).digest()[:_CHECK_LENGTH]
