"""`wallet healthcheck`, as a container runs it beside its server, whatever that one presents."""

from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from harness.authority import issue_certificate
from harness.certificates import make_certificate, write_certificate
from harness.processes import ServerProcess, assert_one_clear_line, run_wallet


def test_healthcheck_follows_the_server(server_process: ServerProcess, tmp_path: Path) -> None:
    serving = run_wallet("healthcheck", directory=tmp_path, listen=server_process.target)
    server_process.terminate()
    stopped = run_wallet("healthcheck", directory=tmp_path, listen=server_process.target)

    assert (serving.returncode, serving.stdout) == (0, "wallet: SERVING\n")
    assert stopped.stdout == ""
    assert_one_clear_line(stopped, 1, "no answer")


def test_healthcheck_of_a_certificate_finds_nobody_there(tmp_path: Path) -> None:
    files = write_certificate(tmp_path, make_certificate("wallet"))

    outcome = run_wallet("healthcheck", directory=tmp_path, listen="127.0.0.1:1", **files)

    assert_one_clear_line(outcome, 1, "no answer from 127.0.0.1:1: ")


def test_healthcheck_follows_the_server_whatever_became_of_its_files(
    sqlite_url: str, tmp_path: Path
) -> None:
    tls = write_certificate(tmp_path, make_certificate("wallet"))
    with ServerProcess(tmp_path, sqlite_url, **tls) as server:
        for spoilt in (make_certificate("another").chain, b"not a certificate"):
            tls["tls_cert_file"].write_bytes(spoilt)
            outcome = run_wallet("healthcheck", directory=tmp_path, listen=server.target, **tls)

            assert (outcome.returncode, outcome.stdout) == (0, "wallet: SERVING\n")


@pytest.mark.parametrize(
    "names",
    [[], [x509.IPAddress(ip_address("10.0.0.5"))], [x509.RFC822Name("a@b.example")]],
    ids=str,
)
def test_healthcheck_works_for_a_certificate_without_a_hosts_name(
    sqlite_url: str, tmp_path: Path, names: list[x509.GeneralName]
) -> None:
    issued = issue_certificate(tmp_path, "wallet.example", names)
    tls = {"tls_cert_file": issued.cert_file, "tls_key_file": issued.key_file}
    with ServerProcess(tmp_path, sqlite_url, **tls) as server:
        outcome = run_wallet("healthcheck", directory=tmp_path, listen=server.target, **tls)

    assert (outcome.returncode, outcome.stdout) == (0, "wallet: SERVING\n")


def test_healthcheck_asks_no_proxy(
    server_process: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    outcome = run_wallet("healthcheck", directory=tmp_path, listen=server_process.target)

    assert (outcome.returncode, outcome.stdout) == (0, "wallet: SERVING\n")


@pytest.mark.parametrize("demands_clients", [False, True], ids=["TLS", "mutual TLS"])
def test_healthcheck_works_whatever_name_the_certificate_is_for(
    sqlite_url: str, tmp_path: Path, *, demands_clients: bool
) -> None:
    issued = issue_certificate(tmp_path, "wallet.example")
    tls = {"tls_cert_file": issued.cert_file, "tls_key_file": issued.key_file}
    if demands_clients:
        tls["tls_client_ca_file"] = issued.ca_file
    with ServerProcess(tmp_path, sqlite_url, **tls) as server:
        outcome = run_wallet("healthcheck", directory=tmp_path, listen=server.target, **tls)
        server.terminate()

    assert (outcome.returncode, outcome.stdout) == (0, "wallet: SERVING\n")
    assert server.log == ""  # such as of a broken handshake, each time
