"""
Generate the Python stubs of `protos/` into the client distribution.

protoc writes absolute imports of the proto package (`from wallet.v1 import …`), and which module
each message is in; both are rewritten to where the stubs live, while the proto file names inside
the descriptors, which are global in a process, stay `wallet/v1/*.proto`.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
THIRD_PARTY = ROOT / "third_party"
TARGET = ROOT / "clients/python/wallet_client/v1"
MODULE = re.compile(r"(^(?:from|import) |DESCRIPTOR, ')wallet\.v1\b", re.MULTILINE)


def generate() -> dict[str, str]:
    """Return the stubs, by file name."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("wallet/v1/*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        outputs = [
            f"--python_out={scratch}",
            f"--grpc_python_out={scratch}",
            f"--mypy_out=quiet,readable_stubs:{scratch}",
            f"--mypy_grpc_out=quiet:{scratch}",
        ]
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"-I{THIRD_PARTY}"]
        # protoc finds its plugins on the path; ours are beside this interpreter.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        subprocess.run([*protoc, *outputs, *sources], check=True, env={**os.environ, "PATH": path})
        made = {path.name: path.read_text() for path in Path(scratch).glob("wallet/v1/*")}
    return {
        name: MODULE.sub(r"\1wallet_client.v1", text)
        for name, text in made.items()
        if "_pb2_grpc" not in name or "Stub" in text  # not of files without services
    }


def main(arguments: list[str]) -> None:
    """Replace every generated file by a fresh one; with --check, fail where one would change."""
    fresh = generate()
    present = {path.name: path.read_text() for path in TARGET.glob("*_pb2*")}
    if fresh == present:
        return
    if arguments == ["--check"]:
        names = {name for name in fresh | present if fresh.get(name) != present.get(name)}
        sys.exit(f"stubs are not what protos/ gives, run `make protos`: {sorted(names)}")
    for name in present:
        (TARGET / name).unlink()
    for name, text in fresh.items():
        (TARGET / name).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
