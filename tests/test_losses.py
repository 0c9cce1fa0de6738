import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score_jax import losses


def last(array):
    return jnp.asarray(np.moveaxis(array, 1, -1), jnp.float32)


@pytest.fixture(scope="module")
def nnunet(fixtures):
    folder = fixtures / "nnunet/loss"
    return np.load(folder / "loss.npz"), json.loads((folder / "loss.json").read_text())


@pytest.mark.parametrize("batch_dice", [0, 1])
@pytest.mark.parametrize("smooth", [0.0, 1e-5])
@pytest.mark.parametrize("ignore", [0, 1])
def test_dice_bce_is_nnunets(nnunet, batch_dice, smooth, ignore):
    arrays, numbers = nnunet
    name = f"batch_dice={batch_dice},smooth={smooth:g},ignore={ignore}"

    def level(logits, number):
        if ignore:
            both = last(arrays[f"target_ignore{number}"])
            target, mask = both[..., :2], 1 - both[..., 2:]
        else:
            target, mask = last(arrays[f"target{number}"]), None
        return losses.dice_bce(
            logits, target, smooth=smooth, batch_dice=bool(batch_dice), mask=mask
        )

    got = [jax.jit(level, static_argnums=1)(last(arrays[f"logits{n}"]), n) for n in range(4)]
    np.testing.assert_allclose(got, numbers[name]["per_level"], atol=2e-6)
    weights = losses.deep_supervision_weights(4)
    np.testing.assert_allclose(weights, arrays["ds_weights"], atol=1e-7)
    total = sum(w * v for w, v in zip(weights, got, strict=True))
    np.testing.assert_allclose(total, numbers[name]["total_ds"], atol=2e-6)
    if f"grad0/{name}" in arrays.files:
        gradient = jax.grad(lambda x: weights[0] * level(x, 0))(last(arrays["logits0"]))
        want = last(arrays[f"grad0/{name}"])
        np.testing.assert_allclose(gradient, want, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("batch_dice", [0, 1])
def test_dice_ce_is_nnunets(nnunet, batch_dice):
    arrays, numbers = nnunet
    labels = last(arrays["seg_labels"])
    for number, want in enumerate(numbers[f"softmax,batch_dice={batch_dice}"]["per_level"]):
        regions = last(arrays[f"logits{number}"])
        logits = jnp.concatenate([jnp.zeros_like(regions[..., :1]), regions], axis=-1)
        target = losses.nearest(labels, logits.shape[1:-1]) == jnp.arange(3).reshape(1, 1, 1, 1, 3)
        got = losses.dice_ce(logits, target.astype(jnp.float32), batch_dice=bool(batch_dice))
        np.testing.assert_allclose(got, want, atol=2e-6)


def test_nearest_is_torchs(nnunet):
    arrays, _ = nnunet
    for number in range(1, 4):
        want = last(arrays[f"target{number}"])
        got = losses.nearest(last(arrays["target0"]), want.shape[1:-1])
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("name", "generalized", "autoweighted", "scalar"),
    [
        ("dice", False, False, False),
        ("dice_auto", False, True, False),
        ("dice_auto_scalar05", False, True, True),
        ("gdl", True, False, False),
        ("gdl_auto", True, True, False),
        ("gdl_auto_scalar05", True, True, True),
    ],
)
def test_mdgru_family(fixtures, name, generalized, autoweighted, scalar):
    data = np.load(fixtures / "mdgru/h_tf_losses.npz")
    targets = jax.nn.one_hot(data["labels"], 3)
    got = losses.mdgru_dice_ce(
        jnp.asarray(data["logits"]),
        targets,
        labels=data["dice_labels"].tolist(),
        weights=[0.5] if scalar else data["dice_weights"].tolist(),
        generalized=generalized,
        autoweighted=autoweighted,
    )
    np.testing.assert_allclose(got, data[name], atol=1e-5)


def test_dice_by_hand_and_when_empty():
    probabilities = jnp.array([1.0, 0.5, 0, 0]).reshape(1, 4, 1)
    truth = jnp.array([1.0, 0, 1, 0]).reshape(1, 4, 1)
    got = losses.soft_dice(probabilities, truth, smooth=0.0)
    np.testing.assert_allclose(got, 2 * 1 / (1.5 + 2))
    nothing = jnp.zeros((1, 4, 1))
    np.testing.assert_allclose(losses.soft_dice(nothing, nothing), 1.0)
    np.testing.assert_allclose(losses.soft_dice(nothing, nothing, smooth=0.0), 0.0)


def test_weights_of_outputs():
    assert losses.deep_supervision_weights(1) == (1.0,)
    np.testing.assert_allclose(losses.deep_supervision_weights(2), [1, 0])
    np.testing.assert_allclose(losses.deep_supervision_weights(4), [4 / 7, 2 / 7, 1 / 7, 0])


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), batch_dice=st.booleans())
def test_better_logits_lower_loss(seed, batch_dice):
    truth = (jax.random.uniform(jax.random.key(seed), (2, 3, 4, 5, 2)) > 0.5).astype(jnp.float32)
    weak, strong = (scale * (2 * truth - 1) for scale in (1.0, 20.0))
    assert losses.dice_bce(strong, truth, batch_dice=batch_dice) < losses.dice_bce(
        weak, truth, batch_dice=batch_dice
    )
    np.testing.assert_allclose(losses.dice_bce(strong, truth), -1, atol=1e-3)


@pytest.mark.parametrize("beta", [0.5, 0.7])
def test_tversky_by_its_definition(rng, beta):
    p, t = rng.random((2, 2, 3, 4, 2), dtype=np.float32)
    hit, false, missed = (a.sum((0, 1, 2)) for a in (p * t, p * (1 - t), (1 - p) * t))
    want = (hit / (hit + (1 - beta) * false + beta * missed)).mean()
    got = losses.soft_dice(jnp.asarray(p), jnp.asarray(t), smooth=0.0, beta=beta)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_region_weights(rng):
    logits, t = jnp.asarray(rng.normal(size=(2, 3, 4, 2)), jnp.float32), rng.random((2, 3, 4, 2))
    t = jnp.asarray(t > 0.5, jnp.float32)
    both = losses.dice_bce(logits, t)
    np.testing.assert_allclose(losses.dice_bce(logits, t, weights=(2.0, 2.0)), both, rtol=1e-6)
    first = losses.dice_bce(logits[..., :1], t[..., :1])
    np.testing.assert_allclose(losses.dice_bce(logits, t, weights=(3.0, 0.0)), first, rtol=1e-5)
    with pytest.raises(ValueError, match="got 3 for 2"):
        losses.dice_bce(logits, t, weights=(1.0, 1.0, 1.0))


def test_weights_of_classes(rng):
    logits = jnp.asarray(rng.normal(size=(2, 5, 3)), jnp.float32)
    t = jax.nn.one_hot(rng.integers(0, 3, (2, 5)), 3)
    plain, off = losses.dice_ce(logits, t), {"dice_weight": 0.0}
    np.testing.assert_allclose(losses.dice_ce(logits, t, weights=(4.0, 4.0)), plain, rtol=1e-6)
    logs = np.asarray(jax.nn.log_softmax(logits))
    want = -(np.asarray(t) * logs * np.array([1.0, 0.5, 1.5])).sum(-1).mean()
    np.testing.assert_allclose(
        losses.dice_ce(logits, t, weights=(1.0, 3.0), **off), want, rtol=1e-6
    )


def test_focal_by_hand():
    logits, gamma = jnp.array([[[2.0], [-1.0]]]), 2.0
    p = 1 / (1 + np.exp(-np.array([2.0, 1.0])))  # probability of the truth: yes, no
    want = np.mean(-((1 - p) ** gamma) * np.log(p))
    truth = jnp.array([[[1.0], [0.0]]])
    got = losses.dice_bce(logits, truth, gamma=gamma, dice_weight=0.0)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    both = jnp.concatenate([jnp.zeros_like(logits), logits], -1)  # the same as two classes
    classes = jnp.concatenate([1 - truth, truth], -1)
    np.testing.assert_allclose(
        losses.dice_ce(both, classes, gamma=gamma, dice_weight=0.0), want, rtol=1e-5
    )


@pytest.mark.parametrize("kind", ["bce", "ce", "mdgru"])
def test_masked_voxels_do_not_count(rng, kind):
    logits = jnp.asarray(rng.normal(size=(2, 6, 3)), jnp.float32)
    t = jax.nn.one_hot(rng.integers(0, 3, (2, 6)), 3)
    mask = jnp.ones((2, 6, 1)).at[:, 4:].set(0.0)
    loss = {
        "bce": losses.dice_bce,
        "ce": losses.dice_ce,
        "mdgru": lambda x, y, mask=None: losses.mdgru_dice_ce(
            x, y, labels=[0, 1, 2], weights=[0.1, 0.2, 0.3], mask=mask
        ),
    }[kind]
    changed = logits.at[:, 4:].add(7.0)
    np.testing.assert_allclose(loss(logits, t, mask=mask), loss(changed, t, mask=mask), rtol=1e-6)
    if kind != "bce":  # that one sums over regions where there is a mask, as nnU-Net does
        np.testing.assert_allclose(
            loss(logits, t, mask=mask), loss(logits[:, :4], t[:, :4]), rtol=1e-5
        )
