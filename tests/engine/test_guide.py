"""The guide's commands on one host: the embedded sidecar, and stock Dapr with Kafka."""

import subprocess
import sys

import pytest

from tools.guide.pages import ROOT


@pytest.mark.timeout(600)
def test_every_command_of_the_guide_does_what_the_guide_shows() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tools.guide", "--where", "host"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
