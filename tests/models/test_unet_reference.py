"""The numbers of nnU-Net's own networks (fixtures nets/), at the tolerances of their README."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from score_jax import losses, models
from score_jax.config import LossConfig, OptimizerConfig
from score_jax.interop.nnunet_weights import network
from score_jax.models.unet import architecture_options
from score_jax.training import optimizer
from score_jax.training.loop import lowest_head
from score_jax.training.step import total_loss

from .torch_names import group

NAMES = ["plain3d", "resenc3d", "plain2d"]


def last(x):
    return jnp.asarray(np.moveaxis(x, 1, -1), jnp.float32)


@pytest.fixture(params=NAMES)
def case(fixtures, request):
    nets = json.loads((fixtures / "nnunet/nets/nets.json").read_text())[request.param]
    data = np.load(fixtures / f"nnunet/nets/{request.param}.npz")
    config, options = nets["config"], architecture_options(nets["architecture"])

    def build(state):
        return network(state, config["in"], config["out"], options, "fixture")

    return nets, data, build


def test_outputs_and_deep_supervision(case):
    nets, data, build = case
    model = build(group(data, "sd/"))
    sizes = [leaf.size for leaf in jax.tree.leaves(models.parameters(model))]
    assert sum(sizes) == nets["n_parameters"]
    apply, params = jax.jit(models.functional(model)), models.parameters(model)
    alone = apply(params, last(data["x"]))
    np.testing.assert_allclose(alone, last(data["y0"]), atol=1e-4)
    model.deep_supervision = True
    outputs = jax.jit(models.functional(model))(params, last(data["x"]))
    assert len(outputs) == len(nets["ds_shapes"])
    for number, got in enumerate(outputs):
        np.testing.assert_allclose(got, last(data[f"y{number}"]), atol=1e-4)


def test_gradient_and_three_steps_of_sgd(case):
    nets, data, build = case
    start = group(data, "sd/")
    model = build(start)
    model.deep_supervision = True
    apply, params = models.functional(model), models.parameters(model)
    loss = LossConfig(smooth=1e-5, batch_dice=nets["config"]["batch_dice"])
    config = OptimizerConfig(
        kind="sgd",
        learning_rate=0.01,
        momentum=0.99,
        weight_decay=3e-5,
        schedule="constant",
        warmup_steps=0,
        clip_norm=float(nets["config"]["clip"]),
    )
    chain = optimizer.build(config, 3, lowest_head(params))
    targets = last(data["t0"])
    np.testing.assert_allclose(
        losses.deep_supervision_weights(len(nets["ds_shapes"])), data["ds_weights"], atol=1e-7
    )

    @jax.jit
    def step(params, memory):
        value, gradient = jax.value_and_grad(
            lambda p: total_loss(apply(p, last(data["x"])), targets, loss)
        )(params)
        updates, memory = chain.update(gradient, memory, params)
        return value, gradient, optax.apply_updates(params, updates), memory

    memory, values, norms = chain.init(params), [], []
    for number in range(3):
        value, gradient, params, memory = step(params, memory)
        values.append(value)
        norms.append(optax.tree.norm(gradient))
        if number == 0:
            known = group(data, "grad/")  # the lowest head has none
            frozen = nets["parameters_without_gradient"]
            assert set(start) - set(known) == set(frozen)
            wanted = build({n: known.get(n, np.zeros_like(v)) for n, v in start.items()})
            compare(gradient, wanted, 1e-4 * max(np.abs(v).max() for v in known.values()))
    np.testing.assert_allclose(values, data["losses"], atol=1e-5)
    expected = nets["grad_norms_before_clip"]
    np.testing.assert_allclose(norms[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(norms[1:], expected[1:], rtol=2e-3)
    compare(params, build(group(data, "sd3/")), 1e-5)


def compare(params, model, atol):
    want = models.parameters(model)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol), params, want)
