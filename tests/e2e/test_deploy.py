"""The image and the compose file, as far as reading them goes: nothing here starts one."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from harness.documents import ROOT, codes, table
from harness.processes import wallet_environment

from wallet_service.settings import Settings

REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))
IMAGE = re.compile(r"[a-z0-9-]+:\d[\w.-]*")
COMPOSE = ROOT / "deploy/compose.yaml"
DOCUMENTED = {codes(row[0])[0] for row in table("README.md", "Settings")}


class Instruction(NamedTuple):
    """One instruction of the Dockerfile, on one line."""

    name: str
    rest: str

    @property
    def command(self) -> list[str]:
        """The words of an exec form; fails on a shell form."""
        words: list[str] = json.loads(self.rest[self.rest.index("[") :])
        return words


def _instructions() -> list[Instruction]:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", "", text).splitlines()
    return [Instruction(*line.split(" ", 1)) for line in joined if line]


def _last_stage() -> list[Instruction]:
    instructions = _instructions()
    start = max(i for i, instruction in enumerate(instructions) if instruction.name == "FROM")
    return instructions[start:]


def _copied() -> list[str]:
    """Return what the Dockerfile copies from the repository."""
    return [
        source
        for instruction in _instructions()
        if instruction.name == "COPY" and not instruction.rest.startswith("--from=")
        for source in instruction.rest.split()[:-1]
    ]


def _compose() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return parsed


def test_the_image_is_made_in_two_stages_of_one_pinned_base() -> None:
    bases = [each.rest.split()[0] for each in _instructions() if each.name == "FROM"]

    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert IMAGE.fullmatch(bases[0])
    assert bases[0].endswith("-slim")


def test_everything_that_is_copied_exists_and_is_let_through() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}

    assert _copied()
    assert all((ROOT / source).exists() for source in _copied())
    assert "*" in lines
    assert set(_copied()) == allowed


def test_no_secret_or_book_of_the_checkout_gets_into_the_image() -> None:
    kept_out = ("var/wallet.db", ".env", ".git/config", "tests/conftest.py")

    assert not any(fnmatch(path, f"{source}*") for path in kept_out for source in _copied())


def test_every_command_of_the_image_is_in_exec_form() -> None:
    names = ("RUN", "CMD", "ENTRYPOINT", "HEALTHCHECK")
    commands = [each.command for each in _instructions() if each.name in names]

    assert len(commands) >= len(names)
    assert all(commands)


def test_the_image_installs_by_locked_hashes() -> None:
    installs = [each.command for each in _instructions() if "pip" in each.rest]

    assert len(installs) == 2
    assert all(("--require-hashes" in words) != ("--no-deps" in words) for words in installs)


def test_the_image_serves_drains_and_tells_its_health_as_nobody_special() -> None:
    stage = dict(reversed(_last_stage()))

    assert stage["USER"] not in {"root", "0"}
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(stage["ENTRYPOINT"]) == ["wallet"]
    assert json.loads(stage["CMD"]) == ["serve"]
    assert stage["HEALTHCHECK"].endswith('CMD ["wallet", "healthcheck"]')
    names = [each.name for each in _last_stage()]
    assert names.index("USER") < names.index("ENTRYPOINT")


def test_the_image_allows_plaintext_to_nobody() -> None:
    assert "insecure" not in (ROOT / "Dockerfile").read_text().lower()


def test_what_the_image_installs_is_complete(tmp_path: Path) -> None:
    for source in _copied():
        _copy(ROOT / source, tmp_path / source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps"]
    flags = ["--no-build-isolation", "--no-cache-dir", "--wheel-dir", "wheels"]
    subprocess.run([*pip, *flags, "./clients/python", "."], cwd=tmp_path, check=True, timeout=120)
    for wheel in (tmp_path / "wheels").iterdir():
        zipfile.ZipFile(wheel).extractall(tmp_path / "installed")

    environment = wallet_environment(tmp_path, f"sqlite:///{tmp_path}/wallet.db")
    code = "import wallet_service; print(wallet_service.__file__); import wallet_service.cli as cli"
    outcome = subprocess.run(
        [sys.executable, "-c", f"{code}; cli.main()", "migrate"],
        cwd=tmp_path / "wheels",
        env=environment | {"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.startswith(str(tmp_path / "installed" / "wallet_service"))
    assert "the schema is at version" in outcome.stdout


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    else:
        shutil.copy(source, target)


def test_compose_migrates_before_it_serves() -> None:
    services = _compose()["services"]

    assert services["migrate"]["command"] == ["migrate"]
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["wallet"]["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"}
    }
    assert services["postgres"]["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
    assert services["wallet"]["healthcheck"]["test"] == ["CMD", "wallet", "healthcheck"]


def test_compose_names_images_by_version() -> None:
    images = {service["image"] for service in _compose()["services"].values()}

    assert images
    assert all(IMAGE.fullmatch(image) for image in images)


def test_compose_uses_only_settings_that_exist() -> None:
    names = {
        name
        for service in _compose()["services"].values()
        for name in service["environment"]
        if name.startswith("WALLET_")
    }

    assert names
    assert names <= DOCUMENTED


def test_compose_gives_calls_under_way_time_to_end() -> None:
    grace_s = _compose()["services"]["wallet"]["stop_grace_period"]

    assert int(grace_s.removesuffix("s")) * 1000 > Settings.model_fields["grace_ms"].default


def test_compose_publishes_plaintext_to_this_machine_only() -> None:
    services = _compose()["services"]
    ports = [port for service in services.values() for port in service.get("ports", ())]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_compose_holds_no_secret() -> None:
    compose = _compose()
    server = compose["services"]["wallet"]["environment"]

    assert compose["secrets"] == {"jwt_secret": {"environment": "JWT_SECRET"}}
    assert server["WALLET_JWT_SECRET_FILE"] == "/run/secrets/jwt_secret"
    assert ":${POSTGRES_PASSWORD:?}@" in server["WALLET_DATABASE_URL"]
    database = compose["services"]["postgres"]["environment"]
    assert database["POSTGRES_PASSWORD"] == "${POSTGRES_PASSWORD:?}"


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_requirements_are_locked_by_hash_and_name_no_address(path: Path) -> None:
    text = path.read_text()
    packages = re.sub(r"\\\n\s*", "", text).strip().splitlines()

    assert packages
    assert all(
        re.match(r"[a-z0-9._-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line) for line in packages
    )
    assert "://" not in text
    assert not re.search(r"^-|--(extra-)?index.url|--find-links", text, re.MULTILINE)


def test_no_file_of_deployment_names_a_registry() -> None:
    files = [ROOT / "Dockerfile", ROOT / ".dockerignore", *(ROOT / "deploy").rglob("*.*")]
    text = "\n".join(file.read_text() for file in files)

    assert not re.search(r"index.url|(?:image:|FROM)\s+\S+\.\S+/", text)
    assert ":latest" not in text
    assert os.fspath(ROOT) not in text
