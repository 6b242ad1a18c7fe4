"""Commands that only read make nothing, whatever they are told to read."""

from pathlib import Path

import pytest
from harness.processes import run_wallet, wallet_environment


@pytest.mark.parametrize("path", ["wallet.db", "mistyped/wallet.db"])
@pytest.mark.parametrize(
    "command", [("verify",), ("statement", "alice"), ("export",)], ids=lambda words: words[0]
)
def test_a_file_that_is_not_there_is_told_and_not_made(
    tmp_path: Path, command: tuple[str, ...], path: str
) -> None:
    environment = wallet_environment(tmp_path, f"sqlite:///{tmp_path / path}")
    before = sorted(tmp_path.iterdir())

    outcome = run_wallet(*command, directory=tmp_path, environment=environment)

    assert (outcome.returncode, outcome.stdout) == (2, "")
    complaint = f"wallet: WALLET_DATABASE_URL: no such file: {tmp_path / path}\n"
    assert outcome.stderr == complaint
    assert sorted(tmp_path.iterdir()) == before
