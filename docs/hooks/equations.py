"""Equations as MathML, and the lines of the source that compute them.

A page with `math: true` in its head writes equations between dollars (two for a line of its own);
they become MathML, which browsers draw without a script. `<!-- lines: FILE FUNCTION -->` becomes
that function's body, without its docstring and with its line numbers;
`<!-- lines: FILE FUNCTION "FIRST" "LAST" -->` only what lies between lines with these texts.
"""

import ast
import re
import shlex
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).resolve().parents[2]
_LINES = re.compile(r"<!-- lines: (.+?) -->")
_BLOCK = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
_INLINE = re.compile(r"(?<![\\$])\$([^$\n]+?)\$")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put equations and lines in their places."""
    if page.meta.get("math"):
        markdown = _BLOCK.sub(lambda m: convert(m[1].strip(), display="block"), markdown)
        markdown = _INLINE.sub(lambda m: convert(m[1]), markdown)
    return _LINES.sub(lambda m: fence(*shlex.split(m[1])), markdown)


def fence(file: str, name: str, first: str = "", last: str = "") -> str:
    """The lines of a function as a fenced block with line numbers.

    Raises:
      PluginError: no such file, function or text: the page is older than the source.
    """
    path = ROOT / file
    if not path.is_file():
        raise PluginError(f"lines: {file}: no such file")
    text = path.read_text()
    begin, end = _body(text, name, file)
    lines = text.splitlines()
    for wanted, at in ((first, "first"), (last, "last")):
        if not wanted:
            continue
        hits = [n for n in range(begin, end + 1) if wanted in lines[n - 1]]
        if not hits:
            raise PluginError(f"lines: {file}: {name} has no line with {wanted!r}")
        begin, end = (hits[0], end) if at == "first" else (begin, hits[0])
    body = lines[begin - 1 : end]
    margin = min(len(line) - len(line.lstrip()) for line in body if line.strip())
    code = "\n".join(line[margin:] for line in body)
    return f'```python title="{file}: {name}" linenums="{begin}"\n{code}\n```'


def _body(text: str, name: str, file: str) -> tuple[int, int]:
    """First and last line of what a function does; `Class.method` names a method."""
    node: ast.AST = ast.parse(text)
    for word in name.split("."):
        inner = [
            child
            for child in ast.walk(node)
            if isinstance(child, ast.FunctionDef | ast.ClassDef) and child.name == word
        ]
        if not inner:
            raise PluginError(f"lines: {file}: no function {name}")
        node = inner[0]
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
    end = body[-1].end_lineno
    assert end is not None
    return body[0].lineno, end
