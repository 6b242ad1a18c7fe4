"""The client's example, run against a real server: it tells the story it promises."""

import re
import subprocess
import sys

from harness.documents import ROOT
from harness.processes import ServerProcess
from harness.tokens import service_token

STORY = """\
anna has 0.00 RUB
boris has 0.00 RUB
anna sent 100.00, keeps 0.00
boris has 101.00
refused: account boris/RUB: 10100 available, 10101 required (short of 1 kopecks)
history of boris:
  #1     1.00 → 1.00
  #2   100.00 → 101.00
"""


def test_the_story_is_told_as_often_as_one_likes(server_process: ServerProcess) -> None:
    command = [sys.executable, "-X", "utf8", ROOT / "clients/python/examples/story.py"]
    for _ in range(2):
        outcome = subprocess.run(
            [*command, server_process.target, service_token()],
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

        assert outcome.stderr == ""
        assert re.sub(r"\b(anna|boris)-[0-9a-f]{8}\b", r"\1", outcome.stdout) == STORY
