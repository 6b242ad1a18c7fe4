"""The settings as an operator may show them to others."""

import re

from wallet_service.settings import PREFIX, Settings

#: Settings that are addresses, which can hold passwords.
_ADDRESSES = {"database_url", "jwt_jwks_url"}
#: Parameters of an address that are no secrets; all others may be.
_OPEN = (
    "user|host|hostaddr|port|dbname|application_name|client_encoding|connect_timeout|options"
    "|target_session_attrs|ssl(?:mode|cert|key|rootcert)|keepalives\\w*|service|mode"
)
#: What stands for a secret in an address: after or instead of a user's name, as a parameter, behind
#: the rest; or as a word of what is no address.
_SECRET = re.compile(
    # As SQLAlchemy reads it, a database's password has everything up to an "@".
    r"((?!https?:)\b[\w+.-]+://[^/@:]*:)[^@]*(?:@[^@/?]*)*(?=@)"
    r"|(https?://(?:[^/@:?#]*:)?)[^/?#]+(?=@)"
    rf"|([?&](?!(?:{_OPEN})=)[^=&]*=)[^&#]+"
    r"|(#).+"
    r"|(\bpassword\s*=\s*)\S+",
    re.IGNORECASE,
)
#: What stands for itself in a `.env` file, without quotation marks.
_PLAIN = re.compile(r"[^\s'\"#\\]*")


def lines_of(settings: Settings) -> list[str]:
    """Write all settings as lines of a `.env` file, without passwords; empty: not set."""
    lines = []
    for name, value in settings:
        text = "" if value is None else str(value)
        if isinstance(value, bool):
            text = text.lower()
        if name in _ADDRESSES:
            text = _SECRET.sub(r"\1\2\3\4\5***", text)
        if not _PLAIN.fullmatch(text):
            text = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
        lines.append(f"{PREFIX}{name.upper()}={text}")
    return lines
