"""What the README says, done: its commands are run, its tables compared with the code."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.development import QuickStart, development_server
from harness.documents import (
    ROOT,
    all_blocks,
    blocks,
    codes,
    documents,
    relative_links,
    section,
    table,
)
from harness.grpcurl import parse, run_line
from wallet_client import Wallet
from wallet_client.v1.errors_pb2 import ErrorReason

from wallet_service.cli import main as cli
from wallet_service.ledger import errors
from wallet_service.settings import Settings
from wallet_service.transport.auth import POLICIES, SCOPE_ACT_FOR_ANY, SCOPE_ADMIN
from wallet_service.transport.status import code_of

README = "README.md"
NOT_SENT_YET = "not sent yet"
CHANGING = {"create_time", "as_of", "hash"}
REQUEST_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture
def development(tmp_path: Path) -> Iterator[QuickStart]:
    with development_server(tmp_path) as quick_start:
        yield quick_start


def _shell_lines() -> list[str]:
    """Return the lines of the first transfer that show no output."""
    text = "\n".join(blocks(README, "sh"))
    return [line for line in text.splitlines() if line.startswith("grpcurl")]


def _steps(console: str) -> list[tuple[str, str]]:
    """Return the commands of a block with the outputs it shows."""
    steps = console.split("$ grpcurl ")[1:]
    return [("grpcurl " + line, shown) for line, _, shown in (s.partition("\n") for s in steps)]


def _lasting(value: Any) -> Any:
    """Leave out what no two runs have in common."""
    if isinstance(value, dict):
        return {name: _lasting(each) for name, each in value.items() if name not in CHANGING}
    return value


def _run(line: str, development: QuickStart) -> dict[str, Any]:
    return run_line(line, target=development.target, variables=development.tokens)


class Reader:
    """Somebody who does what a document says, from top to bottom, and compares what is shown."""

    def __init__(self, development: QuickStart, capsys: pytest.CaptureFixture[str]) -> None:
        self._development = development
        self._capsys = capsys
        tokens = development.tokens
        scopes = ("--scope", "wallet:act-for-any", "--scope", "wallet:admin")
        service = development.token("shop", *scopes)
        self._names: dict[str, Any] = {
            "token": tokens["BOB"],
            "tokens": [tokens["ALICE"], tokens["BOB"], service],
        }
        self._printed = ""

    def read(self, document: str) -> list[str]:
        """Do each block in turn; return of which languages there were any."""
        done = []
        for language, body in all_blocks(document):
            follow = getattr(self, f"_{language}", None)
            if follow:
                follow(body)
                done.append(language)
        assert not self._printed
        for client in (each for each in self._names.values() if isinstance(each, Wallet)):
            client.close()
        return done

    def _sh(self, body: str) -> None:
        for line in body.splitlines():
            if line.startswith("grpcurl"):
                assert "transaction" in _run(line, self._development)

    def _console(self, body: str) -> None:
        for line, shown in _steps(body):
            assert _lasting(_run(line, self._development)) == _lasting(parse(shown))

    def _python(self, body: str) -> None:
        assert not self._printed, "what a block prints must be shown"
        code = body.replace("127.0.0.1:50051", self._development.target)
        exec(compile(code, README, "exec"), self._names)
        self._printed = self._capsys.readouterr().out

    def _text(self, body: str) -> None:
        if self._printed:
            assert self._printed == body
        self._printed = ""


def test_everything_the_readme_does_ends_as_it_shows(
    development: QuickStart, capsys: pytest.CaptureFixture[str]
) -> None:
    done = Reader(development, capsys).read(README)

    assert {"sh", "console", "python", "text"} == set(done)


def test_a_line_of_the_readme_sent_again_is_answered_as_replayed(development: QuickStart) -> None:
    for line in _shell_lines():
        first, again = _run(line, development), _run(line, development)

        assert again == first | {"replayed": True}


def test_the_server_prints_the_lines_of_the_readme(development: QuickStart) -> None:
    shown = [*_shell_lines(), *(line for line, _ in _steps(blocks(README, "console")[0]))]
    printed = [line.replace(development.target, "127.0.0.1:50051") for line in development.lines]

    assert [REQUEST_ID.sub("ID", line) for line in printed] == [
        REQUEST_ID.sub("ID", line) for line in shown
    ]


def test_the_lines_that_the_server_prints_make_101_roubles(development: QuickStart) -> None:
    *_, balance = [_run(line, development) for line in development.lines]

    assert balance["balance"]["posted"]["decimal"] == "101.00"


def test_everything_the_readme_of_the_client_does_ends_as_it_shows(
    development: QuickStart, capsys: pytest.CaptureFixture[str]
) -> None:
    _deposit_as_the_readme_does(development)

    done = Reader(development, capsys).read("clients/python/README.md")

    assert done.count("python") == done.count("text") > 0


def _deposit_as_the_readme_does(development: QuickStart) -> None:
    with (
        Wallet(development.target, development.tokens["ALICE"], plaintext=True) as alice,
        Wallet(development.target, development.tokens["BOB"], plaintext=True) as bob,
    ):
        bob.deposit(100)
        alice.deposit(10_000)
        alice.transfer("bob", 10_000)


@pytest.mark.parametrize("document", [README, "clients/python/README.md"])
def test_what_a_document_does_in_python_is_well_typed(document: str, tmp_path: Path) -> None:
    written = tmp_path / "document.py"
    given = ["token: str", "tokens: list[str]"]
    written.write_text("\n".join((*given, *blocks(document, "python"))))

    checked = subprocess.run(
        [sys.executable, "-m", "mypy", written],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout


def test_the_first_commands_are_targets_of_make() -> None:
    first = blocks(README, "sh")[0].splitlines()

    assert [line.split("#")[0].split() for line in first] == [["make", "run"], ["make", "test"]]
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}: " in makefile for target in ("run", "test"))


def test_one_sentence_says_what_it_is() -> None:
    title, empty, sentence, after = (ROOT / README).read_text().split("\n")[:4]

    assert (title, empty, after) == ("# Wallet", "", "")
    assert sentence.count(".") == 1
    assert sentence.endswith(".")


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_files_resolve(document: Path) -> None:
    missing = [link for link in relative_links(document) if not (document.parent / link).exists()]

    assert not missing


def test_the_settings_table_lists_exactly_the_settings() -> None:
    def shown(value: object) -> str:
        if value is None:
            return "\N{EN DASH}"
        return f"`{str(value).lower() if isinstance(value, bool) else value}`"

    fields = Settings.model_fields

    assert [row[:2] for row in table(README, "Settings")] == [
        [f"`WALLET_{name.upper()}`", shown(field.default)] for name, field in fields.items()
    ]


def test_the_table_of_calls_lists_exactly_the_calls_with_their_scopes() -> None:
    listed = {codes(row[0])[0]: codes(row[2]) for row in table(README, "Calls")}

    assert listed == {
        method.removeprefix("/wallet.v1."): [scope] if scope else []
        for method, scope in POLICIES.items()
    }


def test_the_error_table_lists_exactly_the_reasons_of_the_contract() -> None:
    listed = [reason for row in table(README, "Errors") for reason in codes(row[1])]
    reasons = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()}  # noqa: SIM118

    assert len(listed) == len(set(listed))
    assert set(listed) == reasons - {"UNSPECIFIED"}


def test_the_error_table_gives_each_reason_its_code() -> None:
    listed = {
        reason: row[0].strip("`") for row in table(README, "Errors") for reason in codes(row[1])
    }
    kinds = {
        kind.reason: kind
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, errors.WalletError)
        and "reason" in vars(kind)
    }

    assert {reason: code for reason, code in listed.items() if code != NOT_SENT_YET} == {
        reason: code_of(kind.__new__(kind)).name for reason, kind in kinds.items()
    }


def test_the_table_of_commands_lists_exactly_the_commands() -> None:
    listed = [codes(row[0])[0].split()[1] for row in table(README, "Commands")]

    assert listed == [
        command.callback.__name__ for command in cli.registered_commands if command.callback
    ]


def test_the_table_of_scopes_lists_exactly_the_scopes() -> None:
    listed = [codes(row[0]) for row in table(README, "Scopes")]

    assert listed == [[SCOPE_ACT_FOR_ANY], [SCOPE_ADMIN]]


def test_the_floors_exist() -> None:
    floors = re.findall(r"wallet_service/[\w./]+", section(README, "Where things are"))

    assert len(floors) == 6
    assert all((ROOT / floor).exists() for floor in floors)
