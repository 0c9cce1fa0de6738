"""The report: one page that needs nothing else, and the same as TSV, PNG and SVG."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Canvas

from score_jax.imaging import read_table
from score_jax.study.report import Choice, Report, file_name, write_report
from score_jax.study.results import Figure, Table


def canvas():
    found = Canvas(figsize=(2, 1))
    found.subplots().plot([0, 1], [0, 2])
    return found


@pytest.fixture
def report():
    columns = pd.MultiIndex.from_tuples(
        [("compartment", ""), ("HC", "RSD"), ("HC", "n"), ("MS", "RSD")]
    )
    numbers = pd.DataFrame(
        [["GM <b>", 3.504321, 288, np.nan], ["WM", 1.5, 12, 2.0]], columns=columns
    )
    long = pd.DataFrame({"text": ["word " * 30]})
    return Report(
        title="SCORE & more",
        lead=["One.", "Two < three."],
        problems=pd.DataFrame({"what": ["a missing covariate: age"], "where": ["sub-1"]}),
        tables=[
            Table("Table 4", "Reproducibility", numbers, ("lambda .5", "P < .05")),
            Table("Table 5", "Long text", long),
            Table("Table 6", "Nothing", pd.DataFrame(columns=["a", "b"])),
        ],
        figures=[Figure("Figure 2", "Areas", canvas(), ("seen from the feet",))],
        choices=[Choice("inter", "1-3", "the paper says third")],
        made_by={"seed": "7", "command": "score-jax study score"},
    )


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def page(report, tmp_path):
    path = write_report(tmp_path, report)
    assert path == tmp_path / "report.html"
    return Page(path.read_text()), path.read_text()


def test_it_asks_for_nothing_beyond_itself(page):
    parsed, text = page
    for tag, attributes in parsed.tags:
        assert tag not in ("script", "link", "iframe", "object", "base")
        for key in ("src", "href", "srcset", "action"):
            assert attributes.get(key, "#").startswith(("#", "data:image/png;base64,"))
    assert "url(" not in text
    assert "@import" not in text
    assert not re.search(r"https?:", text)
    policies = [a["content"] for t, a in parsed.tags if a.get("http-equiv")]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert "@media print" in text


def test_every_part_is_on_the_page(page, report):
    parsed, _ = page
    text = " ".join(" ".join(parsed.text).split())
    wanted = [
        "SCORE & more", "Two < three.", "1 problems", "a missing covariate: age",
        "Table 4 . Reproducibility", "GM <b>", "3.504", "lambda .5", "P < .05", "n.a.", "288",
        "word " * 29 + "word", "No rows.", "Figure 2 . Areas", "seen from the feet", "inter", "1-3",
        "the paper says third", "seed", "score-jax study score",
    ]  # fmt: skip
    for words in wanted:
        assert words.replace(" .", ".") in text.replace(" .", "."), words
    links = {a["href"] for t, a in parsed.tags if t == "a"}
    targets = {f"#{a['id']}" for _, a in parsed.tags if "id" in a}
    assert links
    assert links <= targets


def test_the_picture_is_the_file(page, tmp_path):
    parsed, _ = page
    source = next(a["src"] for t, a in parsed.tags if t == "img")
    png = base64.b64decode(source.partition(",")[2])
    assert png == (tmp_path / "figures" / "figure-2.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "figures" / "figure-2.svg").read_text()


def test_tables_as_tsv(page, tmp_path):
    rows = read_table(tmp_path / "tables" / "table-4.tsv")
    assert rows[0] == {
        "compartment": "GM <b>",
        "HC, RSD": "3.504321",
        "HC, n": "288",
        "MS, RSD": None,
    }
    assert rows[1]["MS, RSD"] == "2.0"
    notes = (tmp_path / "tables" / "table-4.txt").read_text()
    assert notes == "Table 4. Reproducibility\nlambda .5\nP < .05\n"
    assert (tmp_path / "tables" / "table-6.tsv").read_text() == "a\tb\n"


def test_the_same_report_gives_the_same_bytes(report, tmp_path):
    contents = []
    for name in ("one", "two"):
        write_report(tmp_path / name, report)
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        contents.append([path.read_bytes() for path in files])
    assert contents[0] == contents[1]


def test_nothing_wrong_is_said(report, tmp_path):
    fine = Report("T", [], pd.DataFrame(), [], [])
    assert "Nothing was wrong with the input." in write_report(tmp_path, fine).read_text()


def test_two_of_one_name(report, tmp_path):
    twice = Report("T", [], pd.DataFrame(), [report.tables[0]] * 2, [])
    with pytest.raises(ValueError, match="expected each once"):
        write_report(tmp_path, twice)
    assert not list(tmp_path.iterdir())


def test_names_of_files():
    assert file_name("Table 4") == "table-4"
    assert file_name("Figure 3B (HC)") == "figure-3b-hc"
