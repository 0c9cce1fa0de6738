"""A SCORE study end to end, as small as can be: simulated people, tiny networks, a whole report."""

import json

import pytest

from score_jax.errors import DatasetError
from score_jax.imaging import read_json, read_table
from score_jax.study import score
from score_jax.study.score_cases import read_cases
from score_jax.study.score_segmenting import holding_out
from score_jax.study.score_training import read_networks
from tests.commands import refused

pytestmark = pytest.mark.slow

TINY = (
    "subjects=2", "field_of_view_mm=24.0", "grid_mm=1.0", "folds=2", "checkpoints=3",
    "lengths.tissue=4", "lengths.parts=3",
    "train.mdgru.hidden=[4]", "train.mdgru.linear=[]", "train.mdgru.kernel=3",
    "train.sampling.patch=[16, 16]", "train.sampling.batch=1", "train.augment.enabled=false",
    "tables.draws=50", "alignment=centroid",
)  # fmt: skip


class Told:
    """What a study told of its progress."""

    def __init__(self, stop=None):
        self.stages, self.counts, self._stop = [], [], stop

    def stage(self, name, what):
        self.stages.append((name, what))

    def count(self, what, done, total):
        self.counts.append((what, done, total))
        if (what, done) == self._stop:
            raise RuntimeError("stopped in the midst")


def study(out, told, *more):
    return score.run_score(
        "simulated", out, scale="smoke", overrides=(*TINY, *more), seed=4, joint=True,
        arguments=["score-jax", "study", "score"], on_stage=told.stage, on_count=told.count,
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out, told = tmp_path_factory.mktemp("study"), Told()
    return study(out, told), out, told


def test_what_it_leaves(done):
    found, out, told = done
    assert found.page == out / "report.html"
    assert [name for name, what in told.stages if what == "done"] == [
        "cohort", "scans", "networks/first", "networks/second", "segmentations/first",
        "segmentations/second", "frames",
    ]  # fmt: skip
    assert found.networks == 2 * 3 * 2 + 2 * 2  # groups x raters x folds, groups x folds
    assert [table.name for table in found.tables] == [f"Table {n}" for n in range(1, 14)]
    assert sorted(p.stem for p in (out / "tables").glob("*.tsv")) == sorted(
        f"table-{n}" for n in range(1, 14)
    )
    figures = {path.stem for path in (out / "figures").glob("*.png")}
    assert {"figure-1a", "figure-1b", "figure-2"} <= figures
    assert figures == {path.stem for path in (out / "figures").glob("*.svg")}
    page = found.page.read_text()
    for words in ("score-jax study score", "4; of the split 2023", "networks/second", "rescans",
                  "p_remove", "no human was scanned", "Table 13"):  # fmt: skip
        assert words in page, words


def test_no_test_subject_was_ever_learned(done):
    _, out, _ = done
    scans = read_cases(out / "stages" / "scans")[0]
    assert len(scans) == 2 * 3 + 2
    for name, raters in (("first", 3), ("second", 1)):
        folder = out / "stages" / "networks" / name
        networks = read_networks(folder)
        splits = read_json(folder / "run" / "split.json")
        summary = read_json(folder / "run" / "summary.json")
        assert len(networks) == len(splits) == len(summary["weights_sha256"])
        for network, split in zip(networks, splits, strict=True):
            assert split == {"train": list(network.train), "val": []}
            assert not {case.split("_")[0] for case in split["train"]} & set(network.held_out)
        # different raters and folds: different weights
        assert len(set(summary["weights_sha256"])) == len(networks)
        for scan in scans:
            asked = holding_out(networks, scan)
            assert len(asked) == raters
            assert (out / "stages" / "segmentations" / name / f"{scan.folder}.npz").is_file()
    learned = read_networks(out / "stages" / "networks" / "first")
    rescans = {n.rater for n in learned for case in n.train if "_scan-3_" in case}
    assert rescans == {"rater1"}


def test_frames_hold_every_slice(done):
    found, out, _ = done
    slices, areas, pairs = (found.frames[name] for name in ("slices", "areas", "pairs"))
    assert len(slices) == 8 * 12
    assert sorted(set(slices["slice"])) == list(range(1, 13))
    assert slices["truth_failure"][~slices["excluded"]].notna().all()
    counted = areas.groupby(["method", "rater"])["subject"].nunique().to_dict()
    assert counted == {
        ("manual", "1"): 4, ("manual", "2"): 4, ("manual", "3"): 4, ("manual", "consensus"): 4,
        ("score", "consensus"): 4, ("truth", "consensus"): 4,
    }  # fmt: skip
    assert set(areas["compartment"][areas["group"] == "HC"]) == {
        "SC", "WM", "GM", "AH", "PH", "GC", "canal",
    }  # fmt: skip
    patients = areas[areas["group"] == "MS"]
    assert set(patients["compartment"][patients["tissue"] == "NA"]) == {
        "SC", "WM", "GM", "AH", "PH", "GC",
    }  # fmt: skip
    assert set(pairs["comparison"]) == {"intra", "inter", "accuracy", "interrater"}
    # the parts fill the grey matter, whoever drew it
    wide = areas[areas["tissue"] == "total"].pivot_table(
        index=["subject", "scan", "slice", "method", "rater"], columns="compartment", values="area"
    )
    whole = wide.dropna(subset=["AH"])
    assert (whole["AH"] + whole["PH"] + whole["GC"]).to_numpy() == pytest.approx(whole["GM"])
    truth = areas.query("method == 'truth' and compartment == 'SC' and tissue == 'total'")["area"]
    assert truth.mean() == pytest.approx(90, abs=15)  # mm2 of a simulated cord
    assert found.frames["subjects"]["canal"].notna().all()
    assert len(read_table(out / "frames" / "areas.tsv")) == len(areas)


def test_again_nothing_is_repeated(done, run):
    _, out, _ = done
    before = (out / "frames" / "pairs.tsv").read_bytes()
    sets = [word for text in TINY for word in ("--set", text)]
    status, text, err = run(
        "study", "score", "--out", out, "--scale", "smoke", "--seed", 4, "--device", "cpu",
        "--joint", "--json", *sets,
    )  # fmt: skip
    assert status == 0, err
    said = json.loads(text)
    assert said["networks"] == 16
    assert said["tables"][-1] == "Table 13"
    assert said["rows"]["slices"] == 96
    assert err.count(": kept") == 7
    assert "done" not in err.replace("Done", "")
    assert (out / "frames" / "pairs.tsv").read_bytes() == before


def test_a_training_stopped_in_the_midst_goes_on(done):
    _, out, _ = done
    stopped, after = Told(stop=("second: steps", 7)), Told()
    with pytest.raises(RuntimeError, match="stopped in the midst"):
        study(out, stopped, "lengths.parts=9")  # saved at 3, 6, 9
    study(out, after, "lengths.parts=9")
    steps = [done for what, done, _ in after.counts if what == "second: steps"]
    assert steps == [7, 8, 9]
    became = dict(after.stages)
    assert became["networks/first"] == became["segmentations/first"] == "kept"
    assert ("networks/second", "resumed") in after.stages
    assert became["segmentations/second"] == became["frames"] == "done"


def test_commands_refuse(run, tmp_path):
    empty = tmp_path / "nothing"
    refused(run("study", "score", "--out", tmp_path / "o", "--scale", "huge"), "smoke, small, full")
    refused(run("study", "score", "--out", tmp_path / "o", "--data", empty), "participants.tsv")
    with pytest.raises(DatasetError, match="participants"):
        score.run_score(empty, tmp_path / "o")
