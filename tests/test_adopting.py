"""What fine-tuning takes over from a model: weights by name and shape, outputs by region name."""

import dataclasses

import jax
import numpy as np
import pytest

from score_jax import models
from score_jax.arrays.regions import Region
from score_jax.checkpointing import adopt
from score_jax.config import ModelSpec, UNetConfig
from score_jax.training.loop import _taken

OPTIONS = {
    "unet": UNetConfig(features=(2, 3, 3)).arguments(),
    "mdgru": {"ndim": 2, "hidden": (2, 3), "linear": (4,), "kernel": 3, "residual": True},
}
# by hand: every weight whose last axis is the outputs, and its sizes in front of it
HEADS = {
    "unet": {
        "decoder.0.head.kernel": (1, 1, 1, 3), "decoder.0.head.bias": (),
        "decoder.1.head.kernel": (1, 1, 1, 2), "decoder.1.head.bias": (),
    },
    "mdgru": {
        "linears.1.kernel": (3,), "linears.1.bias": (), "shortcuts.1.kernel": (4,),
    },
}  # fmt: skip
ORDER = ("cord", "wm", "gm", "lesion", "tail")


def spec_of(kind, *names, exclusive=False, **options):
    regions = tuple(Region(name, (ORDER.index(name) + 1,), n) for n, name in enumerate(names, 1))
    return ModelSpec(
        kind=kind, options=OPTIONS[kind] | options, in_channels=1, channel_names=("T2w",),
        regions=regions, exclusive=exclusive, tile=(4, 4, 4) if kind == "unet" else (4, 4),
    )  # fmt: skip


def weights(spec, seed):
    """Weights of the network's shapes that are all different numbers, by dotted name."""
    from flax import nnx

    network = nnx.eval_shape(
        lambda: models.build(spec.kind, spec.in_channels, spec.out_channels, spec.options)
    )
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jax.numpy.asarray(rng.normal(size=leaf.shape), leaf.dtype),
        models.parameters(network),
    )


def named(tree):
    return {
        ".".join(str(key.key) for key in path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def adopted(spec, other):
    fresh, known = weights(spec, 1), weights(other, 2)
    result = adopt(fresh, spec, known, other)
    return result, named(result.params), named(fresh), named(known)


def assert_the_rest_is_known(kind, now, known):
    assert set(HEADS[kind]) < set(now)
    for name in set(now) - set(HEADS[kind]):
        np.testing.assert_array_equal(now[name], known[name], err_msg=name)


@pytest.mark.parametrize(
    ("kind", "new", "pairs", "exclusive"),
    [  # pairs: new place, old place
        ("unet", ("cord",), [(0, 0)], False),
        ("unet", ("lesion", "cord"), [(0, 1), (1, 0)], False),
        ("unet", ("cord", "wm", "gm", "lesion"), [(0, 0), (3, 1)], False),
        ("unet", ("cord", "tail"), [(0, 0)], False),  # as many, not the same
        ("unet", ("wm", "lesion", "gm"), [(0, 0), (2, 2)], True),
        ("mdgru", ("lesion", "wm", "cord"), [(0, 1), (2, 0)], False),
        ("mdgru", ("wm", "lesion", "gm"), [(0, 0), (2, 2)], True),
    ],
)
def test_outputs_follow_their_names(kind, new, pairs, exclusive):
    old = ("cord", "lesion")
    spec, other = (spec_of(kind, *names, exclusive=exclusive) for names in (new, old))
    result, now, fresh, known = adopted(spec, other)
    assert result.fresh == ()
    assert result.kept == tuple(name for name in new if name in old)
    assert result.new == tuple(name for name in new if name not in old)
    assert_the_rest_is_known(kind, now, known)
    for name, before in HEADS[kind].items():
        assert now[name].shape == (*before, len(new) + exclusive)
        expected = fresh[name].copy()
        for here, there in pairs:
            expected[..., here] = known[name][..., there]
        np.testing.assert_array_equal(now[name], expected, err_msg=name)


@pytest.mark.parametrize(
    ("other", "exclusive"),
    [
        (spec_of("unet", "gm", "wm"), (False, False)),  # nothing in common
        (spec_of("unet", "cord", "lesion"), (True, False)),  # as many outputs, of another kind
        (spec_of("unet", "cord", "lesion"), (False, True)),
        (spec_of("unet", "gm"), (True, True)),  # a background alone is not worth keeping
    ],
)
def test_outputs_of_another_meaning_stay_fresh(other, exclusive):
    own, its = exclusive
    spec = spec_of("unet", "cord", "lesion", exclusive=own)
    other = dataclasses.replace(other, exclusive=its)
    result, now, fresh, known = adopted(spec, other)
    assert set(result.fresh) == set(HEADS["unet"])
    assert (result.kept, result.new) == ((), ("cord", "lesion"))
    assert_the_rest_is_known("unet", now, known)
    for name in HEADS["unet"]:
        np.testing.assert_array_equal(now[name], fresh[name])


def test_a_head_of_another_width_is_not_called_taken_over():
    spec = spec_of("unet", "cord", "lesion")
    other = spec_of("unet", "cord", **UNetConfig(features=(3, 3, 3)).arguments())
    result, now, fresh, _ = adopted(spec, other)
    assert "decoder.1.head.kernel" in result.fresh
    np.testing.assert_array_equal(now["decoder.1.head.kernel"], fresh["decoder.1.head.kernel"])
    assert (result.kept, result.new) == ((), ("cord", "lesion"))


def test_the_line_says_what_was_taken():
    spec, other = spec_of("unet", "cord", "wm"), spec_of("unet", "cord")
    result, now, _, _ = adopted(spec, other)
    count = len(now)
    assert _taken(count, result) == (
        f"started from {count} of {count} tensors of the given model; "
        "regions taken over: cord; new regions: wm"
    )
    few = dataclasses.replace(result, fresh=("a.kernel",), kept=())
    assert _taken(3, few) == (
        "started from 2 of 3 tensors of the given model; new regions: wm; fresh: a.kernel"
    )
