"""docs/benchmarks.md is what the script makes of the committed results."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def script():
    path = ROOT / "benchmarks" / "write_page.py"
    spec = importlib.util.spec_from_file_location("write_page", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_that_of_the_results(script):
    again = "run `python benchmarks/write_page.py` and commit docs/benchmarks.md"
    assert script.PAGE.read_text() == script.page(script.read()), again


def test_rows_by_hand(script):
    row = {
        "name": "a, forward", "ours_s": 0.5, "peer_s": 1.25, "ratio": 2.5, "floor_s": 0.1,
        "compile_s": 3.0, "load": 1.2, "ours_cpu_s": 1.0, "peer_cpu_s": 3.0,
    }  # fmt: skip
    part = {"name": "b", "ours_s": 2.0, "peer_s": None, "ratio": None, "floor_s": None, "load": 9.0}
    found = {"device": "1 x gizmo", "rows": [row, part], "left_out": [{"name": "c", "why": "late"}]}
    text = script.page({"one": found, "two": [{**row, "machine": "m", "load": [3.2, 4.6]}]})
    assert "| a, forward | 0.5 | 1 | 0.1 | 20% | 1.25 | 2.50 | 3.00 | 3 | 1 |" in text
    assert "| b | 2 |  |  |  |  |  |  |  | 9 |" in text
    assert "1 x gizmo" in text
    assert "Left out: c (late)." in text
    found["left_out"] = [{"name": str(n), "why": "late"} for n in range(5)]
    assert "Left out: 5 cases (late)." in script.page({"one": found})
    assert "| 3 to 5 |" in text
    other = script.page({"one": found, "dice": {"runs": []}, "list": [{"name": "x"}]})
    assert "for their own pages: `dice.json`, `list.json`." in other


def test_predictions_by_hand(script):
    def run(wall, processor):
        return {"wall_s": wall, "processor_s": processor, "peak_mb": 600.4, "load": 2.0}

    row = {
        "scan": "s", "shape": [3, 4, 5],
        "programs": {"crop": [run(5, 8), run(7, 10)], "nnunet": [run(60, 90)]},
        "dice": {"crop against whole": {"cord": 0.9876}, "cord against truth": {"crop": 0.95}},
    }  # fmt: skip
    found = {
        "what": "predict", "machine": {"processor": "p", "processors": 2}, "rows": [row],
        "warm second scan": {"beside_network_s": 1.26, "load": 3},
        "cohort": {"scans": 20, "load": 1, "rows": [
            {"at_once": 3, "wall_s": 10, "processor_s": 20, "busy": 0.914}
        ]},
    }  # fmt: skip
    text = script.page({"predict": found})
    assert "| s, 3 x 4 x 5 | ours, crop to the cord | 2 | 6.0 | 9.0 | 600 | 0.950 | 2.0 |" in text
    assert "| s |  | 10.00 | 0.988 |  |" in text  # 90 over 9 processor seconds
    assert "1.3 s of wall time" in text
    assert "| 3 | 10.0 | 20.0 | 91% |" in text


def test_statistics_by_hand(script):
    found = {
        "what": "statistics", "machine": {"processor": "p", "processors": 2}, "load": [1.2, 2.6],
        "versions": {"numpy": "2"}, "cohort": "24 + 24 people", "cohorts": 200,
        "times": {"tables_s": 4.26, "figures_s": 1.5, "tables_cpu_s": 3.9},
        "effects": {"WM MS-HC": {"planted_percent": -10.0, "mean_estimate": -9.94,
                                 "sd_estimate": 2.51, "coverage": 0.945, "significant": 0.935}},
        "edss": {"mean_R2": 0.831, "sd_R2": 0.061, "mean_LOO_R2": 0.72, "kept": {"WM": 0.845}},
    }  # fmt: skip
    text = script.page({"statistics_cpu": found})
    assert "2 x p, numpy 2." in text
    assert "All tables of the SCORE study for 24 + 24 people: 4.3 s (3.9 processor seconds)" in text
    assert "(load 1 to 3)" in text
    assert "| WM MS-HC | -10.0 | -9.9 (2.5) | 94.5% | 93.5% |" in text
    assert "R2 0.83 (SD 0.06), left one out 0.72; kept: WM 84%" in text
    assert "for their own pages" not in text
