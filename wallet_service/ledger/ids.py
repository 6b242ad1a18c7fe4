"""Transaction ids, derived from who asks and what they call their request."""

import hashlib
import re

#: Its first two groups are the milliseconds since 1970 (RFC 9562, section 5.7).
_UUID7 = re.compile(
    r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)
#: A hexadecimal digit with its first two bits set to 1 and 0, the variant of RFC 9562.
_VARIANTS = {f"{digit:x}": f"{0b1000 | digit & 0b11:x}" for digit in range(16)}


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
    digits = hashlib.sha256(f"{caller}\0{request_id}".encode()).hexdigest()
    time = _UUID7.fullmatch(request_id)
    first, second = time.groups() if time else (digits[:8], digits[8:12])
    variant = _VARIANTS[digits[16]]
    return f"{first}-{second}-8{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}".lower()
