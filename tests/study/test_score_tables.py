"""The SCORE study's tables from frames with planted effects, from broken and from empty ones."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from score_jax.errors import ConfigError
from score_jax.statistics.ladder import tukey_ladder
from score_jax.statistics.multivariate import tukey
from score_jax.study.results import Figure, Table
from score_jax.study.score_figures import score_figures
from score_jax.study.score_tables import score_tables
from score_jax.study.score_tables_agreement import reproducibility_table
from score_jax.study.score_tables_anchors import anchors
from score_jax.study.score_tables_areas import areas_table, factors_table
from score_jax.study.score_tables_frames import read_study, select
from score_jax.study.score_tables_groups import compartment_effect, edss_rows, patients_table
from score_jax.study.score_tables_judging import ordered, quality, share
from score_jax.study.score_tables_models import normaliser_of
from score_jax.study.score_tables_options import TableOptions, table_choices
from score_jax.study.score_tables_planted import planted_study, planted_truth
from score_jax.study.score_tables_text import Summary

NAMES = [f"Table {i}" for i in range(1, 14)]
FEW = {"factors": ("tiv",), "draws": 50}  # one normalisation in place of 15


@pytest.fixture(scope="module")
def drawn():
    return planted_study(5, people=10, slices=3)


@pytest.fixture(scope="module")
def frames(drawn):
    return drawn.subjects, drawn.slices, drawn.areas, drawn.pairs


@pytest.fixture(scope="module")
def tables(drawn, frames):
    made = score_tables(*frames, options={**FEW, "factors": ("tiv", "sex"), "planted": drawn.truth})
    return {table.name: table for table in made}


@pytest.fixture(scope="module")
def small():
    """A cohort for the tests of what is missing: no table takes long on it."""
    drawn = planted_study(2, people=4, scans=2, slices=2)
    return drawn.subjects, drawn.slices, drawn.areas, drawn.pairs


def row(table, **wanted):
    rows = select(table.frame, **wanted)
    assert len(rows) == 1, rows
    return rows.iloc[0]


def test_all_tables_are_there(tables):
    assert list(tables) == sorted(NAMES, key=lambda name: NAMES.index(name))
    for table in tables.values():
        assert isinstance(table, Table)
        assert len(table.frame)
        assert not table.frame.isna().any().any(), table.name
        text = " ".join(table.frame.astype(str).to_numpy().ravel())
        assert "nan" not in text, table.name


def test_subjects_and_slices_by_hand(tables, drawn):
    people = drawn.subjects
    hc = people[people["group"] == "HC"]
    line = row(tables["Table 1"], group="HC")
    assert line["n"] == "10"
    assert line["age, y"] == f"{hc['age'].mean():.1f} ({hc['age'].std(ddof=1):.1f})"
    slices = drawn.slices.merge(people[["subject", "group"]])
    ms = slices[(slices["group"] == "MS") & ~slices["excluded"]]
    column = tables["Table 2"].frame.set_index("")["MS"]
    assert column["analysed"] == str(len(ms))
    assert column["failures"].split()[0] == str(int(ms["flagged"].sum()))
    assert "sensitivity" in " ".join(tables["Table 2"].notes)


def test_reproducibility_by_hand(tables, drawn):
    pairs = drawn.pairs[drawn.pairs["ok"] & (drawn.pairs["group"] == "HC")]
    kept = pairs["comparison"].isin(["intra", "inter"]) & (pairs["tissue"] == "total")
    excluded = drawn.slices[drawn.slices["excluded"]]
    out = set(zip(excluded["subject"], excluded["scan"], excluded["slice"], strict=True))
    scans = {"intra": (1, 2), "inter": (1, 3)}
    fine = [
        not any((who, scan, which) in out for scan in scans.get(what, ()))
        for who, which, what in pairs[["subject", "slice", "comparison"]].itertuples(index=False)
    ]
    pairs = pairs[kept & np.array(fine)]
    gm = pairs[(pairs["compartment"] == "GM") & (pairs["method"] == "score")]
    intra = gm[gm["comparison"] == "intra"]["dsc"]
    line = row(tables["Table 4"], compartment="GM", metric="DSC")
    assert line["SCORE intra"] == f"{intra.mean():.3f} ({intra.std(ddof=1):.3f})"
    # P of intra against inter: one ladder over the table, pairs by slice, corrected
    ladder = tukey_ladder(pairs["dsc"].to_numpy())
    p = {}
    for name in ("SC", "WM", "GM", "AH", "PH", "GC", "canal"):
        of = pairs[(pairs["compartment"] == name) & (pairs["method"] == "score")]
        wide = of.pivot(index=["subject", "slice"], columns="comparison", values="dsc").dropna()
        a, b = (ladder.apply(wide[what].to_numpy()) for what in ("intra", "inter"))
        p[name] = stats.ttest_rel(a, b).pvalue
    wanted = dict(zip(p, stats.false_discovery_control(list(p.values())), strict=True))
    study = read_study(*_frames(drawn), options=TableOptions(), seed=0)
    _, found = reproducibility_table(study)
    for name, value in wanted.items():
        assert found["intra-inter", name, "dsc"][1] == pytest.approx(value)
    score = pairs[pairs["method"] == "score"]
    levels = [ladder.apply(score["dsc"][score["slice"] == k].to_numpy()) for k in (1, 2, 3)]
    p3 = stats.tukey_hsd(*levels).pvalue[[0, 0, 1], [1, 2, 2]]
    assert found["repro slices",] == (np.sum(p3 < 0.05), 3)
    difference = found["intra-inter", "GM", "dsc"][0]
    assert difference.subjects.n == 10
    assert difference.better("dsc") == np.sign(difference.slices.estimate)
    assert difference.better("hd") == -np.sign(difference.slices.estimate)


def _frames(drawn):
    return drawn.subjects, drawn.slices, drawn.areas, drawn.pairs


def test_the_true_areas_without_noise_have_no_bias(drawn):
    areas = drawn.areas.assign(
        area=drawn.areas["area"].where(drawn.areas["method"] != "score")
    ).dropna(subset="area")
    copy = areas[areas["method"] == "truth"].assign(method="score")
    copy["area"] *= 1.02
    study = read_study(drawn.subjects, drawn.slices, pd.concat([areas, copy]), drawn.pairs,
                       options=TableOptions(), seed=0)  # fmt: skip
    table, _ = areas_table(study)
    assert row(table, compartment="GM")["HC bias, %"] == "2.0"
    assert row(table, compartment="NA-GM")["MS bias, %"] == "2.0"
    assert row(table, compartment="NA-GM")["HC manual"] == "n.a."


def test_patients_against_controls(tables, drawn):
    table = tables["Table 9"]
    for name, value in drawn.truth.items():
        compartment, _, what = name.partition(" ")
        if what == "MS-HC":
            line = row(table, compartment=compartment, areas=("raw", "raw†"))
            assert line["planted, %"] == f"{value:.1f}"
            low, high = _interval(line["difference, % (95 % CI)"])
            assert line["recovered"] == ("yes" if low <= round(value, 1) <= high else "no")
    na = row(table, compartment="NA-GM", areas=("raw", "raw†"))
    assert na["recovered"] == "n.a."
    low, high = _interval(na["difference, % (95 % CI)"])  # of the controls' total tissue
    assert low < high
    assert "sex" in table.notes[0]


def _interval(text):
    low, _, high = text.partition("(")[2].rstrip(")").partition(" to ")
    return float(low), float(high)


def test_the_model_is_that_of_statsmodels(drawn):
    """One compartment's group effect, sex held fixed, by formula on the raw frames."""
    import statsmodels.formula.api as smf

    areas = drawn.areas
    kept = (areas["compartment"] == "WM") & (areas["method"] == "score") & (areas["scan"] == 1)
    rows = areas[kept & areas["ok"] & (areas["tissue"] == "total")].merge(
        drawn.subjects[["subject", "sex"]]
    )
    fit = smf.mixedlm(
        "area ~ C(group) + C(sex)", rows.assign(one=1), groups="one", re_formula="0",
        vc_formula={"subject": "0+C(subject)", "slice": "0+C(slice)"},
    ).fit(reml=True, method=["bfgs", "lbfgs"])  # fmt: skip
    study = read_study(*_frames(drawn), options=TableOptions(), seed=0)
    found = compartment_effect(
        study, "WM", "total", groups=("HC", "MS"),
        flag=lambda rows: (rows["group"] == "MS").to_numpy(float),
    )  # fmt: skip
    assert found.difference.value == pytest.approx(fit.fe_params["C(group)[T.MS]"], rel=1e-4)
    assert found.difference.se == pytest.approx(fit.bse_fe["C(group)[T.MS]"], rel=1e-3)
    assert found.subjects == (10, 10)


def test_the_planted_truth():
    truth = planted_truth()
    assert truth["WM MS-HC"] == pytest.approx(-10)
    assert truth["AH MS-HC"] == pytest.approx(-14, abs=0.1)
    assert truth["GM MS-HC"] == pytest.approx(-8, abs=0.1)
    assert truth["SC MS-HC"] == pytest.approx(-9.5, abs=0.2)
    many = planted_study(0, people=2000, scans=1, slices=1, pairs=False)
    true = many.areas[(many.areas["method"] == "truth") & (many.areas["tissue"] == "total")]
    true = true.merge(many.subjects[["subject", "type"]])
    for name, value in truth.items():
        compartment, _, what = name.partition(" ")
        of = true[true["compartment"] == compartment]
        progressive = of["type"].isin(["SP", "PP"])
        if what == "MS-HC":
            a, b = of["area"][of["group"] == "MS"], of["area"][of["group"] == "HC"]
        elif what == "progressive-RR":
            a, b = of["area"][progressive], of["area"][of["type"] == "RR"]
        else:
            continue
        assert 100 * (a.mean() / b.mean() - 1) == pytest.approx(value, abs=2.2), name


def test_against_the_paper(tables, drawn):
    frame = tables["Table 13"].frame
    keys = [anchor.key for anchor in anchors(TableOptions())]
    assert len(keys) == len(set(keys)) == len(frame)
    assert set(frame["part"]) == {"A1", "A2", "A3", "A4", "A5", "A6"}
    assert row(tables["Table 13"], what="controls")["inside"] == "no"  # ten, not 24
    wm = row(tables["Table 13"], what="WM, patients against controls")
    assert (wm["paper"], wm["planted"]) == ("-10 %", "-10.0")
    low, high = _interval(wm["here"])
    assert wm["inside"] == ("yes" if low <= -10 <= high else "no")
    lengths = {group: int((drawn.subjects["group"] == group).sum()) for group in ("HC", "MS")}
    assert row(tables["Table 13"], what="patients")["here"] == str(lengths["MS"])
    told = " ".join(tables["Table 13"].notes)
    for choice in table_choices(TableOptions()):
        assert f"Choice {choice.option} = {choice.value}" in told
    # the two readings of a contradiction stand side by side, one of them chosen
    readings = frame["what"][frame["what"].str.startswith("women, controls")]
    assert list(readings) == ["women, controls (chosen)", "women, controls (other reading)"]


def test_verdicts_by_hand():
    options = TableOptions(women_hc=14, design={"folds": 3, "pixel, mm": 0.6667})
    by_key = {anchor.key: anchor for anchor in anchors(options)}
    assert by_key["folds"].judge({}, options).inside is True
    assert by_key["folds parts"].judge({}, options).inside is None
    assert by_key["pixel, mm"].judge({}, options).inside is True
    assert by_key["women HC 14"].text == "women, controls (chosen)"
    for anchor in by_key.values():
        if anchor.key not in options.design:
            assert anchor.judge({}, options).inside is None, anchor.key

    key = ("accuracy", "HC", "GM", "total", "dsc")
    better = quality("k", "A3", "t", 0.92, "dsc", [key])
    assert better.bound == "≥ 0.92"
    for mean, inside in ((0.916, True), (0.91, False), (0.95, True)):
        assert better.judge({key: Summary(mean, 0.1, 9)}, options).inside is inside
    assert better.judge({key: Summary(math.nan, math.nan, 0)}, options).inside is None
    lower = quality("k", "A2", "t", 3.5, "rsd", [key])
    assert lower.judge({key: Summary(3.6, 1.0, 9)}, options).inside is False

    part = share("k", "t", 34, 855, ("a",), ("b",))
    assert part.judge({("a",): 30, ("b",): 850}, options).inside is True
    assert part.judge({("a",): 90, ("b",): 850}, options).inside is False


def test_orders_by_hand(rng):
    groups = np.repeat(["GC", "PH", "AH"], 20)
    values = np.repeat([0.0, 5.0, 5.1], 20) + rng.normal(size=60)
    found = {("o",): tukey(values, groups)}
    options = TableOptions()
    right = ordered("k", "A3", "t", ["GC < PH ~ AH"], [("o",)]).judge(found, options)
    assert right.inside is True
    assert "(2 of 2)" in right.here
    wrong = ordered("k", "A3", "t", ["PH < GC < AH"], [("o",)]).judge(found, options)
    assert (wrong.inside, "(1 of 2)" in wrong.here) == (False, True)
    assert ordered("k", "A3", "t", ["SC < GC"], [("o",)]).judge(found, options).inside is None


def test_bad_input_is_named(small):
    """All of it at once; the rest goes on."""
    subjects, slices, areas, pairs = small
    areas = areas.assign(group=areas["group"].where(areas["subject"] != "sub-HC02", "MS"))
    lost = (areas["subject"] == "sub-HC01") & (areas["slice"] == 2) & (areas["scan"] == 1)
    undrawn = areas["compartment"].isin(["PH", "GC"])
    areas = areas[~((lost | undrawn) & (areas["method"] == "manual"))]
    areas = pd.concat([
        areas, areas.head(1).assign(subject="sub-X"), areas.tail(1).assign(area=-1.0),
    ])  # fmt: skip
    people = subjects.copy()
    people.loc[people["subject"] == "sub-HC03", "tiv"] = math.nan
    others = people.iloc[[0]].assign(subject="sub-A1", group="ALS")
    people = pd.concat([people, people.iloc[[0]], others]).drop(columns="edss")
    made = score_tables(people, slices, areas, pairs, options=FEW)
    by_name = {table.name: table for table in made}
    told = " ".join(by_name["Table 1"].notes)
    for text in (
        "subjects: no column edss; taken as unknown",
        "1 subjects with two groups, left out: sub-HC02",
        "1 subjects of neither HC nor MS, left out: sub-A1",
        "1 subjects listed twice, the first counts: sub-HC01",
        "tiv is missing for 1 of 7 subjects: sub-HC03",
        "areas: rows of 2 subjects that are not analysed, left out: sub-HC02, sub-X",
        "areas: 1 negative, left out",
        "1 slices without a manual mask: sub-HC01 scan 1 slice 2",
        "compartments without any manual mask: PH, GC",
    ):
        assert text in told, text
    assert row(by_name["Table 1"], group="HC")["n"] == "3"
    assert row(by_name["Table 1"], group="MS")["n"] == "4"
    assert row(by_name["Table 6"], compartment="PH")["HC manual"] == "n.a."
    assert "TIV: n.a. (tiv: known for 2 controls; expected 4)" in " ".join(by_name["Table 7"].notes)
    assert "n.a." in by_name["Table 11"].notes[0]


def without(frame, **wanted):
    return frame.drop(index=select(frame, **wanted).index)


@pytest.mark.parametrize(
    "change",
    [
        lambda s, k, a, p: [pd.DataFrame()] * 4,
        lambda s, k, a, p: [without(s, group="MS").assign(sex=None, tiv=1.4), k, a, p],
        lambda s, k, a, p: [without(s, group="HC").assign(type=""), k, a, p.assign(hd=math.nan)],
        lambda s, k, a, p: [s, without(k, scan=2),
                            without(without(a, scan=2), compartment="lesion"),
                            without(p, comparison=("intra", "inter"))],
        lambda s, k, a, p: [s, k.assign(truth_failure=math.nan), select(a, method="score"),
                            select(p, method="score")],
        lambda s, k, a, p: [s, k.assign(excluded=True), a, p],
        lambda s, k, a, p: [s.groupby("group").head(1), k, a, p],
    ],
    ids=["no columns", "no patients, sex or TIV", "no controls, types or distances",
         "no lesions, one scan", "neither manual masks nor truth", "all excluded",
         "one subject a group"],
)  # fmt: skip
def test_partial_frames_never_crash(small, change):
    changed = change(*small)
    made = score_tables(*changed, options=FEW)
    assert [table.name for table in made] == NAMES
    assert all(table.notes for table in made)
    assert len(score_figures(*changed)) == 4


def test_one_measurement_counts(small):
    """The consensus before a rater; pairs of raters averaged; excluded slices in nothing."""
    subjects, slices, areas, pairs = small
    slices = slices.assign(excluded=False)
    slices.loc[(slices["subject"] == "sub-HC01") & (slices["slice"] == 1), "excluded"] = True
    place = {"subject": "sub-HC02", "scan": 1, "slice": 2, "compartment": "GM", "tissue": "total",
             "method": "manual"}  # fmt: skip
    own = select(areas, **place).assign(rater="1", area=99.0)
    third = pd.concat([pairs, pairs.assign(dsc=0.0, ok=False)])
    study = read_study(subjects, slices, pd.concat([own, areas, own]), third,
                       options=TableOptions(), seed=0)  # fmt: skip
    kept = select(study.areas, **place)
    assert len(kept) == 1
    assert kept["area"].iloc[0] == select(areas, **place)["area"].iloc[0]
    assert not len(select(study.areas, subject="sub-HC01", slice=1, scan=1))
    assert not len(select(study.pairs, subject="sub-HC01", slice=1))
    one = {"subject": "sub-HC02", "slice": 2, "comparison": "interrater", "compartment": "GM"}
    merged = select(study.pairs, **one)
    assert len(merged) == 1
    assert merged["dsc"].iloc[0] == pytest.approx(select(pairs, **one)["dsc"].iloc[0] / 2)
    assert not merged["ok"].iloc[0]


def test_options(small):
    with pytest.raises(ConfigError, match="'colour'; expected one of planted"):
        score_tables(*small, options={"colour": 1})
    with pytest.raises(ConfigError, match="canal: got 'disc'; expected one of subject, slice"):
        TableOptions.of({"canal": "disc"})
    with pytest.raises(ConfigError, match="factors: got 'height'; expected tiv"):
        TableOptions.of({"factors": ["height"]})
    assert TableOptions.of({"inter_scans": [2, 3]}).inter_scans == (2, 3)
    options = {
        "dsc_scale": "1-DSC", "canal": "slice", "factors": ("canal",), "edss_areas": "parts",
        "normalisation": "paper", "group_covariates": ("sex", "tiv"), "draws": 50,
    }  # fmt: skip
    study = read_study(*small, options=TableOptions.of(options), seed=0)
    assert "1-DSC" in " ".join(reproducibility_table(study)[0].notes)
    assert "the slice's area" in factors_table(study)[0].notes[0]
    patients, _ = patients_table(study, {"GM": ("canal",)})
    assert "SC tiv" in " ".join(patients.notes)
    assert "~ group + sex, tiv" in patients.notes[0]
    rows = select(patients.frame, compartment=("SC", "GM"))
    kinds = list(zip(rows["compartment"], rows["areas"].str.rstrip("†"), strict=True))
    assert kinds == [("SC", "raw"), ("GM", "raw"), ("SC", "normalised")]
    assert list(edss_rows(study)[0])[-5:] == ["WM", "AH", "PH", "GC", "lesion"]
    slopes = [normaliser_of(study, "SC", ("canal",)).slopes["canal"]]
    other = read_study(*small, options=TableOptions(), seed=0)
    assert slopes != [normaliser_of(other, "SC", ("canal",)).slopes["canal"]]


def test_figures(frames):
    found = score_figures(*frames)
    assert [figure.name for figure in found] == [
        "Figure 2", "Figure 3B", "Figure 4B", "Figure S1",
    ]  # fmt: skip
    assert all(isinstance(figure, Figure) for figure in found)
    profile = found[0].figure.axes[0]
    rows = frames[2]
    kept = (rows["compartment"] == "SC") & (rows["method"] == "score") & (rows["scan"] == 1)
    hc = rows[kept & rows["ok"] & (rows["group"] == "HC") & (rows["tissue"] == "total")]
    wanted = hc.groupby("slice")["area"].mean().to_numpy()
    np.testing.assert_allclose(profile.containers[0].lines[0].get_ydata().astype(float), wanted)
    assert len(found[1].figure.axes) == 2
    assert not any(text.get_text() == "no values" for text in profile.texts)


def test_figures_without_values(small):
    for figure in score_figures(*[frame.iloc[:0] for frame in small]):
        assert all(axis.texts[-1].get_text() == "no values" for axis in figure.figure.axes)
