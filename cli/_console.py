"""What every command shares: messages on standard error, results on standard output."""

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

# Standard output belongs to results (--json prints one object there and nothing else).
console = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Write one line for the person at the terminal (standard error)."""
    console.print(text, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Write `value` as one JSON object on standard output; NaN and infinities become null."""
    json.dump(_finite(value), sys.stdout, indent=1, allow_nan=False, default=_plain)
    sys.stdout.write("\n")


def print_table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a small result table on standard output, columns aligned by rich."""
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    # off a terminal nothing is cut to 80 columns: names of cases must stay whole
    width = None if sys.stdout.isatty() else 10_000
    Console(highlight=False, width=width).print(table)


def progress_bar() -> Progress:
    """A progress bar with counts and times; plain and silent off a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
    )


@contextlib.contextmanager
def counting(description: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar to be told what is done and the total; off a terminal, a line each tenth."""
    with progress_bar() as bar:
        task = bar.add_task(description, total=None, note="")

        def count(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            if not console.is_terminal and (done == total or done % max(1, total // 10) == 0):
                say(f"{description}: {done}/{total}")

        yield count


def track(items: Iterable[Any], description: str, total: int) -> Iterator[Any]:
    """Yield from `items` under a progress bar (`counting`)."""
    with counting(description) as count:
        for number, item in enumerate(items, 1):
            yield item
            count(number, total)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "n/a" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    return str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
