"""Small networks learn on simulated patients: red if a part of the training is disconnected.

That each part reaches the step at all is tested where it lies (tests/training, augment, data); what
each is worth here is in docs/training.md.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "learning.py"


@pytest.mark.slow
def test_cords_lesions_and_grey_matter_are_learned():
    # code as users get it: the other tests compile quickly and run slowly
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, env=environment
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line["model"] for line in lines] == ["unet", "mdgru"]
