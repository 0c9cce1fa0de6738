"""The tutorials' commands, run as they stand on the page."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent.parent / "docs"


def commands(page):
    """The shell blocks of a page, in order, as one script."""
    return "\n".join(re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL))


def follow(page, folder):
    """Do what the page says, in an empty folder; what was printed."""
    found = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-eux", "-c", commands(DOCS / page)],
        cwd=folder, env=os.environ | {"PATH": found}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def column(table, name):
    head, *rows = (line.split("\t") for line in table.read_text().splitlines())
    return [float(row[head.index(name)]) for row in rows]


@pytest.mark.slow
def test_the_phantom(tmp_path):
    out = follow("tutorial_phantom.md", tmp_path)
    assert "lesion" in out
    assert len(list(tmp_path.glob("masks/**/*label-gm_mask.nii.gz"))) == 2
    assert len(list(tmp_path.glob("pictures/*.png"))) == 2
    assert min(column(tmp_path / "scores/scores.tsv", "Dice")) > 0.6
    (areas,) = tmp_path.glob("areas/*.tsv")
    assert 40 < max(column(areas, "MEAN(area)")) < 130
    assert (tmp_path / "run/progress.png").is_file()
    (lesions,) = tmp_path.glob("lesions/*_lesions.tsv")
    assert min(column(lesions, "volume [mm3]")) > 0


@pytest.mark.slow
def test_your_own_data(tmp_path):
    follow("tutorial_own_data.md", tmp_path)
    found = sorted(path.name for path in tmp_path.glob("out/**/*label-cord*mask.nii.gz"))
    assert len(found) == 2
    assert found[0].startswith("sub-basel01")
    assert (tmp_path / "out/qc/report.html").is_file()
    assert (tmp_path / "out/group_areas.tsv").is_file()
    dice = column(tmp_path / "scores/scores.tsv", "Dice")
    assert len(dice) >= 4
    assert min(dice) > 0.6
