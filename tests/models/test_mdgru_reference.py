"""The numbers of the original MD-GRU (fixtures a to f), at the tolerances of its README."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from score_jax import models
from score_jax.config import OptimizerConfig
from score_jax.interop import mdgru as interop
from score_jax.models.cgru import ConvGRU, MDGRULayer
from score_jax.training import optimizer

from .torch_names import fill_cell, fill_layer, fill_linear, group

RNGS = nnx.Rngs(0)
UNKNOWN = 1e30  # stands where the fixture holds no gradient


def last(x):
    return np.moveaxis(x, 1, -1)


def taps(value, ndim):
    value = [int(v) for v in value]
    return tuple(value * ndim if len(value) == 1 else value)


@pytest.mark.parametrize(
    "name",
    [
        "a_cgru_1dconv_k7",
        "a_cgru_1dconv_kx5_kh3",
        "a_cgru_1dconv_dropconnect",
        "a_cgru_1dconv_dropconnect_candidate",
        "b_cgru_2dconv_k7",
        "b_cgru_2dconv_kx3x5_kh5x3",
    ],
)
def test_cell(fixtures, name):
    data = np.load(fixtures / "mdgru" / f"{name}.npz")
    w = group(data, "w/")
    kx, kh = w["filter_x_gates"].shape[2:], w["filter_h_gates"].shape[2:]
    c_in, hidden = w["filter_x_candidate"].shape[1], w["filter_x_candidate"].shape[0]
    cell = ConvGRU(c_in, hidden, kernel=kx, kernel_state=kh, rngs=RNGS)
    x = jnp.asarray(np.moveaxis(data["x"], 2, -1))
    fill_cell(cell, w)
    got = jax.jit(lambda x: cell(x))(x)
    np.testing.assert_allclose(np.moveaxis(got, -1, 2), data["y"], atol=1e-5)
    backwards = cell(x[::-1], reverse=True)[::-1]
    np.testing.assert_allclose(backwards, got, atol=1e-6)
    if "y_train" in data:
        masks = group(data, "mask/dropconnect_")
        for key, mask in masks.items():
            w["filter_" + key] = w["filter_" + key] * mask
        fill_cell(cell, w)
        np.testing.assert_allclose(np.moveaxis(cell(x), -1, 2), data["y_train"], atol=1e-5)


@pytest.mark.parametrize(
    "name", ["c_mdrnn_2d_k7", "c_mdrnn_2d_k5x3", "c_mdrnn_3d_k357", "c_mdrnn_3d_k7"]
)
def test_layer(fixtures, name):
    data = np.load(fixtures / "mdgru" / f"{name}.npz")
    ndim = data["x"].ndim - 2
    layer = MDGRULayer(
        data["x"].shape[1],
        data["y"].shape[1],
        kernel=taps(data["filter_size_x"], ndim),
        kernel_state=taps(data["filter_size_h"], ndim),
        rngs=RNGS,
    )
    fill_layer(layer, group(data, "w/"))
    np.testing.assert_allclose(
        jax.jit(lambda x: layer(x))(last(data["x"])), last(data["y"]), atol=1e-5
    )


@pytest.mark.parametrize("name", ["c_block_2d", "c_block_3d_noact"])
def test_block(fixtures, name):
    data = np.load(fixtures / "mdgru" / f"{name}.npz")
    ndim, w = data["x"].ndim - 2, group(data, "w/")
    hidden, outputs = w["model.1.weight"].shape[1], w["model.1.weight"].shape[0]
    layer = MDGRULayer(
        data["x"].shape[1], hidden, kernel=taps(data["filter_size_x"], ndim), rngs=RNGS
    )
    linear = nnx.Linear(hidden, outputs, rngs=RNGS)
    fill_layer(layer, w, "model.0.")
    fill_linear(linear, w, "model.1.")
    got = linear(layer(jnp.asarray(last(data["x"]))))
    got = got if name.endswith("noact") else jnp.tanh(got)
    np.testing.assert_allclose(got, last(data["y"]), atol=1e-5)


def network(fixtures, name):
    data = np.load(fixtures / "mdgru" / f"{name}.npz")
    return data, interop.from_torch(group(data, "w/"))


def as_tree(tensors, like):
    """Torch's gradients (or weights) of some tensors in the places of our parameters."""
    model = interop.from_torch({name: tensors.get(name, like[name]) for name in like})
    return models.parameters(model)


@pytest.mark.parametrize(
    ("name", "of"), [("f_grads_2d_8ch", "d_net_2d_8ch"), ("f_grads_3d_small", "e_net_3d_small")]
)
def test_gradients(fixtures, name, of):
    data, model = network(fixtures, of)
    expected = np.load(fixtures / "mdgru" / f"{name}.npz")
    apply, params, labels = models.functional(model), models.parameters(model), data["labels"]

    @jax.jit
    def loss(params, x):
        return optax.softmax_cross_entropy_with_integer_labels(apply(params, x), labels).mean()

    value, (grads, grad_x) = jax.jit(jax.value_and_grad(loss, (0, 1)))(params, last(data["x"]))
    np.testing.assert_allclose(value, expected["loss"], rtol=1e-5)
    bound = 1e-6 + 1e-3 * np.abs(expected["grad_x"]).max()
    np.testing.assert_allclose(grad_x, last(expected["grad_x"]), atol=bound)
    # every tensor by its norm ...
    state = group(data, "w/")
    marked = as_tree({name: np.full_like(v, i) for i, (name, v) in enumerate(state.items())}, state)
    squares = np.zeros(len(state))
    for leaf, owner in zip(jax.tree.leaves(grads), jax.tree.leaves(marked), strict=True):
        owner = np.rint(np.asarray(owner)).astype(int)
        np.add.at(squares, owner.ravel(), np.square(np.asarray(leaf, np.float64)).ravel())
    norm = dict(zip(state, np.sqrt(squares), strict=True))
    names = [str(n) for n in expected["grad_norm_names"]]
    assert set(names) == set(norm)
    want = expected["grad_norms"]
    np.testing.assert_allclose([norm[n] for n in names], want, atol=1e-6 + 1e-3 * want.max())
    # ... and ten of them value by value
    some = group(expected, "grad/")
    tree = as_tree(some, {name: np.full_like(v, UNKNOWN) for name, v in state.items()})
    compared = 0
    for got, want in zip(jax.tree.leaves(grads), jax.tree.leaves(tree), strict=True):
        known = np.asarray(want) != np.float32(UNKNOWN)
        compared += known.sum()
        np.testing.assert_allclose(
            np.asarray(got)[known], np.asarray(want)[known], rtol=1e-3, atol=1e-6
        )
    assert compared == sum(v.size for v in some.values())


def test_adadelta(fixtures):
    """Five steps of the reference's optimiser, through Optax and our builder."""
    data = np.load(fixtures / "mdgru/g_adadelta_2d.npz")
    states = {n: group(data, f"{n}/") for n in ("w0", "w1", "wN")}
    model = interop.from_torch(states["w0"])
    apply, params = models.functional(model), models.parameters(model)
    config = OptimizerConfig(
        kind="adadelta",
        learning_rate=float(data["lr"]),
        momentum=float(data["rho"]),
        schedule="constant",
        warmup_steps=0,
        clip_norm=0.0,
    )
    chain = optimizer.build(config, 5)

    @jax.jit
    def step(params, memory, x, labels):
        def loss(params):
            logits = apply(params, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, memory = chain.update(gradient, memory, params)
        return value, optax.apply_updates(params, updates), memory

    memory, losses = chain.init(params), []
    for number, (x, labels) in enumerate(zip(data["xs"], data["labels"], strict=True)):
        value, params, memory = step(params, memory, last(x), labels)
        losses.append(value)
        if number == 0:
            compare(params, states["w1"])
    compare(params, states["wN"])
    np.testing.assert_allclose(losses, data["losses"], atol=1e-4)


def compare(params, state):
    want = models.parameters(interop.from_torch(state))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), params, want)
