"""The site: every error class and page is there, quotations are true, commands exist."""

import ast
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from score_jax import cli, errors

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def script(path):
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def messages():
    return script(DOCS / "hooks/errors.py")


def test_every_class_of_error_has_its_place(messages):
    wanted = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.ScoreError)
    }
    assert wanted <= set(messages.classes())  # and those of other modules
    page = messages.on_page_markdown((DOCS / "errors.md").read_text())
    for name in messages.classes():
        assert f"\n### {name}\n" in page, name


def test_messages_by_hand(messages, tmp_path, monkeypatch):
    source = '''
from score_jax.errors import ConfigError

class TornError(ConfigError):
    """A page that is torn."""

def read(path, pages):
    text = f"{path}: got {len(pages)} pages"
    if not pages:
        raise TornError(text, hint="glue" + " it")
    raise ConfigError(f"{path}: <b> " "and more", hint=f"use {path}" if path else "")
'''
    (tmp_path / "score_jax").mkdir()
    (tmp_path / "score_jax/errors.py").write_text(Path(errors.__file__).read_text())
    (tmp_path / "score_jax/torn.py").write_text(source)
    monkeypatch.setattr(messages, "ROOT", tmp_path)
    assert messages.classes()["TornError"] == "A page that is torn."
    found = {one.kind: one for one in messages.raised() if one.where.startswith("score_jax/torn")}
    assert found["TornError"].message == "…: got … pages"
    assert found["TornError"].hint == "glue it"
    assert found["ConfigError"].message == "…: <b> and more"
    assert found["ConfigError"].hint == "use …"
    assert found["ConfigError"].where == "score_jax/torn.py:11"
    assert "<td>…: &lt;b&gt; and more</td>" in messages.tables()


def test_remedies_are_for_messages_that_exist(messages):
    page = (DOCS / "errors.md").read_text()
    quoted = re.findall(r"^### `(.+)`$", page, re.MULTILINE)
    assert len(quoted) >= 8
    found = [one.message for one in messages.raised()]
    for quotation in quoted:
        pattern = ".*".join(re.escape(part) for part in quotation.split("…"))
        assert any(re.fullmatch(pattern, message) for message in found), quotation


def lines_of_shell():
    """Every `score-jax ...` of the pages and cards that is a command, not a synopsis."""
    for page in [*PAGES, ROOT / "README.md", *ROOT.glob("checkpoints/*/README.md")]:
        for block in re.findall(r"^```(?:sh|console)?\n(.*?)^```$", page.read_text(), re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|\|\||;| \| ", line.partition(" #")[0]):
                    words = part.strip().removeprefix("$ ")
                    if words.startswith("score-jax ") and "[" not in words.replace("=[", ""):
                        yield page, words


def chosen(words):
    """The command that the first words name, and the rest of them."""
    command, rest = typer.main.get_command(cli.app), shlex.split(words)[1:]
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"no command {rest[0]!r}"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def test_commands_of_the_pages_exist():
    seen = 0
    for page, words in lines_of_shell():
        command, rest = chosen(words)
        known = {"--help"} | {
            name for one in command.params for name in (*one.opts, *one.secondary_opts)
        }
        for word in rest:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, f"{page.name}: {words}"
        seen += 1
    assert seen > 60


def test_an_unknown_option_would_be_seen():
    command, rest = chosen("score-jax models show gm --jsn")
    assert rest == ["gm", "--jsn"]
    assert "--jsn" not in {name for one in command.params for name in one.opts}
    with pytest.raises(AssertionError, match="no command 'segment'"):
        chosen("score-jax segment scan.nii.gz")


def test_lines_beside_equations(tmp_path, monkeypatch):
    from mkdocs.exceptions import PluginError

    hook = script(DOCS / "hooks/equations.py")
    source = 'class A:\n    def f(self):\n        """Doc."""\n        x = 1\n        return x\n'
    (tmp_path / "a.py").write_text(source)
    monkeypatch.setattr(hook, "ROOT", tmp_path)
    head = '```python title="a.py: A.f" linenums='
    assert hook.fence("a.py", "A.f") == f'{head}"4"\nx = 1\nreturn x\n```'
    assert hook.fence("a.py", "A.f", "return") == f'{head}"5"\nreturn x\n```'
    assert hook.fence("a.py", "A.f", "x = 1", "x = 1") == f'{head}"4"\nx = 1\n```'
    for words in (("b.py", "f"), ("a.py", "g"), ("a.py", "A.f", "y =")):
        with pytest.raises(PluginError, match="lines: "):
            hook.fence(*words)


def test_pictures_show_what_the_page_says():
    pictures = script(DOCS / "scripts/pictures.py")
    from score_jax import metrics

    shifted, larger, smaller, island = pictures.overlap_cases().values()
    assert float(metrics.sensitivity(*larger)) == float(metrics.ppv(*smaller)) == 1
    assert float(metrics.relative_volume_error(*shifted)) == 0
    assert abs(float(metrics.dice(*shifted)) - float(metrics.dice(*island))) < 0.01
    radii, values = pictures.size_curve()
    assert dict(zip(radii, values.round(2), strict=True))[4.0] == 0.92
    assert dict(zip(radii, values.round(2), strict=True))[1.25] == 0.75
    missed, found, _ = pictures.lesion_cases().values()
    assert float(metrics.dice(*missed)) > float(metrics.dice(*found))
    for name in ("overlap", "distances", "lesions", "size"):
        assert (DOCS / "images" / pictures.PICTURES[name][0]).is_file()


@pytest.mark.slow
def test_the_site_asks_nothing_of_others(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT, capture_output=True, text=True, check=False, env={"PATH": "", "HOME": "/"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    fetched = re.compile(
        r"<(?:script|img|iframe|source|link)\b[^>]*?(?:src|href)=\"(https?:)?//[^\"]*", re.I
    )
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(PAGES)  # cards, commands, changelog
    for page in pages:
        assert not fetched.search(page.read_text()), page.name
    for sheet in tmp_path.rglob("*.css"):
        assert not re.search(r"url\(\"?(https?:)?//|@import", sheet.read_text()), sheet.name
    equations = (tmp_path / "equations.html").read_text()
    assert equations.count("<math") > 20
    assert "$$" not in equations
    assert "models/gm" in (tmp_path / "models.html").read_text()


def blocks_of_python():
    for page in [*PAGES, ROOT / "README.md"]:
        for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S):
            yield page.name, ast.parse(block)


def named(block):
    """Every public name of ours that a block uses: `sj.load`, `from score_jax import x`, `x.y`."""
    ours = {"sj": "score_jax"}
    for node in ast.walk(block):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("score_jax"):
            ours |= {one.name: f"{node.module}.{one.name}" for one in node.names}
    yield from ours.values()
    for node in ast.walk(block):
        if not isinstance(node, ast.Attribute):
            continue
        first, _, rest = ast.unparse(node).partition(".")
        if first in ours and re.fullmatch(r"\w+(\.\w+)*", rest):
            yield f"{ours[first]}.{rest}"


def there(name):
    found = importlib.import_module("score_jax")
    for place, word in enumerate(name.split(".")[1:], 2):
        if not hasattr(found, word):
            importlib.import_module(".".join(name.split(".")[:place]))  # raises what is missing
        found = getattr(found, word)
    return found


def test_names_of_the_pages_exist():
    names = {(page, name) for page, block in blocks_of_python() for name in named(block)}
    assert len(names) >= 12
    for page, name in sorted(names):
        assert there(name) is not None, page
    with pytest.raises(ModuleNotFoundError, match="segment"):
        there("score_jax.segment")


def test_letters_of_orientation():
    """The table of docs/orientation.md by nibabel, and its example as it stands."""
    (block,) = (b for page, b in blocks_of_python() if page == "orientation.md")
    exec(compile(block, "orientation.md", "exec"), {})
    sides = {"left": "L", "right": "R", "front": "A", "back": "P", "head": "S", "feet": "I"}
    rows = re.findall(r"^\| from .*\|$", (DOCS / "orientation.md").read_text(), re.M)
    assert len(rows) == 3
    for row in rows:
        *axes, ours, theirs = (cell.strip(" *") for cell in row.strip("|").split("|"))
        words = [re.fullmatch(r"(?:the \w+ )?from (\w+) to (\w+)", axis).groups() for axis in axes]
        assert ours.split(",")[0] == "".join(sides[end] for _, end in words)
        assert theirs == "".join(sides[start] for start, _ in words)
