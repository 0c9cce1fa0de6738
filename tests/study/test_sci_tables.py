"""The SCI study's tables and figures from tiny frames, against scipy and numbers by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from score_jax.study import sci_published as published
from score_jax.study.sci_figures import raincloud, sci_figures
from score_jax.study.sci_numbers import (
    count,
    mean_sd,
    median_iqr,
    number,
    numbers_of,
)
from score_jax.study.sci_options import SciOptions
from score_jax.study.sci_table_paper import paper_table, verdict
from score_jax.study.sci_tables import active_table, sci_tables
from score_jax.study.sci_tables_biomarkers import (
    clinical,
    manual_table,
    phases_table,
    spearman_table,
    spearman_test,
)
from score_jax.study.sci_tables_cohort import cohort_table
from score_jax.study.sci_tables_scores import (
    accuracy_table,
    baseline_tests,
    baselines_table,
    gate_tests,
    metrics_of,
    new_site_table,
    normality_table,
    planes_table,
)

SITES = {"site1": 9, "site2": 8, "dcm": 3}


def person(site, n):
    return {"participant": f"sub-{site}{n}", "session": "01", "site": site}


def sessions_frame():
    rng = np.random.default_rng(1)
    rows = [
        {
            **person(site, n), "plane": "axial", "age": 40.0 + n, "sex": "MF"[n % 2],
            "origin": "traumatic", "level": "C5", "implant": "yes" if n < 2 else "no",
            "field": 1.5, "days_to_mri": 10.0 * (n + 1),
            "pinprick_initial": float(rng.integers(0, 112)),
            "light_touch_initial": float(rng.integers(0, 112)) if n else math.nan,
            "lems_initial": float(rng.integers(0, 50)),
            "lems_discharge": float(rng.integers(0, 50)),
        }
        for site, total in SITES.items()
        for n in range(total)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def scores_frame(methods=("3d", "2d", "sct", "other"), seeds=(7, 42)):
    rng = np.random.default_rng(2)
    rows = [
        {
            **person(site, n), "seed": seed, "method": method, "structure": structure, "phase": 3,
            "Dice": rng.uniform(0.5, 1), "RVE": rng.normal(0, 10),
            "SurfaceDistance": rng.exponential(0.1), "ASSD": rng.exponential(0.5),
            "PPV_L": rng.uniform(), "Sens_L": rng.uniform(), "F1_L": rng.uniform(),
        }
        for site, total in SITES.items()
        for n in range(total)
        for seed in seeds
        for method in methods
        for structure in ("cord", "lesion")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def biomarkers_frame(phases=(1, 3)):
    rng = np.random.default_rng(3)
    rows = []
    for site, total in SITES.items():
        for n in range(total):
            base = np.array([rng.lognormal(5, 1), rng.lognormal(3, 0.5), rng.uniform(0.2, 0.8)])
            about = {**person(site, n), "seed": -1, "phase": math.nan}
            rows.append({**about, "method": "manual", **named(base)})
            for phase in phases:
                for seed in (7, 42):
                    found = named(base * rng.lognormal(0, 0.6 / phase, 3))
                    rows.append(
                        {**about, "seed": seed, "phase": phase, "method": "predicted", **found}
                    )
    return pd.DataFrame(rows)


def named(values):
    return dict(zip(("volume", "length", "adr"), map(float, values), strict=True))


def frames():
    return sessions_frame(), scores_frame(), biomarkers_frame()


MAKERS = {
    1: cohort_table, 2: accuracy_table, 3: planes_table, 4: new_site_table, 5: phases_table,
    6: manual_table, 7: spearman_table, 8: baselines_table, 9: paper_table, "S1": normality_table,
}  # fmt: skip


def table(name, *given, options=None):
    """One table alone: making all of them takes a second."""
    return MAKERS[name](numbers_of(*(given or frames()), options or SciOptions()))


def p_of(text):
    return pytest.approx(float(f"0{text}" if text.startswith(".") else text), abs=5e-4)


def averaged(frame, method, structure, metric, site):
    """By another road than the tables: plain loops."""
    own = frame[(frame.method == method) & (frame.structure == structure) & (frame.site == site)]
    return np.array([own[own.participant == p][metric].mean() for p in own.participant.unique()])


# how numbers are made ---------------------------------------------------------------------------


def test_texts():
    assert mean_sd([1, 2, 3, math.nan]) == "2.00 ± 1.00"
    assert mean_sd([0.5]) == "0.50 ± n.a."
    assert mean_sd([]) == mean_sd([math.nan]) == "n.a."
    assert median_iqr([1, 2, 3, 4, 5], 1) == "3.0 (2.0 to 4.0)"
    assert median_iqr([]) == "n.a."
    assert number(math.inf) == "n.a."
    assert count([1, math.nan, math.inf]) == 1


def test_a_scan_is_averaged_over_its_seeds_and_nan_is_skipped():
    scores = scores_frame(("3d",))
    first = scores.participant == "sub-site10"
    scores.loc[first & (scores.structure == "lesion"), "ASSD"] = [math.nan, 4.0]
    scores.loc[first & (scores.structure == "cord"), "Dice"] = [0.4, 0.6]
    numbers = numbers_of(sessions_frame(), scores, biomarkers_frame(), SciOptions())
    key = ("sub-site10", "01", "site1")
    assert numbers.score("lesion", "3d", "ASSD", "site1")[key] == 4.0
    assert numbers.score("cord", "3d", "Dice", "site1")[key] == pytest.approx(0.5)
    assert len(numbers.score("cord", "3d", "Dice", "average")) == 17  # no scan twice, no dcm
    assert numbers.sites == ("site1", "site2")
    assert numbers.new == ("dcm",)


def test_the_reference_is_the_manual_mask_unless_the_truth_is_asked_for():
    manual = scores_frame(("3d",))
    both = pd.concat([manual.assign(reference="manual"), manual.assign(reference="truth", Dice=1)])
    numbers = numbers_of(sessions_frame(), both, biomarkers_frame(), SciOptions())
    own = numbers.score("cord", "3d", "Dice", "site1")
    assert own.to_numpy() == pytest.approx(averaged(manual, "3d", "cord", "Dice", "site1"))
    assert (numbers.score("cord", "3d", "Dice", "site1", reference="truth") == 1).all()


# the tables -------------------------------------------------------------------------------------


def test_table_1_counts_people_and_scans():
    sessions = pd.concat([sessions_frame(), sessions_frame().head(1).assign(session="02")])
    frame = table(1, sessions, scores_frame(), biomarkers_frame()).frame.set_index("")
    assert frame.loc["patients", "site 1"] == "9"
    assert frame.loc["scans", "site 1"] == "10"
    assert frame.loc["patients", "all"] == "20"
    assert frame.loc["implants", "site 2"] == "2 of 8"
    assert frame.loc["sex", "dcm"] == "M 2, F 1"
    assert frame.loc["age, years (mean ± SD)", "dcm"] == "41.0 ± 1.0"
    assert frame.loc["days to MRI (median)", "site 1"] == "50.0"


def test_table_2_means_and_mann_whitney():
    scores = scores_frame()
    frame = table(2, sessions_frame(), scores, biomarkers_frame()).frame
    row = frame[(frame.structure == "lesion") & (frame.metric == "Dice")].iloc[0]
    one, two = (averaged(scores, "3d", "lesion", "Dice", s) for s in ("site1", "site2"))
    assert row["site 1 (n)"] == f"{one.mean():.2f} ± {one.std(ddof=1):.2f} (9)"
    both = np.concatenate([one, two])
    assert row["average (n)"] == f"{both.mean():.2f} ± {both.std(ddof=1):.2f} (17)"
    wanted = stats.mannwhitneyu(one, two, alternative="two-sided").pvalue
    assert float("0" + row["P site 1 against 2"]) == pytest.approx(wanted, abs=5e-4)


def test_scans_without_a_drawn_lesion_are_counted():
    measured = biomarkers_frame()
    own = (measured.participant == "sub-site21") & (measured.method == "manual")
    measured.loc[own, ["volume", "length", "adr"]] = 0.0
    notes = table(2, sessions_frame(), scores_frame(), measured).notes
    assert "No lesion is drawn in 1 of 17 tested scans." in notes


def test_table_3_leaves_out_pairs_with_an_unknown_value_in_that_test_alone():
    scores = scores_frame()
    gone = (scores.participant == "sub-site13") & (scores.method == "2d")
    scores.loc[gone & (scores.structure == "lesion"), "ASSD"] = math.nan
    frame = table(3, sessions_frame(), scores, biomarkers_frame()).frame
    frame = frame.set_index("metric")
    row = frame.loc["surface distance, correct (ASSD) [mm]"]
    three, two = (averaged(scores, m, "lesion", "ASSD", "site1") for m in ("3d", "2d"))
    known = ~np.isnan(two)
    assert (row["site 1, n"], frame.loc["Dice", "site 1, n"]) == ("8", "9")
    assert p_of(row["site 1, P"]) == stats.wilcoxon(three[known], two[known]).pvalue


def test_the_chosen_surface_distance_comes_first():
    numbers = numbers_of(*frames(), SciOptions(surface="assd"))
    assert metrics_of(numbers, "cord") == ("Dice", "RVE", "ASSD", "SurfaceDistance")


def test_table_4_is_of_the_sites_never_trained_on():
    scores = scores_frame()
    made = table(4, sessions_frame(), scores, biomarkers_frame())
    values = averaged(scores, "sct", "cord", "RVE", "dcm")
    row = made.frame[(made.frame.structure == "cord") & (made.frame.metric == "RVE [%]")].iloc[0]
    assert row["dcm, sct (n)"] == f"{values.mean():.2f} ± {values.std(ddof=1):.2f} (3)"
    without = [f[f.site != "dcm"] for f in (sessions_frame(), scores, biomarkers_frame())]
    notes = table(4, *without).notes
    assert any("no scan of a site that is kept from training (dcm)" in note for note in notes)


def phase_values(frame, phase, site="site1", measure="volume"):
    own = frame[(frame.method == "predicted") & (frame.phase == phase) & (frame.site == site)]
    return np.array([own[own.participant == p][measure].mean() for p in own.participant.unique()])


def test_table_5_predictions_and_errors():
    measured = biomarkers_frame()
    frame = table(5, sessions_frame(), scores_frame(), measured).frame
    row = frame[(frame.site == "site 1") & (frame.biomarker == "volume [mm³]")].iloc[0]
    first, last = phase_values(measured, 1), phase_values(measured, 3)
    manual = measured[(measured.method == "manual") & (measured.site == "site1")].volume.to_numpy()
    assert p_of(row["P"]) == stats.wilcoxon(first, last).pvalue
    errors = abs(first - manual), abs(last - manual)
    assert p_of(row["P of |error|"]) == stats.wilcoxon(*errors).pvalue
    assert row["phase 3"].startswith(f"{np.median(last):.1f} (")
    assert row["|error|, phase 1"].startswith(f"{np.median(errors[0]):.1f} (")


def test_nothing_predicted_counts_as_told():
    measured = biomarkers_frame()
    empty = (measured.participant == "sub-site10") & (measured.method == "predicted")
    measured.loc[empty, ["volume", "length", "adr"]] = 0.0
    given = (sessions_frame(), scores_frame(), measured)
    site1 = {"site": "site 1", "biomarker": "length [mm]"}

    def n(name, **options):
        frame = table(name, *given, options=SciOptions(**options)).frame
        return frame[(frame[list(site1)] == list(site1.values())).all(axis=1)].iloc[0]["n"]

    assert n(5) == 9  # zeros, as in the paper's comparison of phases
    assert n(5, no_lesion_phases="drop") == 8
    assert n(6) == 8  # dropped, as in its clinical script
    assert n(6, no_lesion="zero") == 9


def test_one_empty_seed_does_not_pull_the_other_down_when_dropped():
    measured = biomarkers_frame()
    own = (measured.participant == "sub-site10") & (measured.method == "predicted")
    one = own & (measured.seed == 7) & (measured.phase == 3)
    other = measured[own & (measured.seed == 42) & (measured.phase == 3)].volume.item()
    measured.loc[one, ["volume", "length", "adr"]] = 0.0
    key = ("sub-site10", "01", "site1")
    for rule, wanted in (("drop", other), ("zero", other / 2)):
        numbers = numbers_of(sessions_frame(), scores_frame(), measured, SciOptions(no_lesion=rule))
        assert numbers.biomarker("predicted", "volume", "site1")[key] == pytest.approx(wanted)


def test_a_ratio_above_one_takes_nothing_else_with_it():
    """The paper's script then also drops the person's volume and length at the next site."""
    measured = biomarkers_frame()
    measured.loc[(measured.participant == "sub-site10"), "adr"] = 1.2
    frame = table(
        6, sessions_frame(), scores_frame(), measured, options=SciOptions(damage_above_one="drop")
    ).frame.set_index(["site", "biomarker"])["n"]
    assert frame["site 1", "max axial damage ratio"] == 8
    assert frame["site 1", "volume [mm³]"] == frame["site 1", "length [mm]"] == 9
    assert frame["site 2", "volume [mm³]"] == 8
    assert frame["all", "max axial damage ratio"] == 16


def test_table_6_also_against_the_truth():
    measured = biomarkers_frame()
    true = measured[measured.method == "manual"].assign(method="truth")
    true["volume"] = true["volume"] * 0.5
    frame = table(6, sessions_frame(), scores_frame(), pd.concat([measured, true])).frame
    row = frame[(frame.site == "site 2") & (frame.biomarker == "volume [mm³]")].iloc[0]
    predicted = phase_values(measured, 3, "site2")
    volumes = true[true.site == "site2"].volume.to_numpy()
    found = stats.wilcoxon(volumes, predicted).pvalue
    assert p_of(row["P, true against predicted"]) == found
    manual = measured[(measured.method == "manual") & (measured.site == "site2")].volume
    assert p_of(row["P"]) == stats.wilcoxon(manual.to_numpy(), predicted).pvalue


def test_table_7_spearman_of_site_2_with_corrected_p():
    given = frames()
    made = table(7, *given)
    frame = made.frame.set_index(["score", "when", "biomarker"])
    row = frame.loc[("light_touch", "initial", "length [mm]")]
    sessions, _, measured = given
    people = sessions[(sessions.site == "site2") & sessions.light_touch_initial.notna()]
    length = phase_values(measured, 3, "site2", "length")[1:]  # the first one's score is unknown
    wanted = stats.spearmanr(people.light_touch_initial, length)
    assert row["predicted, rho"] == f"{wanted.statistic:.2f}"
    assert p_of(row["predicted, P"]) == wanted.pvalue
    assert row["predicted, n"] == 7
    raw = [float("0" + p) if p[0] == "." else float(p) for p in frame["manual, P"]]
    corrected = stats.false_discovery_control(raw, method="bh")
    shown = [float("0" + p) if p[0] == "." else float(p) for p in frame["manual, P (BH)"]]
    assert shown == pytest.approx(corrected.tolist(), abs=4e-3)  # of rounded P values
    assert ("lems", "difference", "length [mm]") in frame.index
    assert "pinprick discharge" in made.notes[-1]


def test_the_difference_of_a_score_and_the_pooled_sites():
    numbers = numbers_of(*frames(), SciOptions(spearman_site="all"))
    sessions = sessions_frame()
    own = clinical(numbers, "lems", "difference")
    wanted = (sessions.lems_discharge - sessions.lems_initial)[:17]
    assert own.to_numpy() == pytest.approx(wanted.to_numpy())
    assert spearman_test(numbers, "manual", "lems", "difference", "adr").n == 17
    elsewhere = numbers_of(*frames(), SciOptions(spearman_site="nowhere"))
    assert spearman_test(elsewhere, "manual", "lems", "initial", "adr").n == 17


def test_table_8_gates_and_bonferroni():
    scores = scores_frame()
    better = (scores.method == "3d") & (scores.structure == "cord") & (scores.site == "site1")
    scores.loc[better, "Dice"] += 0.6
    numbers = numbers_of(sessions_frame(), scores, biomarkers_frame(), SciOptions())
    arms = [averaged(scores, m, "cord", "Dice", "site1") for m in ("3d", "2d", "other", "sct")]
    gates = gate_tests(numbers, "site1", "Dice")
    assert gates["kruskal"].p == pytest.approx(stats.kruskal(*arms).pvalue)
    assert gates["friedman"].p == pytest.approx(stats.friedmanchisquare(*arms).pvalue)
    found = baseline_tests(numbers, "site1", "Dice")
    raw = stats.wilcoxon(arms[0], arms[3]).pvalue
    assert found["sct"] == (pytest.approx(3 * raw), pytest.approx(raw))
    assert set(found) == {"2d", "other", "sct"}
    assert gate_tests(numbers, "site2", "Dice")["kruskal"].p > 0.05
    assert baseline_tests(numbers, "site2", "Dice") == {}
    frame = table(8, sessions_frame(), scores, biomarkers_frame()).frame
    own = frame[(frame.site == "site 2") & (frame.metric == "Dice")].set_index("method")
    assert own.loc["sct", "P 3-D against it"] == "not tested"
    assert own.loc["3-D", "P 3-D against it"] == ""


def test_the_gate_is_an_option():
    scores = scores_frame(("3d", "2d"))
    three = (scores.method == "3d") & (scores.structure == "cord")
    scores.loc[three, "Dice"] += 0.6
    for gate, open_ in (("kruskal", True), ("friedman", False)):  # two arms: Friedman cannot
        numbers = numbers_of(sessions_frame(), scores, biomarkers_frame(), SciOptions(gate=gate))
        assert bool(baseline_tests(numbers, "site1", "Dice")) is open_


def test_normality_is_dagostino_and_pearsons():
    scores = scores_frame()
    frame = table("S1", sessions_frame(), scores, biomarkers_frame()).frame
    chosen = frame[(frame.structure == "cord") & (frame.method == "3-D") & (frame.metric == "Dice")]
    row = chosen.set_index("site").loc["site 1"]
    wanted = stats.normaltest(averaged(scores, "3d", "cord", "Dice", "site1"))
    assert row["K²"] == f"{wanted.statistic:.2f}"
    assert p_of(row["P"]) == wanted.pvalue
    assert chosen.set_index("site").loc["dcm", "remark"] == "fewer than 8 values"


# against the paper ------------------------------------------------------------------------------


def test_every_published_number_stands_in_the_last_table():
    made = table(9)
    frame = made.frame
    means = sum(len(columns) for columns in published.SCORES.values())
    assert means == 8 * 4 + 5 * 2
    assert len(frame) == 3 * len(published.COHORT) + means + len(published.CLAIMS)
    shown = set(frame.paper)
    assert {"0.51 ± 0.30", "3.51 ± 9.61", "0.25 ± 15.19", "9.14 ± 32.43", "P<.001", "n.s."} <= shown
    assert any(f"of {len(frame)}" in note for note in made.notes)
    spearman = frame[frame.what.str.startswith("Spearman")]
    assert len(spearman) == 2 * 3 * 3
    assert (spearman.paper == "P<.05").all()


def test_a_claim_agrees_on_its_side_of_the_bound():
    measured = biomarkers_frame()
    predicted = measured.method == "predicted"
    measured.loc[predicted, "volume"] *= 20  # manual against predicted: P<.05, as published
    frame = table(9, sessions_frame(), scores_frame(), measured).frame.set_index("what")
    assert frame.loc["manual against predicted, volume", "inside"] == "yes"
    measured.loc[predicted, "length"] *= 20  # published: n.s.
    frame = table(9, sessions_frame(), scores_frame(), measured).frame.set_index("what")
    assert frame.loc["manual against predicted, length", "inside"] == "no"
    assert frame.loc["manual against predicted, length", "here"].startswith("P <.001")


def test_on_the_phantom_the_truth_stands_beside():
    scores = scores_frame()
    both = pd.concat([scores.assign(reference="manual"), scores.assign(reference="truth", Dice=1)])
    measured = biomarkers_frame()
    true = measured[measured.method == "manual"].assign(method="truth")
    frame = table(9, sessions_frame(), both, pd.concat([measured, true])).frame
    dice = frame[(frame.what == "cord Dice, 3-D") & (frame["where"] == "site 1")].iloc[0]
    assert dice.truth == "1.00 ± 0.00"
    assert dice.here != "1.00 ± 0.00"
    planted = frame[frame.what == "Spearman, lems with adr, manual"].truth.item()
    assert planted.endswith("(planted: about -0.5)")
    assert (table(9).frame.truth == "").all()


def test_verdict_by_hand():
    ours = np.full(20, 0.5)
    # t(.975, 99) .2 / 10 = 1.9842 x .02 = .0397, and .005 of rounding
    assert verdict(ours, 0.54, 0.2, 100, rule="interval") == "yes"
    assert verdict(ours, 0.55, 0.2, 100, rule="interval") == "no (worse)"
    assert verdict(ours, 0.45, 0.2, 100, rule="interval") == "no (better)"
    assert verdict(ours, 0.45, 0.2, 100, rule="interval", better="less") == "no (worse)"
    assert verdict(ours, 0.69, 0.2, 100, rule="sd") == "yes"
    assert verdict(ours, 0.71, 0.2, 100, rule="sd") == "no (worse)"
    assert verdict(np.full(20, -0.9), 0.5, 0.2, 100, rule="sd", better="zero") == "no (worse)"
    # our own interval: t(.975, 19) .1 / sqrt 20 = 2.093 x .02294 (n - 1) = .048
    spread = np.tile([0.4, 0.6], 10)
    assert verdict(spread, 0.59, 0.2, 100, rule="interval") == "yes"
    assert verdict(spread[:8], 0.59, 0.2, 100, rule="interval") == "no (worse)"  # too few to widen
    assert verdict(np.array([math.nan]), 0.5, 0.2, 100, rule="interval") == "n.a."


# partial frames ---------------------------------------------------------------------------------

PARTIAL = {
    "no lesion": lambda s, r, b: (s, r[r.structure == "cord"], b.head(0)),
    "one site": lambda s, r, b: (s[s.site == "site1"], r[r.site == "site1"], b[b.site == "site1"]),
    "only 3-D": lambda s, r, b: (s, r[r.method == "3d"], b),
    "one phase": lambda s, r, b: (s, r.assign(phase=1), b[b.phase != 3]),
    "no covariates": lambda s, r, b: (s[["participant", "session", "site"]], r, b),
    "one scan": lambda s, r, b: (s.head(1), r[r.participant == "sub-site10"].head(2), b.head(1)),
    "no scores": lambda s, r, b: (s, r.head(0), b),
    "nothing": lambda s, r, b: (s.head(0), pd.DataFrame(), pd.DataFrame()),
    "nothing predicted": lambda s, r, b: (
        s, r, b.assign(**{m: b[m].where(b.method == "manual", 0.0) for m in ("volume", "length",
                                                                             "adr")}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTIAL)
def test_partial_frames_say_na(name):
    given = PARTIAL[name](*frames())
    found = {one.name: one for one in sci_tables(*given)}
    assert list(found)[:9] == [f"Table {n}" for n in range(1, 10)]
    for one in found.values():
        assert not one.frame.isna().to_numpy().any(), one.name
        assert "nan" not in one.frame.to_string().lower(), one.name
    for figure in sci_figures(*given):
        assert figure.figure.axes, figure.name


def test_what_is_missing_is_told():
    given = PARTIAL["no covariates"](*frames())
    notes = table(1, *given).notes
    assert "age: not known for anybody" in notes
    only = PARTIAL["only 3-D"](*frames())
    assert any("No baseline was given" in note for note in table(8, *only).notes)
    assert (table(3, *only).frame["site 1, 2-D"] == "n.a.").all()
    one = table(5, *PARTIAL["one phase"](*frames()))
    assert any("Only one phase" in note for note in one.notes)


def test_active_learning_by_seed():
    active = pd.DataFrame(
        [
            {"seed": 7, "case": "a", "place": 1, "score": 0.9, "taken": True, "dice_cord": 0.8,
             "dice_lesion": 0.2},
            {"seed": 7, "case": "b", "place": 2, "score": 0.1, "taken": False},
            {"seed": 42, "case": "c", "place": 1, "score": 0.5, "taken": True, "dice_cord": 0.6},
        ]
    )  # fmt: skip
    frame = active_table(active).frame.set_index("seed")
    assert frame.loc[7].tolist()[:3] == [2, 1, "0.10 to 0.90"]
    assert frame.loc[7, "Dice before correction, cord"] == "0.80 ± n.a."
    assert frame.loc[42, "Dice before correction, lesion"] == "n.a."
    assert "nothing to rank" in active_table(None).notes[0]


# figures ----------------------------------------------------------------------------------------


def test_figures_show_every_value():
    given = frames()
    figures = {figure.name: figure for figure in sci_figures(*given)}
    dice = figures["Figure 1"].figure.axes[0]
    dots = [c.get_offsets().shape[0] for c in dice.collections if hasattr(c, "get_sizes")
            and len(c.get_sizes())]  # fmt: skip
    assert sum(dots) == 4 * (9 + 8 + 3)  # methods by scans
    labels = [text.get_text() for text in dice.get_yticklabels()]
    assert labels[-1] == "3-D, site 1"
    assert labels[0] == "sct, dcm"
    phases = figures["Figure 3"].figure.axes
    assert [axis.get_title() for axis in phases] == ["phase 1"] * 3 + ["phase 3"] * 3
    assert len(phases[0].collections[0].get_offsets()) == 9
    panel = figures["Figure 4"].figure.axes[0]
    assert panel.get_title(loc="left").startswith("manual: rho ")
    assert len(panel.collections[0].get_offsets()) == 8


def test_a_raincloud_needs_no_density():
    from matplotlib.figure import Figure

    axis = Figure().subplots()
    raincloud(axis, [np.array([1.0, 1.0]), np.array([]), np.array([math.nan])], list("abc"),
              ["k"] * 3)  # fmt: skip
    assert [text.get_text() for text in axis.texts] == ["no values", "no values"]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["c", "b", "a"]
