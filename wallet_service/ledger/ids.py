"""Transaction ids, derived from who asks and what they call their request."""

import hashlib
import re

#: Its first two groups are the milliseconds since 1970 (RFC 9562, section 5.7).
_UUID7 = re.compile(
    r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)


def transaction_id(caller: str, request_id: str) -> str:
    """
    Derive a transaction's id from who asks and what they call the request.

    The primary key thereby is the idempotency check, and well-made ids (UUIDv7) keep the index
    ordered in time.

    Args:
        caller: `sub` of the caller's token.

        request_id: 1 to 128 visible ASCII characters.

    Returns:
        A UUID version 8 (RFC 9562, section 5.8) as text: its 74 free low bits are from SHA-256 over
        caller, NUL, request id; its first 48 bits are the request id's own milliseconds if that is
        a UUIDv7, else from the same hash.
    """
    digest = hashlib.sha256(f"{caller}\0{request_id}".encode()).digest()
    timestamp = _uuid7_timestamp(request_id)
    head = digest[:6] if timestamp is None else timestamp
    name = bytearray(head + digest[6:16])
    name[6] = 0x80 | name[6] & 0x0F
    name[8] = 0x80 | name[8] & 0x3F
    text = name.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _uuid7_timestamp(request_id: str) -> bytes | None:
    found = _UUID7.fullmatch(request_id)
    return bytes.fromhex(found[1] + found[2]) if found else None
