"""
Typed settings, read once from `WALLET_*` environment variables (or a `.env` file).

Only the top two floors see this module; everything below is handed what it needs.
"""

import contextlib
import difflib
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from wallet_service.ledger.money import EXPONENTS

PREFIX = "WALLET_"
_FILE = ".env"

# What gRPC and PostgreSQL take: signed 32 bits, of which twice a timeout is to fit too.
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Milliseconds = Annotated[int, Field(ge=1, le=10**9)]


class SettingsError(Exception):
    """A setting is wrong; the message names its variable."""


class Settings(BaseSettings):
    """Everything an operator can choose. Each field is the variable `WALLET_<FIELD>`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=_FILE, extra="ignore", frozen=True, env_ignore_empty=True
    )

    #: `sqlite:///path` or `postgresql://user:password@host/name`.
    database_url: str = "sqlite:///var/wallet.db"
    #: HOST:PORT to serve on.
    listen: str = "127.0.0.1:50051"
    #: Processes sharing the port.
    workers: Count = 1
    #: Whether each worker stays on one processor: its threads take turns anyway, and far apart each
    #: turn takes longer. Where processors are to spare, threads without Python's lock may use them.
    pin_workers: bool = True
    #: Threads a worker handles calls with.
    threads: Count = 64
    #: Calls a worker lets wait for a thread; more are answered OVERLOADED.
    queue_max: Count = 1000
    #: Streams a worker holds open, each on a thread of its own.
    streams_max: Count = 200
    #: Streams of one caller on one worker.
    streams_per_caller_max: Count = 20
    #: Connections a worker reads with; one more writes.
    reader_pool_size: Count = 8
    #: Commands one database transaction takes; 1 switches grouping off.
    batch_max: Count = 256
    #: How long a batch that fails because of others is run again, and a statement may take.
    batch_timeout_ms: Milliseconds = 5000
    #: How long a batch waits for accounts that others hold locked (PostgreSQL).
    lock_timeout_ms: Milliseconds = 500
    #: The deadline of calls that come without one.
    default_deadline_ms: Milliseconds = 10_000
    #: How long calls under way may go on after SIGTERM.
    grace_ms: Milliseconds = 10_000
    #: The largest request taken, in bytes.
    message_bytes_max: Count = 1024 * 1024

    #: What an empty currency code means.
    currency: str = "RUB"
    #: Whether users may deposit to their own account, or services only.
    self_deposit: bool = True
    #: Whether paying a user opens the account, instead of being refused.
    open_on_credit: bool = False

    #: `iss` that tokens must have.
    jwt_issuer: str = "wallet"
    #: `aud` that tokens must have.
    jwt_audience: str = "wallet"
    #: File with an HS256 secret of 32 bytes or more; a line end at its end is no part of it.
    jwt_secret_file: Path | None = None
    #: File with an RSA, P-256 or Ed25519 public key in PEM.
    jwt_public_key_file: Path | None = None
    #: File with a JWKS, read again every half minute.
    jwt_jwks_file: Path | None = None
    #: Address of a JWKS, read again every half minute.
    jwt_jwks_url: str | None = None

    #: File with the server's certificate chain in PEM.
    tls_cert_file: Path | None = None
    #: File with its private key in PEM.
    tls_key_file: Path | None = None
    #: File with the authorities whose client certificates are demanded. `wallet healthcheck` shows
    #: the server's own, which has to be one of theirs then, and good for clients.
    tls_client_ca_file: Path | None = None
    #: Allows plaintext on other than loopback addresses.
    insecure: bool = False

    #: Whether grpcurl and its like may ask for the contract.
    reflection: bool = True
    #: Least severe log lines written.
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("currency")
    @classmethod
    def _is_currency(cls, value: str) -> str:
        if value not in EXPONENTS:
            raise ValueError("not a current ISO 4217 currency code")
        return value

    @field_validator("listen")
    @classmethod
    def _is_address(cls, value: str) -> str:
        host, colon, port = value.rpartition(":")
        if not (host and colon and port.isdecimal() and int(port) < 2**16):
            raise ValueError("must be HOST:PORT, with a port up to 65535")
        return value

    @field_validator("jwt_jwks_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("https://", "http://")):
            raise ValueError("must be an https:// (or http://) address")
        return value

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("WALLET_TLS_CERT_FILE and WALLET_TLS_KEY_FILE go together")
        if self.tls_client_ca_file and not self.tls_cert_file:
            raise ValueError("WALLET_TLS_CLIENT_CA_FILE needs WALLET_TLS_CERT_FILE")
        if len(self._key_sources()) > 1:
            raise ValueError(
                "only one of WALLET_JWT_SECRET_FILE, WALLET_JWT_PUBLIC_KEY_FILE,"
                " WALLET_JWT_JWKS_FILE and WALLET_JWT_JWKS_URL can be set"
            )
        return self

    def _key_sources(self) -> list[object]:
        sources = (
            self.jwt_secret_file,
            self.jwt_public_key_file,
            self.jwt_jwks_file,
            self.jwt_jwks_url,
        )
        return [source for source in sources if source]

    @property
    def is_loopback(self) -> bool:
        """Tell whether only this machine can call."""
        host = self.listen.rpartition(":")[0].strip("[]")
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    @property
    def is_development(self) -> bool:
        """Tell whether no token key is set up, so that a secret of our own making serves."""
        return not self._key_sources()


def load_settings(**overrides: object) -> Settings:
    """
    Read the settings.

    Args:
        overrides: Command-line choices; None leaves the variable's.

    Raises:
        SettingsError: The first thing that is wrong, with its variable's name.
    """
    variables = _read_variables()
    _refuse_misspelt(variables)
    if "WALLET_DATABASE_URL" in variables and not variables["WALLET_DATABASE_URL"]:
        # A variable somebody forgot to fill must not put the books into a new local file.
        raise SettingsError("WALLET_DATABASE_URL: is empty")
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            raise SettingsError(message) from error
        raise SettingsError(f"{PREFIX}{str(first['loc'][0]).upper()}: {message}") from error


def _read_variables() -> dict[str, str | None]:
    """Read the file and the environment, which wins; upper and lower case are the same."""
    try:
        _refuse_unreadable(Path(_FILE))
        lines = dotenv_values(_FILE, encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{_FILE}: is not UTF-8: {error.reason}") from error
    except OSError as error:
        raise SettingsError(f"{_FILE}: {error.strerror}") from error
    return {name.upper(): value for name, value in (*lines.items(), *os.environ.items())}


def _refuse_unreadable(file: Path) -> None:
    """Raise for what the library would leave out with a warning, or without."""
    with contextlib.suppress(FileNotFoundError), file.open(encoding="utf-8") as lines:
        for binding in parse_stream(lines):
            if binding.error:
                first, text = binding.original.line, binding.original.string
                blank = text[: -len(text.lstrip())].count("\n")
                raise SettingsError(f"{file}: line {first + blank} cannot be read")


def _refuse_misspelt(variables: Iterable[str]) -> None:
    """Raise for a variable that is nearly a setting's: its value would be silently ignored."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name in sorted(set(variables) - known):
        file = {f"{name}_FILE"} & known  # the secret itself, say, instead of its file
        meant = file or difflib.get_close_matches(name, known, n=1, cutoff=0.9)
        if name.startswith(PREFIX) and meant:
            raise SettingsError(f"{name}: no such setting, is {', '.join(meant)} meant?")


def read_file(setting: str, path: Path) -> bytes:
    """Read a file that a setting names; raises `SettingsError` if that is not possible."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{PREFIX}{setting.upper()}: {error.strerror}: {path}") from error
