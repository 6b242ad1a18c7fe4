"""TLS: who is spoken to is who was meant; certificates change while the server runs."""

import os
import shlex
from pathlib import Path

import pytest
from harness.calls import serving
from harness.certificates import Certificate, make_certificate, write_certificate
from harness.tokens import token, write_secret
from wallet_client import Undecided, Wallet

from wallet_service.credentials import server_credentials
from wallet_service.development import quick_start
from wallet_service.server import WalletServer
from wallet_service.settings import Settings, SettingsError
from wallet_service.storage.database import open_database

RENEWED_AT_NS = 10**18


def secure_client(target: str, roots: bytes, own: Certificate | None = None) -> Wallet:
    address = f"localhost:{target.rpartition(':')[2]}"
    return Wallet(
        address,
        token("alice"),
        root_certificates=roots,
        client_certificate=own and (own.key, own.chain),
        attempts_max=2,
    )


def test_a_client_trusts_the_authority_it_is_given(sqlite_url: str, tmp_path: Path) -> None:
    ours, another = make_certificate("ours"), make_certificate("another")
    with serving(sqlite_url, tmp_path, **write_certificate(tmp_path, ours)) as wallet:
        with secure_client(wallet.target, ours.chain) as alice:
            alice.deposit(100)

            assert alice.balance().posted.minor_units == 100
        with secure_client(wallet.target, another.chain) as misled, pytest.raises(Undecided):
            misled.balance()
        careless = Wallet(wallet.target, token("alice"), plaintext=True, attempts_max=2)
        with careless, pytest.raises(Undecided):
            careless.balance()


def test_a_replaced_certificate_is_used_without_a_restart(sqlite_url: str, tmp_path: Path) -> None:
    old, new = make_certificate("old"), make_certificate("new")
    with (
        serving(sqlite_url, tmp_path, **write_certificate(tmp_path, old)) as wallet,
        secure_client(wallet.target, old.chain) as early,
    ):
        early.deposit(100)
        write_certificate(tmp_path, new)

        with secure_client(wallet.target, new.chain) as alice:
            assert alice.balance().posted.minor_units == 100
        with secure_client(wallet.target, old.chain) as late, pytest.raises(Undecided):
            late.balance()
        assert early.balance().posted.minor_units == 100  # connections go on


def test_a_certificate_that_is_missing_or_broken_leaves_the_last_good_one(
    sqlite_url: str, tmp_path: Path
) -> None:
    good = make_certificate("good")
    files = write_certificate(tmp_path, good)
    with serving(sqlite_url, tmp_path, **files) as wallet:
        files["tls_key_file"].unlink()
        with secure_client(wallet.target, good.chain) as alice:
            alice.deposit(1)
        files["tls_key_file"].write_bytes(b"broken")
        with secure_client(wallet.target, good.chain) as alice:
            assert alice.balance().posted.minor_units == 1
        new = make_certificate("new")
        write_certificate(tmp_path, new)
        with secure_client(wallet.target, new.chain) as alice:
            assert alice.balance().posted.minor_units == 1


def test_a_certificate_that_could_not_be_read_for_a_moment_is_tried_again(
    sqlite_url: str, tmp_path: Path
) -> None:
    old, new = make_certificate("old"), make_certificate("new")
    files = write_certificate(tmp_path, old)
    with serving(sqlite_url, tmp_path, **files) as wallet:
        write_certificate(tmp_path, new)
        key_file = files["tls_key_file"]
        key_file.unlink()
        key_file.mkdir()  # nobody can read that, whatever they may
        os.utime(key_file, ns=(RENEWED_AT_NS, RENEWED_AT_NS))
        with secure_client(wallet.target, old.chain) as alice:
            alice.deposit(1)
        key_file.rmdir()
        key_file.write_bytes(new.key)
        os.utime(key_file, ns=(RENEWED_AT_NS, RENEWED_AT_NS))

        with secure_client(wallet.target, new.chain) as alice:
            assert alice.balance().posted.minor_units == 1


def test_a_certificate_for_another_key_is_named(tmp_path: Path) -> None:
    files = write_certificate(tmp_path, make_certificate("ours"))
    files["tls_key_file"].write_bytes(make_certificate("another").key)

    with pytest.raises(SettingsError, match="WALLET_TLS_CERT_FILE: not for the key in"):
        server_credentials(Settings(**files))


def test_where_a_clients_certificate_is_demanded_only_who_shows_one_is_served(
    sqlite_url: str, tmp_path: Path
) -> None:
    server, client = make_certificate("server"), make_certificate("client")
    authority = tmp_path / "clients.crt"
    authority.write_bytes(client.chain)
    files = write_certificate(tmp_path, server)
    with serving(sqlite_url, tmp_path, **files, tls_client_ca_file=authority) as wallet:
        with secure_client(wallet.target, server.chain, client) as alice:
            assert alice.balance().user_id == "alice"
        with secure_client(wallet.target, server.chain) as nameless, pytest.raises(Undecided):
            nameless.balance()


def test_replaced_authorities_of_clients_are_used_without_a_restart(
    sqlite_url: str, tmp_path: Path
) -> None:
    server, old, new = (make_certificate(name) for name in ("server", "old", "new"))
    authority = tmp_path / "clients.crt"
    authority.write_bytes(old.chain)
    files = write_certificate(tmp_path, server)
    with serving(sqlite_url, tmp_path, **files, tls_client_ca_file=authority) as wallet:
        with secure_client(wallet.target, server.chain, old) as early:
            early.deposit(100)
        authority.write_bytes(new.chain)

        with secure_client(wallet.target, server.chain, new) as alice:
            assert alice.balance().posted.minor_units == 100
        with secure_client(wallet.target, server.chain, old) as late, pytest.raises(Undecided):
            late.balance()


def test_the_lines_to_try_a_server_with_trust_its_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my files").mkdir()
    files = write_certificate(tmp_path / "my files", make_certificate("ours"))

    printed = quick_start(Settings(**files), "127.0.0.1:50051")

    lines = [line for line in printed.splitlines() if line.startswith("grpcurl ")]
    assert len(lines) == 4
    trusted = ["grpcurl", "-cacert", str(files["tls_cert_file"])]
    assert all(shlex.split(line)[:3] == trusted for line in lines)
    assert "-plaintext" not in printed


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_plaintext_where_others_could_listen_is_refused(
    sqlite_url: str, tmp_path: Path, host: str
) -> None:
    settings = Settings(
        database_url=sqlite_url, listen=f"{host}:0", jwt_secret_file=write_secret(tmp_path)
    )
    server = WalletServer(settings, open_database(sqlite_url), shares_port=False)

    with pytest.raises(SettingsError, match="WALLET_LISTEN: plaintext on"):
        server.start()
