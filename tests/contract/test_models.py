"""One suite over every entry of MODELS: shapes, jit, samples apart, gradients, save and load."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from score_jax import checkpointing, models
from score_jax.arrays.regions import Region
from score_jax.config import ModelSpec

REGIONS = (Region("cord", (1, 2), 1), Region("lesion", (2,), 2))
UNET = {
    "features": (4, 6, 8),
    "kernels": ((1, 3, 3), (3, 3, 3), (3, 3, 3)),
    "strides": ((1, 1, 1), (1, 2, 2), (2, 2, 2)),
    "convs_encoder": (2, 1, 2),
    "convs_decoder": (1, 2),
}
FLAT = {
    "features": (4, 6),
    "kernels": ((3, 3),) * 2,
    "strides": ((1, 1), (2, 2)),
    "convs_encoder": (1, 1),
    "convs_decoder": (1,),
}
MDGRU = {"hidden": (3, 4), "linear": (5,), "kernel": 3}
CASES = {
    "mdgru-2d": ("mdgru", {"ndim": 2, **MDGRU}, (6, 9)),
    "mdgru-3d": ("mdgru", {"ndim": 3, **MDGRU}, (4, 6, 5)),
    "unet-3d": ("unet", UNET, (4, 8, 12)),
    "unet-3d-residual": ("unet", {**UNET, "residual": True}, (4, 8, 12)),
    "unet-2d": ("unet", FLAT, (6, 8)),
}


@pytest.fixture(params=CASES, scope="module")
def case(request):
    kind, options, space = CASES[request.param]
    spec = ModelSpec(
        kind=kind,
        options=options,
        in_channels=2,
        channel_names=("a", "b"),
        regions=REGIONS,
        tile=space,
    )
    model = checkpointing.build_model(spec, seed=3)
    x = jax.random.normal(jax.random.key(0), (3, *space, 2))
    return spec, model, x


def perturbed(params):
    """No weight at a special value: a new residual block would be the identity."""
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(1)
    return jax.tree.unflatten(tree, [p + 0.2 * rng.normal(size=p.shape) for p in leaves])


def test_logits_jitted_are_eager_and_samples_do_not_mix(case):
    _, model, x = case
    apply, params = jax.jit(models.functional(model)), models.parameters(model)
    logits = apply(params, x)
    assert logits.shape == (*x.shape[:-1], 2)
    assert logits.dtype == jnp.float32
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(model(x[1:2]), logits[1:2], atol=1e-4)


def test_gradient_against_finite_differences_and_every_weight_matters(case):
    _, model, x = case
    apply = models.functional(model)
    with jax.enable_x64(True):
        params = perturbed(
            jax.tree.map(lambda p: np.asarray(p, np.float64), models.parameters(model))
        )
        image = np.asarray(x[:1], np.float64)
        rng = np.random.default_rng(2)
        direction = jax.tree.map(lambda p: rng.normal(size=p.shape), params)
        probe = rng.normal(size=(*image.shape[:-1], 2))

        @jax.jit
        def loss(params):
            return (apply(params, jnp.asarray(image)) * probe).mean()

        gradient = jax.jit(jax.grad(loss))(params)
        pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
        analytic = sum(float((g * d).sum()) for g, d in pairs)
        step = 1e-7  # small: leaky ReLUs have kinks
        ahead = loss(jax.tree.map(lambda p, d: p + step * d, params, direction))
        behind = loss(jax.tree.map(lambda p, d: p - step * d, params, direction))
        np.testing.assert_allclose(analytic, float(ahead - behind) / (2 * step), rtol=1e-4)
    flat = jax.tree_util.tree_leaves_with_path(gradient)
    names = [jax.tree_util.keystr(path) for path, leaf in flat if np.abs(leaf).max() < 1e-12]
    # heads of lower resolutions serve deep supervision only; a bias before a norm cancels
    assert [n for n in names if "head" not in n and "bias" not in n] == []


def test_same_seed_same_weights(case):
    spec, model, _ = case
    again = models.parameters(checkpointing.build_model(spec, seed=3))
    other = models.parameters(checkpointing.build_model(spec, seed=4))
    first = checkpointing.weights_sha256(models.parameters(model))
    assert checkpointing.weights_sha256(again) == first
    assert checkpointing.weights_sha256(other) != first


def test_save_and_load(case, tmp_path):
    spec, model, x = case
    checkpointing.save_model(tmp_path / "m", spec, models.parameters(model))
    loaded, (params,) = checkpointing.load_model(tmp_path / "m")
    again = models.functional(nnx.eval_shape(lambda: checkpointing.build_model(loaded)))
    members = jax.tree.map(lambda a, b: jnp.stack([a, b]), params, models.parameters(model))
    both = jax.jit(jax.vmap(again, in_axes=(0, None)))(members, x[:1])  # members under vmap, too
    np.testing.assert_allclose(both[0], both[1], atol=1e-6)
