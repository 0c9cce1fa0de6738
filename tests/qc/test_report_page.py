"""The report in a browser: from a file, with the keyboard, with a thousand scans."""

import math
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from score_jax.errors import DatasetError
from score_jax.imaging import Volume, read_table
from score_jax.qc.report_flags import Flag
from score_jax.qc.report_page import Entry, write_report
from score_jax.qc.report_pictures import montage, write_montage
from score_jax.qc.report_ratings import Rating, join_ratings, read_ratings

from .browser import Page

MANY = 1000


def write_scans(folder):
    """A picture that several entries share: only what the page does with it is tried."""
    rng = np.random.default_rng(0)
    x, y, _ = np.meshgrid(*map(np.arange, (30, 34, 21)), indexing="ij")
    cord = np.hypot(x - 14, y - 17) < 5
    image = (rng.normal(size=cord.shape) + 5 * cord).astype(np.float32)
    seen = montage(Volume(image, np.diag([1.0, 1, 3, 1])), {"cord": cord, "lesion": cord & (x < 0)})
    write_montage(seen, folder / "pictures/one.webp", folder / "pictures/one.png")
    return seen


def entry(number, seen, **more):
    lesion = {"lesion": 1, "volume mm³": 12.5, "damage": math.nan}
    return Entry(
        id=f"sub-{number:04d}_T2w",
        seconds=1.5,
        regions=("cord", "lesion"),
        volumes={"cord": 1000.0, "lesion": 12.5},
        areas={"cord": [math.nan, *np.linspace(60, 80, 20)], "lesion": [math.nan] * 21},
        lesions=[lesion] if number % 2 else [],
        image="pictures/one.webp",
        contours="pictures/one.png",
        slices=seen.slices,
        **more,
    )


@pytest.fixture(scope="module")
def page_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qc page")  # a blank in the path
    seen = write_scans(folder)
    entries = [entry(n, seen) for n in range(MANY - 2)]
    entries.append(entry(5000, seen, flags=[Flag("border", "cord reaches the left border")]))
    # a name and a text that would end the script or the page's markup
    bad = [Flag("failed", "</script><img src=x onerror=alert(1)> & so on")]
    entries.append(Entry(id="sub-9999_T2w", flags=bad))
    said = {"sub-0003_T2w": Rating("artefact", "moved", "ab", "2026-01-01T00:00:00Z")}
    write_report(folder / "report.html", entries, title="A <study> & more", ratings=said)
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    page = Page(tmp_path_factory.mktemp("browser"))
    yield page
    page.close()


def shown(page):
    return page.run("document.getElementById('name').textContent").split(" ")[0]


@pytest.mark.slow
def test_in_a_browser(browser, page_of, tmp_path):
    page = browser
    page.open(page_of.as_uri())
    # flagged scans first, the failed one before the one at the border
    names = page.run("[...document.querySelectorAll('#list li')].slice(0, 3).map(i=>i.textContent)")
    assert names == ["sub-9999_T2wfailed", "sub-5000_T2wborder", "sub-0000_T2w"]
    assert shown(page) == "sub-9999_T2w"
    assert "</script><img" in page.run("document.getElementById('flags').textContent")
    assert page.run("document.querySelectorAll('#flags img').length") == 0
    assert page.run("document.title") == "A <study> & more"
    assert "1000 scans, 2 flagged, 1 rated" in page.run(
        "document.getElementById('counts').textContent"
    )
    # fluid: only this scan's pictures and the next one's were asked for
    assert len([u for u in page.requested() if u.endswith((".webp", ".png"))]) <= 4
    page.press("j", "ArrowRight")
    assert shown(page) == "sub-0000_T2w"
    loaded = "(async () => { const i = document.getElementById('image'); await i.decode(); return i.naturalWidth })()"  # noqa: E501
    assert page.run(loaded) == 720
    assert page.run("document.querySelector('#profile path').getAttribute('d')").startswith("M")
    page.press("1")
    assert "2 rated" in page.run("document.getElementById('counts').textContent")
    page.press("k", "2", "c", "1", "j")  # what is typed into a comment is no command
    page.call("Input.insertText", text=" lost\tat C2")
    page.press("Escape", "o")
    assert page.run("document.getElementById('contours').className") == "hidden"
    page.press("o", "u")
    assert shown(page) == "sub-0001_T2w"
    assert "12.5" in page.run("document.getElementById('tables').textContent")
    assert "n/a" in page.run("document.getElementById('tables').textContent")
    page.press("p", "n", "3", "0")
    # the filter and the search
    page.run("(() => { const f = document.getElementById('filter'); f.value = 'artefact';"
             "f.dispatchEvent(new Event('change')) })()")  # fmt: skip
    assert shown(page) == "sub-0003_T2w"
    assert page.run("document.getElementById('comment').value") == "moved"
    page.run("(() => { const f = document.getElementById('filter'); f.value = 'all';"
             "f.dispatchEvent(new Event('change')) })()")  # fmt: skip
    # what is exported can be read by the program
    table = page.run("asTable()")
    (tmp_path / "ratings.tsv").write_text(table)
    found = read_ratings(tmp_path / "ratings.tsv")
    assert {k: r.rating for k, r in found.items()} == {
        "sub-5000_T2w": "fail", "sub-0000_T2w": "pass", "sub-0003_T2w": "artefact",
    }  # fmt: skip
    assert found["sub-5000_T2w"].comment == "1j lost at C2"
    assert found["sub-5000_T2w"].time
    name = page.run(
        "(() => { let name; const real = HTMLAnchorElement.prototype.click;"
        "HTMLAnchorElement.prototype.click = function () { name = this.download };"
        "document.getElementById('export').click();"
        "HTMLAnchorElement.prototype.click = real; return name })()"
    )
    assert name == "ratings.tsv"
    # ratings outlive the page, and come in again from the table of another reader
    page.open(page_of.as_uri())
    assert "3 rated" in page.run("document.getElementById('counts').textContent")
    other = (
        "scan\trating\tcomment\trater\ttime\n"
        "sub-0000_T2w\tfail\tn/a\tcd\t2099-01-01T00:00:00Z\n"
        "sub-0003_T2w\tpass\tn/a\tcd\t2025-01-01T00:00:00Z\n"  # older: ours stays
        "sub-0004_T2w\tgood\tn/a\tcd\t2099-01-01T00:00:00Z\n"
        "sub-none\tpass\tn/a\tcd\t2099-01-01T00:00:00Z\n"
    )
    page.run("(async () => { const box = new DataTransfer();"
             f"box.items.add(new File([{other!r}], 'r.tsv'));"
             "const f = document.getElementById('file'); f.files = box.files;"
             "f.dispatchEvent(new Event('change')); await new Promise(r => setTimeout(r, 200)) })()")  # fmt: skip # noqa: E501
    message = page.run("document.getElementById('message').textContent")
    assert message == (
        "2 ratings read, 1 of scans that are not here, 1 that are neither pass, fail nor artefact."
    )
    assert page.run("ratings['sub-0000_T2w'].rating") == "fail"
    assert page.run("ratings['sub-0003_T2w'].rating") == "artefact"
    page.run("imported('a\\tb\\n')")
    assert "expected scan" in page.run("document.getElementById('message').textContent")
    # nothing but files beside the page was asked for, and no script broke
    assert all(url.startswith(("file:///", "about:")) for url in page.requested())
    # first paint on this machine, loaded as it is; the aim is 2 s on an idle one
    paint = page.run("performance.getEntriesByType('paint').map(e => e.startTime)")
    assert paint
    assert max(paint) < 10_000
    page.press("Home")  # a key without a meaning
    assert page.run("document.activeElement.tagName") == "BODY"


def test_the_page_is_small_and_closed(page_of):
    text = page_of.read_text()
    assert len(text) < 1.5e6  # of a thousand scans; pictures are beside it
    assert not re.search(r"(src|href)=\"?https?:", text)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "https" not in policy


def test_many_scans_go_on_in_further_pages(tmp_path):
    entries = [Entry(id=f"s{n}") for n in range(4)] + [Entry(id="s9", flags=[Flag("jump", "")])]
    path = tmp_path / "report.html"
    pages = write_report(path, entries, title="t", most=2)
    assert [page.name for page in pages] == ["report.html", "report-2.html", "report-3.html"]
    texts = [page.read_text() for page in pages]
    assert '"id":"s9"' in texts[0]  # flagged scans are on the first one
    assert [text.count('"id":') for text in texts] == [2, 2, 1]
    assert '<a href="report.html">1</a><b>2</b><a href="report-3.html">3</a>' in texts[1]
    (tmp_path / "report-old.html").write_text("another's")
    assert write_report(path, entries[:2], title="t", most=2) == [path]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report-old.html", "report.html"]
    assert "<a " not in path.read_text()


def test_the_later_of_two_ratings_counts(tmp_path):
    for name, rows in {
        "a": "s1\tpass\t2026-02-01\ns2\tfail\t2026-01-01\n",
        "b": "s1\tfail\t2026-01-01\ns2\tartefact\t2026-03-01\ns3\tpass\tn/a\n",
    }.items():
        (tmp_path / name).with_suffix(".tsv").write_text("scan\trating\ttime\n" + rows)
    found = join_ratings(sorted(tmp_path.glob("*.tsv")))
    assert {k: r.rating for k, r in found.items()} == {"s1": "pass", "s2": "artefact", "s3": "pass"}
    assert join_ratings([]) == {}


def test_no_scan_is_a_page_too(tmp_path):
    write_report(tmp_path / "report.html", [], title="nothing")
    assert '"scans":[]' in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scan\tcomment\na\tb\n", "expected scan, rating"),
        ("scan\trating\na\tgood\n", "'good' of a"),
        ("scan\trating\na\tpass\na\tfail\n", "a twice"),
    ],
)
def test_a_table_that_is_none_of_ratings(tmp_path, text, words):
    path = tmp_path / "r.tsv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=words):
        read_ratings(path)


def test_a_comment_alone_is_a_rating_to_come(tmp_path):
    path = tmp_path / "r.tsv"
    path.write_text("scan\trating\tcomment\na\tn/a\tlook again\n")
    assert read_ratings(path) == {"a": Rating("", "look again")}
    assert len(read_table(path)) == 1


def test_its_files_travel_with_the_package():
    root = Path(__file__).parents[2]
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    for path in (root / "score_jax/qc").glob("report.*"):
        assert any(path.match(glob) for glob in listed["package-data"]["score_jax.qc"])
