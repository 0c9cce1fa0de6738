"""Pages that are made of other files: a card for each shipped model, and the changelog."""

import tomllib
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = ROOT / "checkpoints"
MARK = "<!-- shipped models -->"


def cards() -> list[Path]:
    """The cards in the order of the registry (the first model is the default)."""
    names = tomllib.loads((CHECKPOINTS / "registry.toml").read_text())
    return [CHECKPOINTS / name / "README.md" for name in names]


def table() -> str:
    """The registry as a Markdown table, one model a row."""
    models = tomllib.loads((CHECKPOINTS / "registry.toml").read_text())
    rows = ["| model | what it does | regions | weights, MB | licence |", "|---|---|---|---|---|"]
    for name, entry in models.items():
        sizes = (path.stat().st_size for path in (CHECKPOINTS / name / "model").rglob("*"))
        regions = ", ".join(entry["regions"])
        rows.append(
            f"| [{name}](models/{name}/README.md) | {entry['summary']} | {regions} | "
            f"{sum(sizes) / 1e6:.1f} | {entry['licence']} |"
        )
    return "\n".join(rows)


def on_config(config: Any) -> Any:
    """Put the cards below *Models* in the navigation."""
    names = [card.parent.name for card in cards()]
    entries = ["models.md", *({name: f"models/{name}/README.md"} for name in names)]
    _replace(config["nav"], "models.md", entries)
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the cards with their pictures, and the changelog."""
    for card in cards():
        name = card.parent.name
        text = card.read_text().replace("](../../docs/", "](../../")
        files.append(File.generated(config, f"models/{name}/README.md", content=text))
        for picture in sorted(card.parent.glob("*.png")):
            where = f"models/{name}/{picture.name}"
            files.append(File.generated(config, where, abs_src_path=str(picture)))
    text = (ROOT / "CHANGELOG.md").read_text()
    files.append(File.generated(config, "changelog.md", content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Write the table of models where a page asks for it."""
    return markdown.replace(MARK, table()) if MARK in markdown else markdown


def _replace(nav: list[Any], page: str, entries: list[Any]) -> None:
    for item in nav:
        if isinstance(item, dict):
            for key, value in item.items():
                if value == page:
                    item[key] = entries
                elif isinstance(value, list):
                    _replace(value, page, entries)
