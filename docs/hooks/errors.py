"""Every message of a `ScoreError`, read from the source: the tables of docs/errors.md."""

import ast
import functools
import html
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("score_jax", "cli", "checkpoints")
MARK = "<!-- every message -->"
BASE = "ScoreError"
GAP = "\N{HORIZONTAL ELLIPSIS}"  # what a message fills in when it is raised


@dataclass(frozen=True)
class Raised:
    """One place that makes an error: its class, message and remedy with gaps, and where."""

    kind: str
    message: str
    hint: str
    where: str


def classes() -> dict[str, str]:
    """Each error class with the first line of its docstring, `ScoreError` first."""
    found: dict[str, str] = {}
    for _, tree in _trees(ROOT):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                if node.name == BASE or bases & {BASE, *found}:
                    found[node.name] = (ast.get_docstring(node) or "").splitlines()[0]
    return found


def raised() -> list[Raised]:
    """Every call of an error class, in the order of the files."""
    kinds = classes()
    found = []
    for path, tree in _trees(ROOT):
        for function, call in _calls(tree, set(kinds)):
            arguments = {k.arg: k.value for k in call.keywords}
            message = call.args[0] if call.args else arguments.get("message")
            if message is None:
                continue
            found.append(
                Raised(
                    call.func.id,  # type: ignore[attr-defined]
                    _text(message, function),
                    _text(arguments["hint"], function) if "hint" in arguments else "",
                    f"{path.relative_to(ROOT).as_posix()}:{call.lineno}",
                )
            )
    return found


def tables() -> str:
    """One table a class, as HTML: message, remedy, place; equal messages stand once."""
    found = raised()
    parts = []
    for kind, meaning in classes().items():
        rows: dict[tuple[str, str], str] = {}
        for one in found:
            if one.kind == kind and one.message.strip(GAP + " "):
                rows.setdefault((one.message, one.hint), one.where)
        parts.append(f"### {kind}\n\n{meaning}\n")
        if rows:
            head = "<tr><th>message</th><th>what mends it</th><th>source</th></tr>"
            body = "\n".join(_row(*key, where) for key, where in sorted(rows.items()))
            parts.append(f'<table class="messages">\n{head}\n{body}\n</table>\n')
    return "\n".join(parts)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Write the tables where the page asks for them."""
    return markdown.replace(MARK, tables()) if MARK in markdown else markdown


@functools.cache
def _trees(root: Path) -> list[tuple[Path, ast.Module]]:
    # errors.py first: the classes of other files derive from those in it
    first = root / "score_jax" / "errors.py"
    others = (path for name in SOURCES for path in sorted((root / name).rglob("*.py")))
    paths = [first, *(path for path in others if path != first)]
    return [(path, ast.parse(path.read_text())) for path in paths]


def _calls(tree: ast.Module, kinds: set[str]) -> Iterator[tuple[ast.AST, ast.Call]]:
    """Each call with the innermost function around it."""
    waiting: list[tuple[ast.AST, ast.AST]] = [(tree, tree)]
    while waiting:
        function, node = waiting.pop()
        if isinstance(node, ast.FunctionDef):
            function = node
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds:
            yield function, node
        waiting.extend((function, child) for child in ast.iter_child_nodes(node))


def _text(node: ast.expr, function: ast.AST) -> str:
    """What the source says of a string: its constant parts, with gaps for the others."""
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return "".join(_text(value, function) for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left, function) + _text(right, function)
        case ast.IfExp(body=body, orelse=other):
            return " / ".join(filter(None, (_text(body, function), _text(other, function))))
        case ast.Name(id=name):
            for found in ast.walk(function):
                match found:
                    case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                        if isinstance(value, ast.Constant | ast.JoinedStr | ast.BinOp):
                            return _text(value, ast.Pass())
    return GAP


def _row(message: str, hint: str, where: str) -> str:
    cells = (html.escape(message), html.escape(hint), f"<code>{html.escape(where)}</code>")
    return "<tr>" + "".join(f"<td>{' '.join(cell.split())}</td>" for cell in cells) + "</tr>"
