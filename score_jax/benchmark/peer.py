"""nnU-Net's own network in PyTorch, in a process of its own: what the U-Nets are compared with.

The other interpreter needs torch and dynamic-network-architectures (the extra ``peers``, or an
environment of its own). It runs `torch_unet.py`; requests and answers are JSON, one a line.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, final

from score_jax.benchmark.suites import Case
from score_jax.errors import ConfigError


@final
class Peer:
    """A running PyTorch process that times one call when asked to.

    Args:
      python: its interpreter; this one by default.
      compiled: by ``torch.compile`` on a CPU too (it needs a C++ compiler there).

    Raises:
      ConfigError: that interpreter has no torch, or not nnU-Net's networks.
    """

    def __init__(self, python: str | None = None, *, compiled: bool = False) -> None:
        self.python, self.compiled = python or sys.executable, compiled
        script = Path(__file__).with_name("torch_unet.py")
        try:
            self._process = subprocess.Popen(
                [self.python, str(script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                # both libraries share an accelerator's memory
                env={**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
            )
        except OSError as error:
            raise ConfigError(f"--peer-python: {self.python}: {error.strerror}") from None
        self.versions = {**self._ask({}), "compiled_on_cpu": compiled}

    @staticmethod
    def knows(case: object) -> bool:
        """Whether there is a network of theirs for `case`."""
        return (
            isinstance(case, Case)
            and case.kind == "unet"
            and case.members == 1
            and case.devices == 1
        )

    def prepare(self, case: Case) -> None:
        """Build the network of `case`, compile it on an accelerator, and run it once."""
        options = {key: value for key, value in case.options.items() if key != "deep_supervision"}
        self._ask(
            {
                "options": options,
                "shape": [case.batch, case.channels, *case.space],
                "classes": case.classes,
                "precision": case.precision,
                "training": case.training,
                "compile": self.compiled,
            }
        )

    def seconds(self) -> tuple[float, float]:
        """Of one call: on the clock, and of its processors."""
        answer = self._ask({"go": True})
        return float(answer["seconds"]), float(answer["processor_seconds"])

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # the answer that does not come says it
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise ConfigError(
                f"--peers: {self.python} ended with {self._process.returncode}; expected torch and "
                "dynamic-network-architectures there",
                hint="pip install score-jax[peers], or name an interpreter with --peer-python",
            )
        return json.loads(line)
