"""The optimiser step: members, parts, precision and the rest change nothing they should not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_jax import checkpointing, losses, models
from score_jax.augment import augment
from score_jax.training import loop
from score_jax.training import step as steps

from .tasks import INTENSITY, MDGRU, UNET, batch_of, make_task


def run_steps(task, count=2, **how):
    """Loss of each step and the state after the last, members first."""
    network = loop._build(task, None, lambda event: None)
    step = steps.make_step(network.apply, network.optimizer, task.config, **how)
    state, seen = network.state, []
    keys = jax.vmap(jax.random.key)(jnp.asarray(task.seeds, jnp.uint32))
    with task.stream(0) as batches:
        for number, (images, masks) in zip(range(count), batches, strict=False):
            each = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)
            state, metrics = step(state, images, masks, each)
            seen.append(np.asarray(metrics["loss"]))
    return np.array(seen), state


@pytest.fixture(scope="module", params=[UNET, MDGRU], ids=["unet", "mdgru"])
def base(request):
    return request.param


@pytest.fixture(scope="module")
def alone(base):
    return {seed: run_steps(make_task(base, seeds=(seed,))) for seed in (3, 4)}


@pytest.mark.parametrize("form", ["in turn", "in one program", "vmap"])
def test_each_member_learns_as_if_alone(base, alone, form, monkeypatch):
    if form != "in turn":
        monkeypatch.setattr(steps, "_one_after_another", lambda member: in_one_program(member))
        monkeypatch.setattr(steps, "in_order", lambda: form != "vmap")
    got, state = run_steps(make_task(base, seeds=(3, 4)))
    for member, seed in enumerate((3, 4)):
        want, after = alone[seed]
        tolerance = 0 if form == "in turn" else 2e-5  # the very same program, or another
        np.testing.assert_allclose(got[:, member], want[:, 0], atol=tolerance)
        own = jax.tree.map(lambda a, m=member: a[m], state.params)
        alike = jax.tree.map(lambda a, b: float(jnp.abs(a - b[0]).max()), own, after.params)
        assert max(jax.tree.leaves(alike)) <= 50 * tolerance
    assert not np.allclose(got[:, 0], got[:, 1], atol=1e-3)


def in_one_program(member):
    return jax.jit(lambda *arguments: steps.over_members(member, *arguments))


def test_masks_come_as_bytes_or_as_numbers(base, alone):
    task = make_task(base, seeds=(3,))
    network = loop._build(task, None, lambda event: None)
    step = steps.make_step(network.apply, network.optimizer, task.config)
    key = jax.random.fold_in(jax.random.key(3), 0)[None]
    with task.stream(0) as batches:
        images, masks = next(iter(batches))
    assert masks.dtype == np.uint8
    _, metrics = step(network.state, images, masks.astype(np.float32), key)
    assert metrics["loss"] == alone[3][0][0]


def test_the_step_learns_what_augmentation_makes_of_images_and_masks():
    """Masks that stay where the images move would give another loss."""
    off = [f"augment.{name}.probability=0.0" for name in INTENSITY[1:]]
    on = ("augment.enabled=true", "augment.mirror_axes=[0, 2]", "augment.noise.probability=1.0")
    task, still = make_task(UNET, *off, *on, seeds=(3,)), make_task(UNET, seeds=(3,))
    (got,), _ = run_steps(task, 1)
    key = jax.random.fold_in(jax.random.key(3), 0)
    images, masks = (jnp.asarray(part, jnp.float32) for part in batch_of(task.config, 3, 0))
    patch, drawn = task.config.sampling.patch, jax.random.split(key)[0]
    changed = augment(drawn, images, masks, task.config.augment, patch)
    assert (changed[1] != masks).any()
    network = loop._build(still, None, lambda event: None)
    step = steps.make_step(network.apply, network.optimizer, still.config)
    _, metrics = step(network.state, *(part[None] for part in changed), key[None])
    np.testing.assert_allclose(got, metrics["loss"], rtol=1e-5)


@pytest.mark.parametrize(
    ("more", "off"),
    [
        # three stages have two outputs, and the lower weighs nothing
        (
            (*UNET, "unet.features=[2, 3, 4, 4]", "sampling.patch=[8, 8, 16]"),
            "unet.deep_supervision",
        ),
        ((*MDGRU, "augment.enabled=false"), "mdgru.keep_rate"),
    ],
    ids=["deep supervision", "DropConnect"],
)
def test_a_part_that_is_switched_off_is_missed(more, off):
    value = "1.0" if off.endswith("rate") else "false"
    (on,), _ = run_steps(make_task(more), 1)
    (without,), _ = run_steps(make_task(more, f"{off}={value}"), 1)
    assert abs(on - without) > 1e-4


def test_parts_of_a_batch_add_up(base):
    plain = ("augment.enabled=false", "mdgru.keep_rate=1.0", "loss.batch_dice=false")
    whole, a = run_steps(make_task(base, *plain, "sampling.batch=4"), 1)
    parts, b = run_steps(make_task(base, *plain, "sampling.batch=4", "compute.accumulate=2"), 1)
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    difference = jax.tree.map(lambda x, y: float(jnp.abs(x - y).max()), a.params, b.params)
    assert max(jax.tree.leaves(difference)) < 1e-3


def test_remat_computes_the_same(base, alone):
    got, _ = run_steps(make_task(base, "compute.remat=true", seeds=(3,)))
    np.testing.assert_allclose(got, alone[3][0], atol=1e-5)
    task = make_task(base, "compute.remat=true")
    network = loop._build(task, None, lambda event: None)
    step = steps.make_step(network.apply, network.optimizer, task.config)
    with task.stream(0) as batches:
        batch = next(iter(batches))
    keys = jax.random.split(jax.random.key(0), 1)
    text = str(jax.make_jaxpr(step)(network.state, *batch, keys))
    assert "remat" in text or "checkpoint" in text


def test_half_precision_stays_near(base, alone):
    got, state = run_steps(make_task(base, "compute.precision=bfloat16", seeds=(3,)))
    want, after = alone[3]
    assert 0 < np.abs(got - want).max() < 0.03
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    near = partial(np.testing.assert_allclose, atol=0.05)
    jax.tree.map(near, state.params, after.params)


def test_average_of_the_weights():
    task = make_task(UNET, "weights_ema=0.75")
    start = loop._build(task, None, lambda event: None).state.params
    _, once = run_steps(task, 1)
    _, twice = run_steps(task, 2)
    jax.tree.map(
        lambda p0, p1, p2, mean: np.testing.assert_allclose(
            mean, 0.75 * (0.75 * p0 + 0.25 * p1) + 0.25 * p2, atol=1e-6
        ),
        start,
        once.params,
        twice.params,
        twice.average,
    )
    assert twice.weights is twice.average
    assert once._replace(average=()).weights is once.params


@pytest.mark.parametrize("kind", ["dice_bce", "dice_ce", "generalized_dice_ce"])
def test_ignored_voxels_have_no_say(kind, rng):
    config = make_task(UNET, f"loss.kind={kind}").config.loss
    channels = 2 if kind == "dice_bce" else 3
    sizes = ((4, 6, 8), (2, 3, 4), (1, 2, 2))
    outputs = tuple(
        jnp.asarray(rng.normal(size=(2, *size, channels)), jnp.float32) for size in sizes
    )
    targets = jnp.asarray(rng.random((2, *sizes[0], 2)) > 0.5, jnp.float32)
    mask = jnp.ones((2, *sizes[0], 1)).at[:, :, :3].set(0.0)

    def loss(change):
        moved = tuple(o.at[:, :, : (o.shape[2] + 1) // 2].add(change) for o in outputs[:1])
        return steps.total_loss((*moved, *outputs[1:]), targets, config, mask)

    assert loss(0.0) == loss(9.0)
    assert loss(0.0) != steps.total_loss(outputs, targets, config)


def test_ignore_is_the_last_channel_of_the_masks():
    plain, _ = run_steps(make_task(UNET, seeds=(3,)), 1)
    task = make_task(UNET, seeds=(3,), ignore=True)
    got, _ = run_steps(task, 1, ignore=True)  # nothing is ignored: only BCE's divisor differs
    _, masks = batch_of(task.config, 3, 0, ignore=True)
    assert masks.shape[-1] == 3
    assert np.isfinite(got).all()
    assert got[0, 0] > plain[0, 0]


def test_classes_by_hand():
    targets = jnp.array([[[0.0, 0], [1, 0], [1, 1], [0, 1]]])
    want = [[[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]]
    np.testing.assert_array_equal(steps.classes(targets), want)
    soft = steps.classes(jnp.array([[[0.5, 0.25]]]))
    np.testing.assert_allclose(soft.sum(-1), 1)


def test_the_lowest_head_is_frozen():
    task = make_task(UNET)
    network = loop._build(task, None, lambda event: None)
    before = jax.tree.map(jnp.copy, network.state.params)
    _, after = run_steps(task)
    same = jax.tree.map(lambda a, b: bool((a == b).all()), before, after.params)
    frozen = loop.lowest_head(models.parameters(checkpointing.build_model(task.spec)))
    assert jax.tree.leaves(frozen) == jax.tree.leaves(same)
    assert losses.deep_supervision_weights(2)[-1] == 0
