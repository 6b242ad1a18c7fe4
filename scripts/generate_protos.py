"""
Generate the Python stubs of `protos/` into the client distribution.

protoc writes absolute imports of the proto package (`from wallet.v1 import …`); they are rewritten
to where the stubs live, while the proto file names inside the descriptors, which are global in a
process, stay `wallet/v1/*.proto`.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
TARGET = ROOT / "clients/python/wallet_client/v1"
IMPORT = re.compile(r"^((?:from|import) )wallet\.v1\b", re.MULTILINE)


def main() -> None:
    """Replace every generated file by a fresh one."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("wallet/v1/*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        outputs = [
            f"--python_out={scratch}",
            f"--grpc_python_out={scratch}",
            f"--mypy_out=quiet,readable_stubs:{scratch}",
            f"--mypy_grpc_out=quiet:{scratch}",
        ]
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}"]
        subprocess.run([*protoc, *outputs, *sources], check=True)
        for old in TARGET.glob("*_pb2*"):
            old.unlink()
        for made in sorted(Path(scratch).glob("wallet/v1/*")):
            text = made.read_text()
            if "_pb2_grpc" in made.name and "Stub" not in text:
                continue  # a file without services
            (TARGET / made.name).write_text(IMPORT.sub(r"\1wallet_client.v1", text))


if __name__ == "__main__":
    main()
