"""The client's examples, run against a real server: they tell the stories they promise."""

import re
import subprocess
import sys

import pytest
from harness.documents import ROOT
from harness.processes import ServerProcess
from harness.tokens import service_token

EXAMPLES = ROOT / "clients/python/examples"
NAME = re.compile(r"\b(\w+)-[0-9a-f]{8}\b")
STORIES = {
    "story.py": """\
anna has 0.00 RUB
boris has 0.00 RUB
anna sent 100.00, keeps 0.00
boris has 101.00
refused, boris is 1 kopeck short: INSUFFICIENT_FUNDS
history of boris:
  #1     1.00 → 1.00
  #2   100.00 → 101.00
""",
    "shop.py": """\
ivan ordered: 300.00 held, 200.00 left
shop took 250.00 of 300.00
ivan has 275.00
refused: wage 2 has INSUFFICIENT_FUNDS
olga got 225.00
the shop saw:
  #1 CAPTURE    180.00
  #2 CAPTURE     70.00
  #3 REVERSAL   -25.00
  #4 TRANSFER  -225.00
""",
}


def test_every_example_is_told() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(STORIES)


@pytest.mark.parametrize("name", STORIES)
def test_a_story_is_told_as_often_as_one_likes(server_process: ServerProcess, name: str) -> None:
    command = [sys.executable, "-X", "utf8", EXAMPLES / name]
    for _ in range(2):
        outcome = subprocess.run(
            [*command, server_process.target, service_token()],
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

        assert outcome.stderr == ""
        assert NAME.sub(r"\1", outcome.stdout) == STORIES[name]
