"""The SCORE study's parts by hand: masks, alignment, input, who learns what, frames."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from score_jax.errors import ConfigError, DatasetError
from score_jax.imaging import Volume, save
from score_jax.metrics import dice
from score_jax.study import score_masks, score_measures, score_training
from score_jax.study.score_alignment import Motion, align, moved
from score_jax.study.score_cases import Worked, read_cases, read_masks, write_cases
from score_jax.study.score_input import Issue, issues_frame, read_input
from score_jax.study.score_options import StudyOptions, choices, read_options
from score_jax.study.score_segmenting import consensus, holding_out

# masks ------------------------------------------------------------------------------------------


def lines(*rows):
    """A mask of one slice, drawn: x down, y across."""
    return np.array([[c == "#" for c in row] for row in rows])[..., None]


def test_parts_laid_on_another_grey_matter_go_to_the_nearest():
    ah, ph = lines("#......", "#......"), lines("......#", "......#")
    gc = lines("...#...", ".......")
    gm = lines("#######", "#.....#")
    found = score_masks.divided(gm, {"ah": ah, "ph": ph, "gc": gc})
    assert np.array_equal(found["ah"], lines("##.....", "#......"))  # pixel 1: 1 from ah, 2 from gc
    assert np.array_equal(found["gc"][0, 2:5], lines("###")[0])
    assert np.array_equal(sum(found.values()), gm)  # all of it, once
    none = {name: np.zeros_like(gm) for name in ("ah", "ph", "gc")}
    assert not any(mask.any() for mask in score_masks.divided(gm, none).values())


def test_most_likely_parts():
    shares = {
        "ah": np.array([0.2, 0.1, 0.0]).reshape(3, 1, 1),
        "ph": np.array([0.1, 0.3, 0.0]).reshape(3, 1, 1),
        "gc": np.array([0.0, 0.2, 0.1]).reshape(3, 1, 1),
    }
    likely = score_masks.most_likely(shares)
    assert likely.ravel().tolist() == [0, 1, 2]  # also where background is likelier
    gm = np.array([True, False, True]).reshape(3, 1, 1)
    found = score_masks.divided_as(gm, likely)
    assert {n: m.ravel().tolist() for n, m in found.items()} == {
        "ah": [True, False, False], "ph": [False] * 3, "gc": [False, False, True],
    }  # fmt: skip


def test_white_matter_and_normal_appearing():
    masks = {"cord": lines("####."), "gm": lines(".##.#"), "lesion": lines("##...")}
    found = score_masks.completed(masks)
    assert np.array_equal(found["gm"], lines(".##.."))
    assert np.array_equal(found["wm"], lines("#..#."))
    healthy = score_masks.normal_appearing(found)
    assert sorted(healthy) == ["GM", "SC", "WM"]
    assert np.array_equal(healthy["WM"], lines("...#."))
    assert score_masks.normal_appearing({"cord": masks["cord"]}) == {}
    assert "wm" not in score_masks.completed({"cord": masks["cord"]})


def test_consensus_of_networks():
    votes = {
        "cord": [lines("###."), lines("##.."), lines("##.#")],
        "gm": [lines("#..."), lines("#..#"), lines("...#")],
        "lesion": [lines("#..#"), lines("#..#"), lines("....")],
    }
    likely = {"rater1": np.full((1, 4, 1), 2, np.uint8)}
    found = consensus(votes, likely)
    assert np.array_equal(found["cord"], lines("##.."))
    assert np.array_equal(found["gm"], lines("#..."))  # two voted for the last pixel: no cord there
    assert np.array_equal(found["lesion"], lines("#..."))
    assert np.array_equal(found["gc"], found["gm"])
    assert not found["ah"].any()
    assert consensus({}, {}) == {}
    assert sorted(consensus({"canal": [lines("#")]}, {})) == ["canal"]


# alignment --------------------------------------------------------------------------------------


def ellipse(shape, centre, radii, degrees=0.0):
    x, y = np.indices(shape, dtype=float)
    u, v = x - centre[0], y - centre[1]
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return ((c * u + s * v) / radii[0]) ** 2 + ((c * v - s * u) / radii[1]) ** 2 <= 1


def test_a_known_motion_is_found():
    shape, other = (60, 70), (66, 64)
    fixed = ellipse(shape, (30, 33), (20, 12)), ellipse(shape, (30, 36), (9, 4))
    angle = 8.0
    # the grey matter lies 3 in front of the centre; in the turned scan at the turned place
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    moving = (
        ellipse(other, (35.4, 29.2), (20, 12), angle),
        ellipse(other, (35.4 - 3 * s, 29.2 + 3 * c), (9, 4), angle),
    )
    motion = align(fixed, moving, 1 / 3)
    assert math.degrees(motion.angle) == pytest.approx(angle, abs=0.5)
    laid = [moved(mask, motion, shape) for mask in moving]
    found = [dice(mask, goal) for mask, goal in zip(laid, fixed, strict=True)]
    assert found[0] > 0.97
    assert found[1] > 0.94  # of 107 pixels
    shifted = moved(moving[1], align(fixed, moving, 1 / 3, "centroid"), shape)
    assert dice(shifted, fixed[1]) < found[1] - 0.03  # not turned


def test_what_cannot_be_aligned_stays():
    fixed = ellipse((20, 22), (10, 9), (6, 4)), ellipse((20, 22), (10, 9), (3, 2))
    nothing = np.zeros((20, 22), bool)
    still = Motion(0.0, (0.0, 0.0), (0.0, 0.0))
    assert align(fixed, (nothing, nothing), 0.5) == still
    assert align((nothing, nothing), fixed, 0.5) == still
    assert align(fixed, fixed, 0.5, "none") == still
    assert moved(fixed[0], still, (20, 22)) is fixed[0]
    shift = align(fixed, (np.roll(fixed[0], 2, 0), np.roll(fixed[1], 2, 0)), 0.5, "centroid")
    assert shift.moving[0] - shift.fixed[0] == pytest.approx(2)
    assert np.array_equal(moved(np.roll(fixed[0], 2, 0), shift, (20, 22)), fixed[0])


# options ----------------------------------------------------------------------------------------


def test_options_of_a_scale():
    options, config = read_options(
        "smoke", ["folds=2", "failures.solidity=0.8", "tables.p_remove=0.1", "inter=2-3",
                  "train.optimizer.learning_rate=0.5"], joint=True, seed=9,
    )  # fmt: skip
    assert (options.folds, options.joint, options.inter) == (2, True, "2-3")
    assert options.failures.solidity == 0.8
    assert options.failures.piece == 0.05
    assert options.tables == {"p_remove": 0.1}
    assert (config.seed, config.optimizer.learning_rate, config.model) == (9, 0.5, "mdgru")
    assert read_options("full")[0].subjects == 24
    assert read_options("full")[1].mdgru.hidden == (16, 32, 64)
    named = {choice.option: choice.value for choice in choices(options)}
    assert named["inter"] == "2-3"
    assert named["joint"] == "true"


@pytest.mark.parametrize(
    ("scale", "override", "words"),
    [
        ("tiny", [], "--scale: got 'tiny'; expected one of smoke, small, full"),
        ("smoke", ["fold=2"], "fold: unknown key; did you mean 'folds'?"),
        ("smoke", ["train.steps=2"], "the study sets this itself"),
        ("smoke", ["folds=1"], "expected at least 2, 2, 1 and 1"),
        ("smoke", ["folds"], "expected key=value"),
        ("smoke", ["inter=1-2"], "inter: got '1-2'; expected one of '1-3', '2-3'"),
        ("smoke", ["grid_mm=9.0"], "expected .05 to 2"),
        ("smoke", ["seed.a=1", "folds.a=2"], "unknown key"),
        ("smoke", ["folds=2", "folds.a=2"], "'folds' is a value, not a table"),
    ],
)
def test_bad_options(scale, override, words):
    with pytest.raises(ConfigError) as refused:
        read_options(scale, override)
    assert words in str(refused.value)


# who learns what --------------------------------------------------------------------------------


def worked(subject, group, number=1, drawn=None, slices=3, excluded=()):
    every = tuple(z for z in range(slices) if z not in excluded)
    full = {r: dict.fromkeys(("cord", "gm", "lesion"), every) for r in ("rater1", "rater2")}
    full["rater1"] |= dict.fromkeys(("canal", "ah", "ph", "gc"), every)
    if number > 1:
        full = {"rater1": full["rater1"]}
    return Worked(subject, group, number, f"{subject}_scan-{number}", (4, 5, slices),
                  (1.0, 1.0, 4.0), excluded, full if drawn is None else drawn)  # fmt: skip


PEOPLE = {"HC": ["sub-h1", "sub-h2", "sub-h3"], "MS": ["sub-m1", "sub-m2"]}
SCANS = [
    *(worked(s, "HC", n) for s in PEOPLE["HC"] for n in (1, 2, 3)),
    *(worked(s, "MS") for s in PEOPLE["MS"]),
]
OPTIONS = StudyOptions(raters=("rater1", "rater2"))
ALL = {"cord", "gm", "lesion", "canal", "ah", "ph", "gc"}


def plan(options, name, scans=SCANS, people=PEOPLE):
    target = next(t for t in score_training.targets(options, ALL) if t.name == name)
    cases = score_training.cases_of(target, scans, options)
    return target, cases, *score_training.networks_of(target, cases, options, people)


def test_targets():
    kinds = {t.name: (t.regions, t.raters, t.groups) for t in score_training.targets(OPTIONS, ALL)}
    assert kinds == {
        "tissue": (("cord", "gm"), "all", ("HC", "MS")),
        "lesion": (("lesion",), "all", ("MS",)),
        "canal": (("canal",), "first", ("HC", "MS")),
        "parts": (("ah", "ph", "gc"), "first", ("HC", "MS")),
    }
    joint = dataclasses.replace(OPTIONS, joint=True)
    assert [t.regions for t in score_training.targets(joint, ALL)] == [
        ("cord", "gm", "lesion"), ("canal", "ah", "ph", "gc"),
    ]  # fmt: skip
    few = score_training.targets(OPTIONS, {"cord", "ah", "ph"})
    assert [(t.name, t.regions) for t in few] == [("tissue", ("cord",))]


def test_every_group_rater_and_fold_has_a_network_that_never_sees_its_subjects():
    _, cases, networks, issues = plan(OPTIONS, "tissue")
    # two patients make two folds
    assert [(n.group, n.rater, n.fold) for n in networks] == [
        *(("HC", r, f) for r in ("rater1", "rater2") for f in range(3)),
        *(("MS", r, f) for r in ("rater1", "rater2") for f in range(2)),
    ]
    assert not issues
    scans = {case.id: case.scan for case in cases}
    for network in networks:
        learned = {scans[case].subject for case in network.train}
        assert not learned & set(network.held_out)
        assert {scans[case].group for case in network.train} == {network.group}
        assert all(case.endswith(network.rater) for case in network.train)
    for group in ("HC", "MS"):
        for rater in ("rater1", "rater2"):
            held = [s for n in networks if (n.group, n.rater) == (group, rater) for s in n.held_out]
            assert sorted(held) == PEOPLE[group]  # each once
    for subject in PEOPLE["HC"]:  # all slices of all scans of a subject are held out together
        asked = holding_out(networks, worked(subject, "HC", 2))
        assert [networks[k].rater for k in asked] == ["rater1", "rater2"]
        assert not any(subject in case for k in asked for case in networks[k].train)


@pytest.mark.parametrize(
    ("rescans", "first", "second"),
    [("rater1", 3, 1), ("propagated", 3, 3), ("none", 1, 1)],
)
def test_who_learns_the_rescans(rescans, first, second):
    options = dataclasses.replace(OPTIONS, rescans=rescans)
    _, cases, _, _ = plan(options, "tissue")
    own = [case for case in cases if case.scan.subject == "sub-h1"]
    count = {r: sum(case.rater == r for case in own) for r in options.raters}
    assert count == {"rater1": first, "rater2": second}
    assert {c.drawn_by for c in own if c.rater == "rater2" and c.scan.number > 1} <= {"rater1"}


def test_slices_that_were_not_drawn_are_not_learned():
    scans = [
        worked("sub-h1", "HC", drawn={"rater1": {"cord": (0, 2), "gm": (0, 1, 2)}}),
        worked("sub-h2", "HC", drawn={"rater1": {"cord": (0, 1)}}),
        worked("sub-h3", "HC", drawn={"rater1": {"cord": (), "gm": ()}}),
        worked("sub-h4", "HC"),
    ]
    target = score_training.targets(OPTIONS, ALL)[0]
    found = score_training.cases_of(target, scans, OPTIONS)
    assert [(c.id, c.slices) for c in found if c.rater == "rater1"] == [
        ("sub-h1_scan-1_rater1", (0, 2)), ("sub-h4_scan-1_rater1", (0, 1, 2)),
    ]  # fmt: skip


def test_groups_that_are_too_small_are_named():
    people = {"HC": ["sub-h1"], "MS": ["sub-m1", "sub-m2"]}
    scans = [worked("sub-h1", "HC"), *(worked(s, "MS") for s in people["MS"])]
    scans[1] = worked("sub-m1", "MS", drawn={})
    _, _, networks, issues = plan(OPTIONS, "tissue", scans, people)
    # the only network of two that has a training scan is tested on the person who was not drawn
    assert [(n.rater, n.held_out) for n in networks] == [
        ("rater1", ("sub-m1",)), ("rater2", ("sub-m1",)),
    ]  # fmt: skip
    assert [(i.kind, i.where.partition(", r")[0]) for i in issues] == [
        ("a group of one", "HC: tissue"),
        ("a network without training scans", "tissue, MS"),
        ("a network without training scans", "tissue, MS"),
    ]


def test_a_network_that_learned_the_subject_is_refused():
    bad = score_training.Network("HC", "rater1", 0, ("sub-h1_scan-2_rater1",), ("sub-h1",))
    with pytest.raises(DatasetError, match="was learned by the network"):
        holding_out([bad], worked("sub-h1", "HC"))


# a dataset of a user's ------------------------------------------------------------------------

ROWS = [
    ("sub-a", "HC", "F", "30", "1.4", "n/a", "n/a", "n/a"),
    ("sub-b", "HC", "M", "n/a", "1.5", "n/a", "n/a", "n/a"),
    ("sub-c", "MS", "F", "45", "1.3", "RR", "10", "2.5"),
    ("sub-d", "MS", "F", "old", "1.3", "XX", "9", "n/a"),
    ("sub-e", "MS", "F", "51", "1.3", "PP", "9", "4"),
    ("sub-e", "HC", "F", "51", "1.3", "PP", "9", "4"),
    ("sub-f", "ALS", "F", "51", "1.3", "n/a", "n/a", "n/a"),
    ("sub-g", "HC", "F", "51", "1.3", "n/a", "n/a", "n/a"),
]
HEADER = (
    "participant_id", "group", "sex", "age", "tiv_l", "disease_type", "disease_duration", "edss",
)  # fmt: skip
AFFINE = np.diag([-0.5, 0.5, 4.0, 1.0])  # LAS


def cross(shape, z):
    """A cord of 6 x 4 pixels with 2 x 2 of grey matter, moved with the slice."""
    cord, gm = np.zeros(shape, bool), np.zeros(shape, bool)
    cord[2 + z : 8 + z, 3:7, z] = True
    gm[4 + z : 6 + z, 4:6, z] = True
    return cord, gm


@pytest.fixture
def user(tmp_path):
    """A small BIDS folder with every kind of bad input; shape 12 x 10 x 3, pixels of .5 mm."""
    rng = np.random.default_rng(5)
    shape = (12, 10, 3)
    lines_ = ["\t".join(HEADER), *("\t".join(row) for row in ROWS)]
    (tmp_path / "participants.tsv").write_text("\n".join(lines_) + "\n")
    parts = [cross(shape, z) for z in range(3)]
    cord, gm = (np.logical_or.reduce([p[k] for p in parts]) for k in range(2))
    for subject in "abcdehi":
        for session in ("01", "02") if subject == "a" else ("01",):
            place = f"sub-{subject}/ses-{session}/anat"
            name = f"sub-{subject}_ses-{session}_AMIRA.nii.gz"
            channels = 3 if subject == "i" else 2
            image = rng.normal(100, 10, (*shape, channels)).astype(np.float32)
            like = Volume(image, AFFINE)
            save(tmp_path / place / name, image, like)
            for rater in ("rater1", "rater2")[: 1 if session == "02" else 2]:
                for region, mask in (("cord", cord), ("gm", gm)):
                    drawn = mask.copy()
                    if (subject, rater) == ("b", "rater2"):
                        drawn[..., 1] = False
                    file = f"sub-{subject}_ses-{session}_label-{region}_desc-AMIRA_mask.nii.gz"
                    save(tmp_path / "derivatives" / rater / place / file, drawn, like)
    (tmp_path / "sub-c/ses-01/anat/sub-c_ses-01_AMIRA.json").write_text(
        '{"ExcludedSlices": [0, 7]}'
    )
    return tmp_path


def test_bad_input_is_named_and_the_rest_goes_on(user, tmp_path_factory):
    rows = (user / "participants.tsv").read_text() + "sub-i\tHC\tF\t40\t1.4\tn/a\tn/a\tn/a\n"
    (user / "participants.tsv").write_text(rows)
    options = StudyOptions(grid_mm=0.5)
    given = read_input(user, options)
    assert [scan.name for scan in given.scans] == [
        "sub-a_scan-1", "sub-a_scan-2", "sub-b_scan-1", "sub-c_scan-1", "sub-d_scan-1",
    ]  # fmt: skip
    assert given.of("HC") == ["sub-a", "sub-b"]
    assert given.people["sub-c"] == {
        "group": "MS", "sex": "F", "age": 45.0, "tiv": 1.3, "type": "RR", "duration": 10.0,
        "edss": 2.5,
    }  # fmt: skip
    assert given.people["sub-a"]["type"] == ""
    place = tmp_path_factory.mktemp("scans")
    write_cases(place, given, options, lambda done, total: None)
    scans, more = read_cases(place)
    said = {(i.kind, i.where): i.count for i in (*given.issues, *more)}
    assert said == {
        ("a subject with two groups", "sub-e: HC and MS"): 1,
        ("a subject of neither group", "sub-f: ALS"): 1,
        ("a covariate that means nothing", "sub-d: age old"): 1,
        ("a covariate that means nothing", "sub-d: disease_type XX"): 1,
        ("a rater without a folder", "derivatives/rater3"): 1,
        ("an image of nobody", "sub-h: not in participants.tsv"): 1,
        ("a participant without image", "sub-g"): 1,
        ("an image with other channels", "sub-i_ses-01_AMIRA: 3"): 1,
        ("excluded slices that are not there", "sub-c_ses-01_AMIRA.nii.gz"): 1,
        ("a missing covariate: age", "sub-b, sub-d"): 2,
        ("a missing covariate: disease_type", "sub-d"): 1,
        ("a missing covariate: edss", "sub-d"): 1,
        **{("a compartment nobody drew", r): 1 for r in ("ah", "ph", "gc", "canal", "lesion")},
        ("a slice without a mask", "sub-b_scan-1, rater2: slices 2"): 1,
    }
    assert scans[2].drawn == {
        "rater1": {"cord": (0, 1, 2), "gm": (0, 1, 2)}, "rater2": {"cord": (0, 2), "gm": (0, 2)},
    }  # fmt: skip
    assert scans[3].excluded == (0,)
    assert scans[3].drawn["rater1"]["cord"] == (1, 2)
    frame = issues_frame([Issue("b", "x", "y"), Issue("a", "z", "w", 3)])
    assert frame["what"].tolist() == ["a", "b"]
    assert frame["count"].tolist() == [3, 1]


def test_a_folder_without_anything_to_study(user):
    with pytest.raises(DatasetError, match=r"no mask below derivatives/ of nobody; .*raters="):
        read_input(user, StudyOptions(raters=("nobody",)))
    (user / "participants.tsv").write_text("participant_id\tgroup\nsub-z\tHC\n")
    with pytest.raises(DatasetError, match="no scan that can be used"):
        read_input(user, StudyOptions())
    (user / "participants.tsv").write_text("participant_id\tsex\nsub-a\tF\n")
    with pytest.raises(DatasetError, match="expected participant_id and group"):
        read_input(user, StudyOptions())
    (user / "participants.tsv").unlink()
    with pytest.raises(DatasetError, match=r"participants.tsv: could not be read"):
        read_input(user, StudyOptions())


def test_scans_are_brought_to_the_grid(user, tmp_path_factory):
    place = tmp_path_factory.mktemp("scans")
    options = StudyOptions(grid_mm=0.25)
    given = read_input(user, options)
    write_cases(place, given, options, lambda done, total: None)
    scan = read_cases(place)[0][0]
    assert scan.shape == (24, 20, 3)
    assert scan.spacing == pytest.approx((0.25, 0.25, 4.0))
    cord = read_masks(place, scan)["rater1"]["cord"]
    # an area and a centre stay; x runs to the right now
    assert cord.sum(axis=(0, 1)).tolist() == pytest.approx([96, 96, 96], abs=8)
    x, y = np.argwhere(cord[..., 0]).mean(axis=0)
    assert (24 - 1 - x, y) == pytest.approx((2 * 4.5 + 0.5, 2 * 4.5 + 0.5), abs=0.3)


# frames ---------------------------------------------------------------------------------------


@pytest.fixture
def frames(user, tmp_path_factory):
    options = StudyOptions(grid_mm=0.5, raters=("rater1", "rater2"))
    place, found = tmp_path_factory.mktemp("scans"), tmp_path_factory.mktemp("found")
    given = read_input(user, options)
    write_cases(place, given, options, lambda done, total: None)
    scans = read_cases(place)[0]
    for scan in scans:
        masks = read_masks(place, scan)["rater1"]
        arrays = {f"{r}|{n}": masks[n] for r in options.raters for n in ("cord", "gm")}
        if scan.subject == "sub-d":  # a network that loses the cord in the slice next to the feet
            arrays = {key: mask & (np.arange(3) > 0) for key, mask in arrays.items()}
        np.savez(found / f"{scan.folder}.npz", **arrays)
    return score_measures.measure(scans, place, [found], given.people, options), place


def test_areas_and_pairs_by_hand(frames, tmp_path):
    found, _ = frames
    areas, pairs = found["areas"], found["pairs"]
    own = areas[(areas["subject"] == "sub-a") & (areas["scan"] == 1) & (areas["slice"] == 1)]
    by = {(r.method, r.rater, r.compartment): r.area for r in own.itertuples()}
    assert by["manual", "consensus", "SC"] == 24 * 0.25
    assert by["manual", "2", "WM"] == 20 * 0.25
    assert by["score", "consensus", "GM"] == 4 * 0.25
    assert not any(name == "lesion" for _, _, name in by)
    # only rater 1 drew the second scan: no consensus of it
    second = areas[(areas["subject"] == "sub-a") & (areas["scan"] == 2)]
    assert set(second["rater"][second["method"] == "manual"]) == {"1"}
    kinds = pairs.groupby(["subject", "comparison", "method"]).size()
    assert kinds["sub-a", "intra", "manual"] == 9  # SC, WM, GM of three slices
    assert kinds["sub-a", "intra", "score"] == 9
    assert "inter" not in set(pairs["comparison"])
    same = pairs[pairs["subject"] == "sub-a"]
    assert (same["dsc"] == 1).all()
    assert (same["hd"] == 0).all()
    assert (same["rsd"] == 0).all()
    # rater 2 did not draw the middle slice of sub-b: no area of the two there, no comparison
    b = areas[(areas["subject"] == "sub-b") & (areas["compartment"] == "SC")]
    count = b.groupby(["method", "rater"])["slice"].apply(sorted).to_dict()
    assert count == {
        ("manual", "1"): [1, 2, 3], ("manual", "2"): [1, 3], ("manual", "consensus"): [1, 3],
        ("score", "consensus"): [1, 2, 3],
    }  # fmt: skip
    compared = pairs[(pairs["subject"] == "sub-b") & (pairs["compartment"] == "SC")]
    for comparison in ("interrater", "accuracy"):
        assert sorted(compared["slice"][compared["comparison"] == comparison]) == [1, 3]


def test_slices_that_were_excluded_or_failed(frames):
    found, _ = frames
    slices = found["slices"].set_index(["subject", "scan", "slice"])
    assert slices.loc[("sub-c", 1, 3), "excluded"]  # the file's slice 0 is next to the feet
    assert slices.loc[("sub-c", 1, 3), "excluded_reason"] == "artefact"
    assert not slices.loc[("sub-c", 1, 1), "excluded"]
    # an area that differs and a share of grey matter of 4 / 24 are fine; the empty slice is not
    assert slices.loc[("sub-d", 1, 3), "reasons"] == "a"
    assert slices.loc[("sub-d", 1, 2), "reasons"] == ""
    assert slices["truth_failure"].isna().all()  # nobody knows the truth
    areas, pairs = found["areas"], found["pairs"]
    lost = areas[(areas["subject"] == "sub-d") & (areas["slice"] == 3)]
    assert not lost.loc[lost["method"] == "score", "ok"].any()
    assert lost.loc[lost["method"] == "manual", "ok"].all()
    row = pairs.set_index(["subject", "slice", "comparison", "compartment"]).loc[
        ("sub-d", 3, "accuracy", "SC")
    ]
    assert (row["dsc"], row["ok"]) == (0, False)
    assert row["rsd"] == pytest.approx(141.42, abs=0.01)
    assert row["hd"] == pytest.approx(0.5 * math.hypot(5, 3))  # the box of what was drawn
    c = areas[(areas["subject"] == "sub-c") & (areas["slice"] == 3)]
    assert not c.loc[c["method"] == "score", "ok"].any()
    assert c[c["method"] == "manual"].empty


def test_frames_survive_their_files(frames, tmp_path):
    found, _ = frames
    score_measures.write_frames(tmp_path, found)
    again = score_measures.read_frames(tmp_path)
    assert sorted(again) == ["areas", "pairs", "slices", "subjects"]
    for name, frame in found.items():
        left = again[name].astype(frame.dtypes.to_dict())
        pd.testing.assert_frame_equal(left, frame, check_dtype=False)
    tissue = pd.concat([found["areas"].head(1).assign(tissue="NA", rater="1")] * 2)
    score_measures.write_frames(tmp_path, {**found, "areas": tissue})
    back = score_measures.read_frames(tmp_path)["areas"]
    assert back["tissue"].tolist() == ["NA", "NA"]  # not a missing value
    assert back["rater"].tolist() == ["1", "1"]


def test_the_truth_is_known_where_it_is_drawn(user, tmp_path_factory):
    options = StudyOptions(grid_mm=0.5, raters=("rater1",), truth="rater2")
    place, found = tmp_path_factory.mktemp("scans"), tmp_path_factory.mktemp("found")
    given = read_input(user, options)
    write_cases(place, given, options, lambda done, total: None)
    scan = next(s for s in read_cases(place)[0] if s.subject == "sub-b")
    masks = read_masks(place, scan)["rater1"]
    np.savez(found / f"{scan.folder}.npz", **{f"rater1|{n}": m for n, m in masks.items()})
    read = score_measures.read_scan(scan, place, [found], options)
    assert read.failed is not None
    assert read.failed.tolist() == [False, True, False]  # in the truth the middle slice is empty
    assert {r.method for r in read.readings} == {"manual", "score", "truth"}
    assert read.of("manual", "consensus") is not None  # one rater in all is the consensus
    frames = score_measures.measure([scan], place, [found], given.people, options)
    assert frames["slices"]["truth_failure"].tolist() == [0.0, 1.0, 0.0]
    assert frames["subjects"].loc[0, "group"] == "HC"
    assert math.isnan(frames["subjects"].loc[0, "age"])
    assert math.isnan(frames["subjects"].loc[0, "canal"])
