"""The Makefile's targets. What they do is tested elsewhere; here, that they are there."""

import os
import re
import shutil
import subprocess

import pytest
from harness.documents import ROOT

TARGET = re.compile(r"^([a-z-]+):.*## (.+)$", re.MULTILINE)

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def _make(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if "MAKE" not in name},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _described_targets() -> dict[str, str]:
    return dict(TARGET.findall((ROOT / "Makefile").read_text()))


@pytest.mark.parametrize("arguments", [[], ["help"]], ids=["make", "make help"])
def test_help_lists_every_target_with_what_it_does(arguments: list[str]) -> None:
    outcome = _make(*arguments)

    assert outcome.returncode == 0
    for target, words in _described_targets().items():
        assert re.search(rf"^  make {target} +{re.escape(words)}$", outcome.stdout, re.MULTILINE)


def test_every_target_is_described_and_phony() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE))

    assert phony == set(_described_targets())


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("run", ".venv/bin/wallet serve"),
        ("test", ".venv/bin/pytest --numprocesses 3 --dist worksteal"),
    ],
)
def test_the_two_commands_end_in_what_they_promise(target: str, command: str) -> None:
    outcome = _make("--dry-run", target)

    assert outcome.returncode == 0
    assert outcome.stdout.splitlines()[-1].removeprefix("exec ") == command


def test_a_fresh_clone_installs_from_locked_hashes_only() -> None:
    outcome = _make("--dry-run", "--always-make", "test")

    installs = [line for line in outcome.stdout.splitlines() if " pip install " in line]
    assert len(installs) == 3
    assert all(("--require-hashes" in line) != ("--no-deps" in line) for line in installs)


def test_check_runs_everything_in_the_order_of_the_help() -> None:
    outcome = _make("--dry-run", "check")
    tools = ("ruff format --check", "ruff check", "mypy", "buf breaking", "bin/pytest")

    places = [outcome.stdout.find(tool) for tool in tools]

    assert -1 not in places
    assert places == sorted(places)
