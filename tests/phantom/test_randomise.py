"""The endless training source: seeded, varied, and its truth lies where the image shows it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_jax.errors import ConfigError
from score_jax.phantom import lesions, randomise, sequences
from score_jax.phantom import tissues as ts
from score_jax.phantom.plane import TRUTH
from score_jax.phantom.randomise import REGIONS, Patches, as_training, scanned, training_batch

# one body, three views: the program that `training_batch` asks for too
SOURCE = Patches(seed=3, shape=(48, 40), spacing_mm=0.8, bodies=1, views=3, contrast="random")
STILL = Patches(
    seed=3, shape=(48, 40), spacing_mm=0.8, bodies=1, views=2, contrast="T2starw", strength=0.0,
    shift_mm=0.0, artefacts=0.0, thickness_mm=(4.0, 4.0),
)  # fmt: skip


@pytest.fixture(scope="module")
def batch():
    return SOURCE.batch(1)


@pytest.fixture(scope="module")
def still():
    return STILL.batch(0)


def test_batches_are_seeded_and_endless(batch):
    np.testing.assert_array_equal(batch.image, SOURCE.batch(1).image)
    first, second = itertools.islice(SOURCE, 2)
    np.testing.assert_array_equal(second.image, batch.image)
    assert (np.asarray(first.image) != np.asarray(second.image)).any()


def test_a_batch_holds_whole_cords_of_a_plausible_size(batch):
    assert batch.image.shape == (3, 48, 40)
    assert batch.truth.shape == (3, len(TRUTH), 48, 40)
    assert np.isfinite(np.asarray(batch.image)).all()
    truth = dict(zip(TRUTH, np.moveaxis(np.asarray(batch.truth), 1, 0), strict=True))
    area = truth["cord"].sum((1, 2)) * 0.64
    assert ((area > 20) & (area < 170)).all()
    np.testing.assert_allclose(truth["gm"] + truth["wm"], truth["cord"], atol=1e-4)
    assert ((np.asarray(batch.thickness_mm) >= 1) & (np.asarray(batch.thickness_mm) <= 10)).all()


def test_views_of_a_body_differ_in_contrast_and_place(batch):
    views = np.asarray(batch.image)[:3].reshape(3, -1)
    assert np.abs(np.corrcoef(views)[np.triu_indices(3, 1)]).max() < 0.95
    places = [np.argwhere(cord > 0.5).mean(0) for cord in np.asarray(batch.truth)[:3, 0]]
    assert np.ptp(places, axis=0).max() > 1


def test_without_strength_the_contrast_is_the_typical_one(still):
    typical = np.asarray(sequences.typical("T2starw").weights)[:, 0]
    truth = dict(zip(TRUTH, np.moveaxis(np.asarray(still.truth), 1, 0), strict=True))
    for image, cord, canal in zip(
        np.asarray(still.image), truth["cord"], truth["canal"], strict=True
    ):
        # means over pixels that are all cord; blur and noise leave a few per cent
        assert image[cord > 0.99].mean() == pytest.approx(typical[ts.WM], rel=0.1)
        # the sac does not fill the canal: its bright half is CSF
        csf = np.percentile(image[(canal > 0.99) & (cord < 0.01)], 90)
        assert csf / image[cord > 0.99].mean() == pytest.approx(1.65, rel=0.15)
        # unshifted: the canal's middle is the patch's
        place = np.argwhere(canal > 0.5).mean(0)
        np.testing.assert_allclose(place, [23.5, 19.5], atol=2.0)


def test_truth_moves_with_the_image(still):
    # the cord is darker than the CSF around it everywhere in T2*w, so its border is an edge
    image, cord = np.asarray(still.image)[0], np.asarray(still.truth)[0, 0]
    canal = np.asarray(still.truth)[0, TRUTH.index("canal")]
    ring = (canal > 0.99) & (cord < 0.01)
    assert np.median(image[ring]) > 1.2 * np.median(image[cord > 0.99])


def test_training_batches_are_normalised_and_binary():
    regions = ("cord", "csf", "lesion", "gm")
    image, masks = training_batch(SOURCE, 4, size=3, regions=regions)
    assert image.shape == (3, 48, 40, 1)
    assert masks.shape == (3, 48, 40, 4)
    assert image.dtype == masks.dtype == np.float32
    np.testing.assert_allclose(image.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(image.std((1, 2, 3)), 1, rtol=1e-5)
    assert set(np.unique(masks)) <= {0.0, 1.0}
    cord, csf, lesion, gm = np.moveaxis(masks, -1, 0)
    assert (cord * csf).sum() == 0
    assert (gm <= cord).all()
    assert (lesion <= cord).all()
    assert csf.sum() > 0
    again, _ = training_batch(SOURCE, 4, size=3, regions=regions)
    np.testing.assert_array_equal(image, again)


def test_a_narrow_scan_is_a_box_that_holds_the_cord():
    truth = np.zeros((40, len(TRUTH), 20, 30), np.float32)
    truth[:20, TRUTH.index("cord"), 2:6, 20:26] = 1  # none in the others
    rng = np.random.default_rng(0)
    assert scanned(truth, 0.0, rng).all()
    where = scanned(truth, 1.0, rng)
    for own in where:
        rows, columns = own.any(1), own.any(0)
        np.testing.assert_array_equal(own, np.outer(rows, columns))
        for side, least in ((rows, 6), (columns, 9)):
            inside = np.flatnonzero(side)
            assert least <= len(inside) == np.ptp(inside) + 1
    assert where[:20, 3, 22].all()
    assert where[20:, 10, 15].all()
    assert 0.1 < where.mean() < 0.7


def test_only_what_was_scanned_counts():
    rng = np.random.default_rng(0)
    image = rng.normal(5, 3, (2, 6, 7))
    truth = np.ones((2, len(TRUTH), 6, 7), np.float32)
    where = np.zeros((2, 6, 7), bool)
    where[0, 1:4, 2:6] = True
    where[1] = True
    out, masks = as_training(image, truth, ("cord",), where)
    assert (out[~where] == 0).all()
    assert (masks[..., 0] == where).all()
    for own, box in zip(out[..., 0], where, strict=True):
        np.testing.assert_allclose([own[box].mean(), own[box].std()], [0, 1], atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Patches(seed=0, narrow=1.5), "narrow 1.5"),
        (lambda: Patches(seed=0, contrast="T9"), "expected one of T2w"),
        (lambda: Patches(seed=0, shape=(4, 4)), "at least 16 pixels"),
        (lambda: Patches(seed=0, strength=1.5), "got strength 1.5"),
        (lambda: Patches(seed=0, spacing_mm=-0.5), "spacing_mm"),
        (lambda: Patches(seed=0, thickness_mm=(5.0, 2.0)), "thickness_mm"),
        (lambda: training_batch(SOURCE, 0, size=2, regions=("brain",)), "got brain; expected some"),
        (lambda: training_batch(SOURCE, 0, size=2, regions=()), "got none"),
        (lambda: training_batch(SOURCE, 0, size=0, regions=("cord",)), "got size 0"),
    ],
)
def test_impossible_sources_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_regions_are_the_truth_and_csf():
    assert (*TRUTH, "csf") == REGIONS


def test_random_lesions_come_as_often_as_asked():
    draw = jax.jit(jax.vmap(lambda k: lesions.random_blobs(k, jnp.asarray(-30.0), 0.25)))
    made = draw(jax.random.split(jax.random.key(0), 2000))
    present = np.asarray(made.half_length) > 0
    assert present[:, 0].mean() == pytest.approx(0.25, abs=0.03)
    assert np.asarray(made.s)[present].min() > -60
    count = present.sum(1)
    # painting counts from the front: no gaps
    np.testing.assert_array_equal(present, np.arange(present.shape[1])[None] < count[:, None])
    radius = np.asarray(made.radius)[:, :6]
    np.testing.assert_array_less(radius[:, 1::2], radius[:, ::2])  # a core is within its lesion


def test_never_asked_never_made():
    made = lesions.random_blobs(jax.random.key(1), jnp.asarray(0.0), 0.0)
    assert not np.asarray(made.half_length).any()


@pytest.mark.parametrize("name", sequences.CONTRASTS)
def test_blend_goes_from_typical_to_drawn(name):
    typical, drawn = sequences.typical(name), sequences.contrast(name, jax.random.key(5))
    for strength, end in ((0.0, typical), (1.0, drawn)):
        mixed = sequences.blend(typical, drawn, strength)
        for a, b in zip(mixed, end, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6)


def test_deformation_by_hand():
    maps = jnp.arange(2 * 8 * 9, dtype=jnp.float32).reshape(2, 8, 9)
    cut = randomise._deform(maps, jnp.array([2.0, 3.0]), (4, 5), 0.0, jax.random.key(0))
    np.testing.assert_allclose(cut, maps[:, 2:6, 3:8], rtol=1e-6)
    half = randomise._deform(maps, jnp.array([2.5, 3.0]), (4, 5), 0.0, jax.random.key(0))
    np.testing.assert_allclose(half, 0.5 * (maps[:, 2:6, 3:8] + maps[:, 3:7, 3:8]), rtol=1e-6)


def test_deformation_moves_all_maps_alike_and_little():
    ramp = jnp.broadcast_to(jnp.arange(40.0)[:, None], (40, 40))
    maps = jnp.stack([ramp, ramp.T, 2 * ramp])
    moved = np.asarray(
        randomise._deform(maps, jnp.array([4.0, 4.0]), (32, 32), 1.2, jax.random.key(2))
    )
    np.testing.assert_allclose(moved[2], 2 * moved[0], rtol=1e-5)
    away = moved[0] - np.arange(4, 36)[:, None]
    assert 0.3 < np.abs(away).max() < 1.7  # the cubic between knots may overshoot their 1.2
    assert np.abs(np.diff(away, axis=0)).max() < 0.35  # nothing folds


def test_metal_swallows_what_is_near_and_spares_the_rest():
    image = jnp.ones((96, 96))
    out = np.asarray(
        randomise._metal(image, jnp.array([48.0, 48.0]), jnp.asarray(1.0), jax.random.key(1))
    )
    assert out.min() < 0.05  # a void
    assert out.max() > 1.1  # and signal piled up beside it
    np.testing.assert_allclose(out[:6], 1, atol=0.05)


def test_mottle_has_the_stated_spread_and_grain():
    keys = jax.random.split(jax.random.key(4), 30)
    made = np.asarray(jax.jit(jax.vmap(lambda k: randomise._mottle((64, 60), k)))(keys))
    assert made.shape == (30, 6, 64, 60)
    spread = made.std((2, 3))
    # .9 a / (2 w sqrt(pi)) with a, w uniform on 0..1, 1..5: mean .9 / 2 / 2 sqrt(pi) * ln(5) / 4
    assert spread.mean() == pytest.approx(0.9 / 4 / np.sqrt(np.pi) * np.log(5) / 4, rel=0.15)
