"""Settings are typed, read once, and a wrong one is named; secrets are made with care."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from wallet_service.credentials import signing_secret
from wallet_service.settings import Settings, SettingsError, load_settings

SECRET_PATH = Path("var/development-jwt-secret")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no .env file of whoever runs the tests has a say."""
    for name in list(os.environ):
        if name.upper().startswith("WALLET_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_nothing_needs_to_be_set() -> None:
    settings = load_settings()

    assert settings == Settings()
    assert (settings.listen, settings.database_url) == (
        "127.0.0.1:50051",
        "sqlite:///var/wallet.db",
    )
    assert (settings.currency, settings.workers) == ("RUB", 1)
    assert (settings.self_deposit, settings.open_on_credit) == (True, False)
    assert settings.is_development
    assert settings.is_loopback
    assert not settings.insecure


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("WALLET_LISTEN", "[::1]:7000", "[::1]:7000"),
        ("WALLET_WORKERS", "4", 4),
        ("WALLET_CURRENCY", "JPY", "JPY"),
        ("WALLET_SELF_DEPOSIT", "false", False),
        ("WALLET_OPEN_ON_CREDIT", "1", True),
        ("WALLET_JWT_SECRET_FILE", "secret", Path("secret")),
        ("WALLET_LOG_LEVEL", "error", "error"),
        ("wallet_batch_max", "1", 1),
        ("WALLET_THREADS", "", 64),
    ],
)
def test_a_variable_sets_its_setting(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, value: object
) -> None:
    monkeypatch.setenv(variable, text)

    name = variable.lower().removeprefix("wallet_")
    assert getattr(load_settings(), name) == value


def test_a_file_sets_what_no_variable_does(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("WALLET_THREADS=5\nWALLET_WORKERS=6\nOTHER=7\n")
    monkeypatch.setenv("WALLET_WORKERS", "2")

    assert (load_settings().threads, load_settings().workers) == (5, 2)


@pytest.mark.parametrize("name", ["WALLET_DATABSE_URL", "wallet_databse_url"])
@pytest.mark.parametrize("place", ["file", "environment"])
def test_a_name_that_is_nearly_a_settings_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str, place: str
) -> None:
    if place == "file":
        Path(".env").write_text(f"{name}=postgresql://w:x@db/prod\n")
    else:
        monkeypatch.setenv(name, "postgresql://w:x@db/prod")

    with pytest.raises(SettingsError, match=r"WALLET_DATABSE_URL: .* WALLET_DATABASE_URL meant"):
        load_settings()


def test_a_secret_instead_of_its_file_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WALLET_JWT_SECRET", "x" * 32)

    with pytest.raises(SettingsError, match=r"WALLET_JWT_SECRET: .* WALLET_JWT_SECRET_FILE meant"):
        load_settings()


@pytest.mark.parametrize(
    "name", ["WALLET_PORT", "WALLET_SERVICE_HOST", "WALLET_PORT_50051_TCP", "WALLET_DATABASE_PORT"]
)
def test_what_clusters_set_for_every_service_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "tcp://10.0.0.1:50051")

    assert load_settings().listen == "127.0.0.1:50051"


@pytest.mark.parametrize(
    "line", ["WALLET_DATABASE_URL=", "WALLET_DATABASE_URL", "wallet_database_url=''"]
)
def test_an_empty_address_of_the_database_is_refused_in_a_file_too(
    monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    Path(".env").write_text(f"{line}\n")

    with pytest.raises(SettingsError, match="WALLET_DATABASE_URL: is empty"):
        load_settings()

    monkeypatch.setenv("WALLET_DATABASE_URL", "postgresql://db/prod")
    assert load_settings().database_url == "postgresql://db/prod"


def test_a_file_that_is_not_utf_8_is_told() -> None:
    Path(".env").write_bytes("WALLET_JWT_ISSUER=кофе\n".encode("cp1251"))

    with pytest.raises(SettingsError, match=r"\.env: is not UTF-8"):
        load_settings()


@pytest.mark.parametrize(
    "line", ["WALLET_DATABASE_URL='postgresql://u:pa'ss@db/wallet'", 'WALLET_JWT_ISSUER="shop']
)
def test_a_line_that_cannot_be_read_is_told(line: str) -> None:
    Path(".env").write_text(f"# of the shop\n\n{line}\nWALLET_WORKERS=1\n")

    with pytest.raises(SettingsError, match=r"\.env: line 3 cannot be read"):
        load_settings()


def test_a_directory_in_place_of_the_file_is_told() -> None:
    Path(".env").mkdir()

    with pytest.raises(SettingsError, match=r"\.env: Is a directory"):
        load_settings()


def test_the_command_line_wins_where_it_says_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WALLET_WORKERS", "2")

    assert load_settings(workers=3).workers == 3
    assert load_settings(workers=None).workers == 2


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("WALLET_WORKERS", "0"),
        ("WALLET_WORKERS", "-1"),
        ("WALLET_WORKERS", "many"),
        ("WALLET_THREADS", "1.5"),
        ("WALLET_BATCH_MAX", "0"),
        ("WALLET_BATCH_TIMEOUT_MS", "0"),
        ("WALLET_LOCK_TIMEOUT_MS", "5s"),
        ("WALLET_LOCK_TIMEOUT_MS", "99999999999"),
        ("WALLET_BATCH_TIMEOUT_MS", "2000000000"),
        ("WALLET_MESSAGE_BYTES_MAX", "99999999999"),
        ("WALLET_CURRENCY", "rub"),
        ("WALLET_CURRENCY", "XAU"),
        ("WALLET_LISTEN", "50051"),
        ("WALLET_LISTEN", ":50051"),
        ("WALLET_LISTEN", "localhost"),
        ("WALLET_LISTEN", "localhost:"),
        ("WALLET_LISTEN", "localhost:65536"),
        ("WALLET_LISTEN", "localhost:-1"),
        ("WALLET_LISTEN", "localhost:http"),
        ("WALLET_SELF_DEPOSIT", "maybe"),
        ("WALLET_LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_value_is_told_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)

    with pytest.raises(SettingsError) as wrong:
        load_settings()

    assert str(wrong.value).startswith(f"{variable}: ")
    assert "\n" not in str(wrong.value)


@pytest.mark.parametrize(
    "chosen",
    [
        {"tls_cert_file": "cert"},
        {"tls_key_file": "key"},
        {"tls_client_ca_file": "ca"},
        {"tls_key_file": "key", "tls_client_ca_file": "ca"},
        {"jwt_secret_file": "secret", "jwt_public_key_file": "pem"},
        {"jwt_secret_file": "secret", "jwt_jwks_url": "https://keys.example.org"},
        {"jwt_jwks_file": "jwks", "jwt_jwks_url": "https://keys.example.org"},
        {"jwt_public_key_file": "pem", "jwt_jwks_file": "jwks"},
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_told(
    monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str]
) -> None:
    for name, text in chosen.items():
        monkeypatch.setenv(f"WALLET_{name.upper()}", text)

    with pytest.raises(SettingsError) as wrong:
        load_settings()

    assert any(f"WALLET_{name.upper()}" in str(wrong.value) for name in chosen)


def test_a_certificate_goes_with_its_key() -> None:
    chosen = {"tls_cert_file": "cert", "tls_key_file": "key", "tls_client_ca_file": "ca"}

    assert load_settings(**chosen).tls_client_ca_file == Path("ca")


@pytest.mark.parametrize(
    ("listen", "is_loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.8.9.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("192.168.1.1:1", False),
        ("[fe80::1]:1", False),
        ("example.org:1", False),
        ("localhost.example.org:1", False),
        ("127.0.0.1.example.org:1", False),
    ],
)
def test_only_this_machines_own_addresses_are_loopback(listen: str, *, is_loopback: bool) -> None:
    assert load_settings(listen=listen).is_loopback == is_loopback


def test_a_development_secret_is_made_once_and_for_its_owner_only() -> None:
    first = signing_secret(load_settings())

    assert signing_secret(load_settings()) == first == SECRET_PATH.read_bytes()
    assert len(first) >= 32
    assert stat.S_IMODE(SECRET_PATH.stat().st_mode) == 0o600
    assert list(SECRET_PATH.parent.iterdir()) == [SECRET_PATH]


def test_two_installations_have_two_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    here = signing_secret(load_settings())
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")

    assert signing_secret(load_settings()) != here


def test_no_secret_is_made_where_other_machines_can_call() -> None:
    with pytest.raises(SettingsError, match="WALLET_JWT_SECRET_FILE"):
        signing_secret(load_settings(listen="0.0.0.0:50051"))
    with pytest.raises(SettingsError, match="WALLET_JWT_SECRET_FILE"):
        signing_secret(load_settings(listen="0.0.0.0:50051", insecure=True))

    assert not SECRET_PATH.exists()


def test_a_secret_of_ones_own_is_read_without_its_line_end() -> None:
    Path("secret").write_bytes(b"a secret that an editor ended with a line feed\n")

    assert signing_secret(load_settings(jwt_secret_file="secret")).endswith(b"line feed")
    assert not SECRET_PATH.exists()


@pytest.mark.parametrize(
    "chosen",
    [{"jwt_public_key_file": "pem"}, {"jwt_jwks_url": "https://keys.example.org"}],
    ids=str,
)
def test_tokens_signed_elsewhere_are_not_signed_here(chosen: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="signed elsewhere"):
        signing_secret(load_settings(**chosen))

    assert not SECRET_PATH.exists()


def test_a_secret_that_cannot_be_read_is_told_with_its_variable() -> None:
    with pytest.raises(SettingsError, match=r"WALLET_JWT_SECRET_FILE: .*missing"):
        signing_secret(load_settings(jwt_secret_file="missing"))


def test_a_secret_may_begin_and_end_with_any_bytes() -> None:
    content = b"\t\n" + bytes(range(32)) + b" \r\n\t"
    Path("secret").write_bytes(content + b"\r\n")

    assert signing_secret(load_settings(jwt_secret_file="secret")) == content


def test_a_development_secret_that_cannot_be_made_is_told() -> None:
    Path("var").touch()

    with pytest.raises(SettingsError, match=r"WALLET_JWT_SECRET_FILE: .*development-jwt-secret"):
        signing_secret(load_settings())


_MAKE_SECRET = (
    "import sys; from wallet_service.credentials import signing_secret;"
    " from wallet_service.settings import load_settings;"
    " settings = load_settings(); print('ready', flush=True); sys.stdin.read();"
    " print(signing_secret(settings).decode())"
)


def test_processes_that_start_together_agree_on_one_secret() -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _MAKE_SECRET],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:  # all of them are ready: now let them go
        assert process.stdin
        process.stdin.close()
        process.stdin = None
    secrets = {process.communicate(timeout=60)[0] for process in processes}

    assert secrets == {SECRET_PATH.read_text() + "\n"}
    assert list(SECRET_PATH.parent.iterdir()) == [SECRET_PATH]
