"""What is set: how `wallet config` shows it, and how every command refuses what is wrong."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from harness.authority import issue_certificate
from harness.certificates import make_certificate, write_certificate
from harness.processes import (
    assert_one_clear_line,
    run_wallet,
    run_wallet_in,
    wallet_environment,
)

from wallet_service.settings import Settings


def test_config_prints_what_is_set_and_what_is_not(tmp_path: Path) -> None:
    outcome = run_wallet("config", directory=tmp_path, batch_max=1, reflection="FALSE")

    assert (outcome.returncode, outcome.stderr) == (0, "")
    lines = outcome.stdout.splitlines()
    assert [line.partition("=")[0] for line in lines] == [
        f"WALLET_{name.upper()}" for name in Settings.model_fields
    ]
    assert {
        "WALLET_BATCH_MAX=1",
        "WALLET_REFLECTION=false",
        "WALLET_CURRENCY=RUB",
        "WALLET_JWT_JWKS_URL=",
        f"WALLET_DATABASE_URL=sqlite:///{tmp_path / 'wallet.db'}",
    } <= set(lines)


def test_what_config_prints_can_be_set(tmp_path: Path) -> None:
    issuer = r'the shop\'s "login" # 1'
    printed = run_wallet(
        "config", directory=tmp_path, threads=7, self_deposit=False, jwt_issuer=issuer
    ).stdout
    (tmp_path / ".env").write_text(printed)
    environment = {
        name: value
        for name, value in wallet_environment(tmp_path, "").items()
        if not name.startswith("WALLET_")
    }

    again = run_wallet_in(environment, "config", directory=tmp_path)

    assert again.stdout == printed


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://wallet:s3cret%40@db:5432/wallet", "postgresql://wallet:***@db:5432/wallet"),
        (
            "postgresql://db/wallet?user=a&password=s3cret",
            "postgresql://db/wallet?user=a&password=***",
        ),
        (
            "postgresql://db/w?sslpassword=s3cret&sslmode=require",
            "postgresql://db/w?sslpassword=***&sslmode=require",
        ),
        ("postgresql://db/w?PASSWORD=s3cret&pwd=s3cret", "postgresql://db/w?PASSWORD=***&pwd=***"),
        ("host=db password=s3cret", "'host=db password=***'"),
        ("postgresql://wallet:a&s3cret/b@db/wallet", "postgresql://wallet:***@db/wallet"),
        ("postgresql://wallet:a@s3cret@db/wallet", "postgresql://wallet:***@db/wallet"),
        ("postgresql://wallet:s3cret?s3cret@db/wallet", "postgresql://wallet:***@db/wallet"),
        ("postgresql://wallet:s3cret/?s3cret@db/wallet", "postgresql://wallet:***@db/wallet"),
        ("postgresql://wallet@db/wallet", "postgresql://wallet@db/wallet"),
        ("postgresql://db:5432/wallet", "postgresql://db:5432/wallet"),
    ],
)
def test_config_keeps_passwords_to_itself(tmp_path: Path, url: str, shown: str) -> None:
    printed = run_wallet("config", directory=tmp_path, database_url=url).stdout

    assert f"WALLET_DATABASE_URL={shown}\n" in printed
    assert "s3cret" not in printed


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://s3cret@keys.example/jwks", "https://***@keys.example/jwks"),
        ("https://a:s3cret@keys.example/jwks", "https://a:***@keys.example/jwks"),
        ("https://keys.example:8443/jwks?mode=a@b", "https://keys.example:8443/jwks?mode=a@b"),
        ("https://keys.example/jwks?mode=a&sig=s3cret", "https://keys.example/jwks?mode=a&sig=***"),
        ("https://keys.example/jwks?X-Amz-Signature=s3cret#s3cret", "?X-Amz-Signature=***#***"),
        ("https://keys.example/jwks?x-api-key=s3cret", "https://keys.example/jwks?x-api-key=***"),
    ],
)
def test_config_keeps_what_opens_a_jwks_to_itself(tmp_path: Path, url: str, shown: str) -> None:
    outcome = run_wallet("config", directory=tmp_path, jwt_secret_file="", jwt_jwks_url=url)
    printed = outcome.stdout

    assert shown in printed
    assert "s3cret" not in printed


@pytest.mark.parametrize("command", [("token", "alice"), ("serve",)], ids=["token", "serve"])
def test_a_secret_that_could_be_guessed_is_refused(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "short").write_text("hunter2")

    outcome = run_wallet(*command, directory=tmp_path, jwt_secret_file=tmp_path / "short")

    assert outcome.stdout == ""
    assert_one_clear_line(outcome, 2, "WALLET_JWT_SECRET_FILE", "32")


def test_a_secret_of_our_own_making_that_got_lost_is_named_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var/development-jwt-secret").touch()

    outcome = run_wallet("token", "alice", directory=tmp_path, jwt_secret_file="")

    assert_one_clear_line(outcome, 2, "var/development-jwt-secret: ", "32")
    assert "WALLET_JWT_SECRET_FILE" not in outcome.stderr


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("workers", "0"),
        ("listen", "50051"),
        ("listen", "127.0.0.1:65536"),
        ("currency", "XXX"),
        ("self_deposit", "perhaps"),
        ("log_level", "loud"),
        ("jwt_secret_file", "missing"),
        ("database_url", "wallet.db"),
        ("database_url", "mysql://root@localhost/wallet"),
        ("database_url", "sqlite://"),
        ("database_url", "postgresql://wallet:a@b@localhost/wallet"),
        ("database_url", "sqlite:///jwt-secret/wallet.db"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, setting: str, value: str) -> None:
    outcome = run_wallet("serve", directory=tmp_path, **{setting: value})

    assert outcome.stdout == ""
    assert_one_clear_line(outcome, 2, f"WALLET_{setting.upper()}")


def test_an_address_of_keys_that_is_none_is_named(tmp_path: Path) -> None:
    outcome = run_wallet(
        "token", "alice", directory=tmp_path, jwt_secret_file="", jwt_jwks_url="login.invalid"
    )

    assert_one_clear_line(outcome, 2, "WALLET_JWT_JWKS_URL")


@pytest.mark.parametrize("setting", ["jwt_public_key_file", "jwt_jwks_file"])
@pytest.mark.parametrize("content", [None, "not a key"], ids=["missing", "garbage"])
def test_a_wrong_key_file_is_named(tmp_path: Path, setting: str, content: str | None) -> None:
    if content:
        (tmp_path / "keys").write_text(content)

    outcome = run_wallet(
        "serve", directory=tmp_path, jwt_secret_file="", **{setting: tmp_path / "keys"}
    )

    assert_one_clear_line(outcome, 2, f"WALLET_{setting.upper()}")


@pytest.mark.parametrize("content", [None, "not a certificate"], ids=["missing", "garbage"])
def test_a_wrong_certificate_is_named(tmp_path: Path, content: str | None) -> None:
    issued = issue_certificate(tmp_path, "wallet.example")
    wrong = tmp_path / "wrong.crt"
    if content:
        wrong.write_text(content)

    outcome = run_wallet(
        "serve", directory=tmp_path, tls_cert_file=wrong, tls_key_file=issued.key_file
    )

    assert_one_clear_line(outcome, 2, "WALLET_TLS_CERT_FILE")


def test_a_certificate_that_grpc_cannot_use_is_named(tmp_path: Path) -> None:
    certificate = make_certificate("wallet", Ed25519PrivateKey.generate())

    outcome = run_wallet("serve", directory=tmp_path, **write_certificate(tmp_path, certificate))

    assert_one_clear_line(outcome, 2, "WALLET_TLS_CERT_FILE", "RSA or ECDSA")


@pytest.mark.parametrize("setting", ["jwt_secret_file", "tls_cert_file"])
def test_a_wrong_setting_that_workers_find_is_named_too(tmp_path: Path, setting: str) -> None:
    issued = issue_certificate(tmp_path, "wallet.example")
    tls = {"tls_cert_file": issued.cert_file, "tls_key_file": issued.key_file}

    outcome = run_wallet(
        "serve", "--workers", "2", directory=tmp_path, **{**tls, setting: tmp_path / "missing"}
    )

    assert_one_clear_line(outcome, 2, f"WALLET_{setting.upper()}")


@pytest.mark.parametrize("content", [None, "", "not a certificate"], ids=repr)
def test_wrong_authorities_of_clients_are_named(tmp_path: Path, content: str | None) -> None:
    issued = issue_certificate(tmp_path, "wallet.example")
    wrong = tmp_path / "clients.crt"
    if content is not None:
        wrong.write_text(content)

    outcome = run_wallet(
        "serve",
        directory=tmp_path,
        tls_cert_file=issued.cert_file,
        tls_key_file=issued.key_file,
        tls_client_ca_file=wrong,
    )

    assert_one_clear_line(outcome, 2, "WALLET_TLS_CLIENT_CA_FILE", str(wrong))


def test_half_a_pair_of_tls_files_is_refused(tmp_path: Path) -> None:
    outcome = run_wallet("serve", directory=tmp_path, tls_cert_file="server.crt")

    assert_one_clear_line(outcome, 2, "WALLET_TLS_CERT_FILE", "WALLET_TLS_KEY_FILE")


def test_plaintext_for_other_machines_must_be_allowed(tmp_path: Path) -> None:
    outcome = run_wallet("serve", "--listen", "0.0.0.0:0", directory=tmp_path)

    assert_one_clear_line(outcome, 2, "WALLET_LISTEN", "--insecure")


def test_a_secret_of_our_own_making_serves_this_machine_only(tmp_path: Path) -> None:
    outcome = run_wallet(
        "serve", "--listen", "0.0.0.0:0", "--insecure", directory=tmp_path, jwt_secret_file=""
    )

    assert_one_clear_line(outcome, 2, "WALLET_JWT_SECRET_FILE")
