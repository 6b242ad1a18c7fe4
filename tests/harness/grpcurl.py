"""Run grpcurl lines: by grpcurl where it is installed, else the same call by buf curl."""

import base64
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.rpc.error_details_pb2 import ErrorInfo

_TIMEOUT_S = 30
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_FAILURE = re.compile(r"Code: (\w+)\s+Message: (.*?)\s+Details:\s+1\)(.*)", re.DOTALL)


def run_line(line: str, *, target: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """
    Run a grpcurl line against another address than the one it names.

    Args:
        line: As `wallet serve` prints it and the README shows it.

        target: The server to call.

        variables: Values of the shell variables in the line.

    Returns:
        The reply, or `code`, `message`, `reason` and `metadata` of the failure.
    """
    grpcurl, *arguments, _address, method = shlex.split(line)
    assert grpcurl == "grpcurl"
    for name, value in variables.items():
        arguments = [argument.replace(f"${name}", value) for argument in arguments]
    if shutil.which("grpcurl"):
        return parse(_output("grpcurl", *arguments, target, method))
    arguments.remove("-plaintext")
    buf = Path(sys.executable).with_name("buf")
    return _parse_buf(
        _output(
            buf,
            "curl",
            "--protocol=grpc",
            "--http2-prior-knowledge",
            *arguments,
            f"http://{target}/{method}",
        )
    )


def parse(output: str) -> dict[str, Any]:
    """Read what grpcurl prints."""
    failure = _FAILURE.search(output)
    if failure is None:
        reply: dict[str, Any] = _named_as_in_protos(json.loads(output))
        return reply
    code, message, detail = failure.groups()
    info = json.loads(detail)
    return _failure(code, message, info)


def _parse_buf(output: str) -> dict[str, Any]:
    reply: dict[str, Any] = _named_as_in_protos(json.loads(output))
    if "code" not in reply:
        return reply
    encoded = reply["details"][0]["value"]
    info = ErrorInfo.FromString(base64.b64decode(encoded + "=" * (-len(encoded) % 4)))
    return _failure(reply["code"], reply["message"], MessageToDict(info))


def _failure(code: str, message: str, info: dict[str, Any]) -> dict[str, Any]:
    return {
        "code": _CAPITAL.sub("_", code).upper(),
        "message": message,
        "reason": info["reason"],
        "metadata": info["metadata"],
    }


def _named_as_in_protos(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            _CAPITAL.sub("_", name).lower(): _named_as_in_protos(each)
            for name, each in value.items()
        }
    return value


def _output(*command: str | Path) -> str:
    """Return what a command prints, to either stream, whether it succeeds or fails."""
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    ).stdout
