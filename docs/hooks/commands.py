"""The page of commands: each with its arguments and options, from the program itself."""

from typing import Any

import typer
import typer.main
from mkdocs.structure.files import File, Files

from score_jax.cli import app

PAGE = "commands.md"


def on_files(files: Files, config: Any) -> Files:
    """Add the page."""
    files.append(File.generated(config, PAGE, content=page()))
    return files


def page() -> str:
    """All commands as Markdown, those of a group below it."""
    head = "# Commands\n\nWhat `score-jax COMMAND --help` prints, on one page.\n\n"
    return head + "\n".join(_sections(typer.main.get_command(app), "score-jax", None))


def _sections(command: Any, name: str, parent: Any) -> list[str]:
    context = typer.Context(command, parent=parent, info_name=name.rsplit(" ", 1)[-1])
    if hasattr(command, "commands"):
        found = [] if parent is None else [f"## {name}\n\n{command.help or ''}\n"]
        for word, inner in command.commands.items():
            found += _sections(inner, f"{name} {word}", context)
        return found
    usage = " ".join(command.collect_usage_pieces(context))
    rows = [p.get_help_record(context) for p in command.get_params(context)]
    table = ["| | |", "|---|---|", *(_row(*row) for row in rows if row is not None)]
    return [f"## {name}\n\n{command.help or ''}\n\n`{name} {usage}`\n\n" + "\n".join(table) + "\n"]


def _row(names: str, text: str) -> str:
    cells = (f"`{names}`".replace("|", "\\|"), text.replace("|", "\\|").replace("[", "\\["))
    return f"| {cells[0]} | {' '.join(cells[1].split())} |"
