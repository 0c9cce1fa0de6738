"""The machine-readable record of a run: metrics.jsonl and, if asked for, TensorBoard files."""

import contextlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from score_jax.errors import ConfigError, errors_of_disk
from score_jax.imaging import write_text

METRICS = "metrics.jsonl"


class Record:
    """One line a report; after a resume the lines beyond the restored step go.

    Args:
      run: the run folder.
      keep_until: step of the restored checkpoint, 0 for a new run.
      tensorboard: also write event files to ``run/tensorboard``.
      silent: write nothing (all processes of a run but one).

    Raises:
      ConfigError: `tensorboard` without the package that writes its files.
    """

    def __init__(
        self, run: Path, keep_until: int, *, tensorboard: bool = False, silent: bool = False
    ) -> None:
        self._path = run / METRICS
        self._silent = silent
        self._board: Any = None
        if silent:
            return
        kept = []
        if self._path.is_file() and keep_until:
            for line in self._path.read_text().splitlines():
                # a line cut short by a kill is not JSON; it is beyond the checkpoint anyway
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    if json.loads(line)["step"] <= keep_until:
                        kept.append(f"{line}\n")
        write_text(self._path, "".join(kept))
        if tensorboard:
            self._board = _board(run / "tensorboard", keep_until)

    def add(self, record: Mapping[str, Any]) -> None:
        """Append `record`, which has a "step"; NaN becomes null."""
        if self._silent:
            return
        plain = {key: _plain(value) for key, value in record.items()}
        with errors_of_disk(self._path), self._path.open("a") as file:
            file.write(json.dumps(plain) + "\n")
        if self._board is not None:
            for key, value in plain.items():
                if key != "step" and isinstance(value, int | float):
                    self._board.add_scalar(key, value, plain["step"])

    def close(self) -> None:
        """Flush what is open."""
        if self._board is not None:
            self._board.close()


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _board(folder: Path, step: int) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise ConfigError(
            "TensorBoard files need the package tensorboardX",
            hint="pip install 'score-jax[tensorboard]'",
        ) from None
    # points beyond the restored step are hidden by TensorBoard
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)
