"""Where patches are cut: by hand, against nnU-Net's rule, and by how often."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score_jax.config import SamplingConfig
from score_jax.data.patches import Member, Patch, choose_patches, in_space, place, read_patches

SIZE = st.integers(1, 40)


def nnunet_bounds(size, patch, shape):
    """``nnUNetDataLoader.get_bbox`` for one axis, written from its description."""
    need = shape - patch
    if need + size < shape:
        need = shape - size
    return -need // 2, size + need // 2 + need % 2 - shape


@settings(deadline=None, max_examples=200)
@given(
    size=SIZE, patch=SIZE, more=st.integers(0, 25), seed=st.integers(0, 99), at=st.integers(0, 39)
)
def test_places_are_nnunets(size, patch, more, seed, at):
    shape = patch + more
    low, high = nnunet_bounds(size, patch, shape)
    rng = np.random.default_rng(seed)
    assert low <= place(size, patch, shape, None, rng) <= high
    centre = at % size
    start = place(size, patch, shape, centre, rng)
    assert start == max(low, centre - shape // 2)
    # the centre lies in the patch that augmentation keeps of the box
    inner = start + (shape - patch) // 2
    if size >= patch and (patch > 2 or more == 0):  # an odd margin is one voxel wider below
        assert inner <= centre < inner + patch


def test_every_place_is_as_likely_as_another():
    rng = np.random.default_rng(0)
    counts = np.bincount([place(10, 6, 8, None, rng) + 1 for _ in range(5000)])
    assert len(counts) == 5  # from -1 to 3: the inner 6 lie anywhere in the 10
    assert counts.min() > 850


@pytest.mark.parametrize(
    ("size", "patch", "shape", "centre", "start"),
    [
        (20, 6, 6, 10, 7),
        (20, 6, 6, 1, 0),  # not below the border
        (20, 6, 6, 19, 16),  # but beyond the upper one
        (20, 6, 10, 1, -2),  # the box hangs over, the patch in its middle does not
        (5, 8, 8, 0, -2),  # a small image
        (5, 8, 8, 4, 0),
    ],
)
def test_places_by_hand(size, patch, shape, centre, start):
    assert place(size, patch, shape, centre, np.random.default_rng(0)) == start


def test_a_small_image_lies_in_the_middle():
    rng = np.random.default_rng(0)
    assert {place(5, 8, 8, None, rng) for _ in range(40)} == {-2, -1}
    assert {place(5, 9, 9, None, rng) for _ in range(40)} == {-2}


def test_space_of_a_slice():
    assert in_space((4, 5, 6), 1) == (4, 5, 6)
    assert [in_space((4, 5), axis) for axis in range(3)] == [(1, 4, 5), (4, 1, 5), (4, 5, 1)]


def chosen(prepared, step, *, seed=0, patch=(6, 7, 8), shape=None, batch=3, share=0.34, **more):
    member = Member(seed, more.pop("cases", prepared.cases), more.pop("rater", None))
    sampling = SamplingConfig(patch=patch, batch=batch, foreground=share)
    axis = more.pop("axis", 2)
    return choose_patches(
        prepared, member, sampling, shape=shape or patch, slice_axis=axis, step=step
    )


def test_a_function_of_seed_and_step(prepared):
    assert chosen(prepared, 7) == chosen(prepared, 7)
    assert chosen(prepared, 7) != chosen(prepared, 8)
    assert chosen(prepared, 7) != chosen(prepared, 7, seed=1)
    drawn = [patch.case for step in range(300) for patch in chosen(prepared, step)]
    counts = [drawn.count(case) for case in prepared.cases]
    assert sum(counts) == 900
    assert min(counts) > 240


@pytest.mark.parametrize(
    ("patch", "axis", "shape"),
    [
        ((6, 7, 8), 2, None),
        ((6, 7, 8), 2, (9, 12, 11)),
        ((6, 7), 2, None),
        ((6, 8), 0, (9, 8)),
        ((7, 8), 1, None),
    ],
)
def test_forced_patches_hold_a_region_and_regions_share(prepared, patch, axis, shape):
    lesions, kept = 0, in_space(patch, axis)
    for step in range(80):
        patches = chosen(prepared, step, patch=patch, axis=axis, shape=shape, batch=1, share=1.0)
        images, masks = read_patches(prepared, patches)
        assert images.shape == (1, *in_space(shape or patch, axis), 2)
        inner = [(n - m) // 2 for n, m in zip(images.shape[1:4], kept, strict=True)]
        middle = masks[0][tuple(slice(s, s + n) for s, n in zip(inner, kept, strict=True))]
        assert middle.any()
        lesions += bool(middle[..., 1].any())
    # the lesion has a few dozen voxels beside some 700 of cord, yet is the centre of half of them
    assert lesions >= 40


@pytest.mark.parametrize(
    ("batch", "share", "forced"), [(2, 0.34, 1), (10, 0.33, 3), (3, 0.0, 0), (4, 0.05, 1)]
)
def test_how_many_are_forced(prepared, batch, share, forced):
    free = chosen(prepared, 0, batch=batch, share=0.0)
    mixed = chosen(prepared, 0, batch=batch, share=share)
    same = batch - forced  # the last ones are forced, so the first are drawn alike
    assert mixed[:same] == free[:same]
    assert len(mixed) == batch
    assert all(a != b for a, b in zip(mixed[same : same + 1], free[same : same + 1], strict=True))


def test_no_region_at_all_lies_anywhere(prepared, monkeypatch):
    sample = prepared["c0"]
    monkeypatch.setattr(sample, "_counts", np.zeros((1, 2), int))
    starts = {chosen(prepared, n, share=1.0, cases=("c0",))[0].starts for n in range(30)}
    assert len(starts) > 20


def test_the_raters_masks(rated):
    case = rated.cases[0]
    whole = rated[case].targets_window((0, 0, 0), rated[case].shape)
    box = dict(case=case, starts=(0, 0, 0), shape=rated[case].shape)
    _, masks = read_patches(rated, [Patch(rater=r, **box) for r in (0, 1, 2, None)])
    np.testing.assert_array_equal(masks[:3], whole)
    np.testing.assert_allclose(masks[3], whole.mean(0), rtol=1e-6)
    assert {round(float(v), 3) for v in np.unique(masks[3])} == {0, 0.333, 0.667, 1}
    drawn = [patch.rater for n in range(100) for patch in chosen(rated, n, rater="any")]
    assert min(np.bincount(drawn)) > 70
    assert {p.rater for n in range(9) for p in chosen(rated, n, rater=1)} == {1}
    assert {p.rater for n in range(9) for p in chosen(rated, n, rater="mean")} == {None}


def test_a_fixed_raters_patches_are_centred_on_what_that_rater_drew(rated, monkeypatch):
    seen = set()
    for case in rated.cases:  # the last rater drew a lesion of three voxels and no cord
        monkeypatch.setattr(rated[case], "_counts", np.array([[5, 0], [5, 4], [0, 3]]))
        monkeypatch.setattr(
            rated[case], "voxel", lambda *which: seen.add(which) or np.array([9, 9, 9])
        )
    chosen(rated, 0, rater=0, batch=60, share=1.0)
    assert seen == {(0, 0, n) for n in range(5)}
    seen.clear()
    chosen(rated, 0, rater=2, batch=60, share=1.0)
    assert seen == {(2, 1, n) for n in range(3)}
    seen.clear()
    chosen(rated, 0, rater="mean", batch=200, share=1.0)
    assert {which[:2] for which in seen} == {(0, 0), (1, 0), (1, 1), (2, 1)}


def test_the_ignored_voxels_come_last(ignoring):
    _, ready = ignoring
    sample = ready["sub-0"]
    patch = Patch("sub-0", 0, (-1, 0, 0), (sample.shape[0] + 2, *sample.shape[1:]))
    _, masks = read_patches(ready, [patch])
    assert masks.shape[-1] == 3
    assert masks[0, 1:-1, :, :2, 2].all()
    assert not masks[0, 0].any()  # beyond the image is background, not ignored
