"""An SQLite file that loses its name under a server: no answered change goes with it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.calls import Caller, serving, user
from harness.people import rub
from wallet_client.v1.wallet_service_pb2 import DepositRequest, GetBalanceRequest

UNAVAILABLE = ("UNAVAILABLE", "DATABASE_UNAVAILABLE")


@pytest.fixture
def alice(sqlite_url: str, tmp_path: Path) -> Iterator[Caller]:
    with (
        serving(sqlite_url, tmp_path, batch_timeout_ms=300) as wallet,
        user(wallet.target, "alice") as caller,
    ):
        yield caller


@pytest.fixture
def file(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


def _deposit(caller: Caller, request_id: str) -> tuple[str, str]:
    return caller.send(DepositRequest(amount=rub(100), request_id=request_id)).outcome


def _balance(caller: Caller) -> int:
    return caller.send(GetBalanceRequest()).response.balance.posted.minor_units


def test_a_file_that_is_away_for_a_moment_has_all_when_it_is_back(
    alice: Caller, file: Path
) -> None:
    assert _deposit(alice, "before") == ("OK", "")
    assert _balance(alice) == 100  # so that what reads has it open too
    away = file.rename(file.with_suffix(".away"))

    outcomes = [_deposit(alice, f"away-{number}") for number in range(3)]
    read = alice.send(GetBalanceRequest()).outcome
    is_made_anew = file.exists()
    away.rename(file)

    assert outcomes == [UNAVAILABLE] * 3
    assert read == UNAVAILABLE
    assert not is_made_anew
    assert _deposit(alice, "after") == ("OK", "")
    assert _balance(alice) == 200


def test_a_file_that_another_took_the_place_of_is_written_no_more(
    alice: Caller, file: Path
) -> None:
    assert _deposit(alice, "first") == ("OK", "")
    assert _balance(alice) == 100
    copy = file.with_suffix(".copy")
    for suffix in ("", "-wal"):
        shutil.copy(f"{file}{suffix}", f"{copy}{suffix}")
    for suffix in ("-wal", ""):
        Path(f"{copy}{suffix}").replace(f"{file}{suffix}")

    assert _deposit(alice, "second") == ("OK", "")

    assert _balance(alice) == 200
    assert alice.send(GetBalanceRequest()).response.balance.sequence == 2
