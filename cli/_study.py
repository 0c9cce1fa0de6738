"""What the commands of `score-jax study` share: two options, and how far a study is."""

from pathlib import Path
from typing import Annotated

import typer

from score_jax.cli import _console

OutOption = Annotated[Path, typer.Option(help="Folder of the study; the same one goes on.")]
ScaleOption = Annotated[
    str, typer.Option(help="smoke (minutes), small (about an hour on 2 cores) or full (a GPU).")
]


class Progress:
    """Stages as lines; what is counted as bars, or off a terminal as a line each tenth."""

    def __init__(self) -> None:
        self._bar = _console.progress_bar()
        self._tasks: dict[str, int] = {}

    def __enter__(self) -> "Progress":
        self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.__exit__(*error)  # pyright: ignore[reportArgumentType]

    def stage(self, name: str, what: str) -> None:
        """A stage was kept, started, resumed or done."""
        for task in self._tasks.values():
            self._bar.remove_task(task)  # pyright: ignore[reportArgumentType]
        self._tasks = {}
        _console.say(f"{name}: {what}")

    def count(self, what: str, done: int, total: int) -> None:
        """`done` of `total` of something."""
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total, note="")
        self._bar.update(self._tasks[what], completed=done)  # pyright: ignore[reportArgumentType]
        if not _console.console.is_terminal and (done == total or done % max(1, total // 10) == 0):
            _console.say(f"{what}: {done}/{total}")
