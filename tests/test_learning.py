"""Small networks learn on simulated patients: red if any part of the training is disconnected."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "learning.py"


@pytest.mark.slow
def test_cords_and_grey_matter_are_learned():
    # code as users get it: the other tests compile quickly and run slowly
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, env=environment
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line["name"] for line in lines] == ["unet", "mdgru"]
