import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from score_jax.models import MDGRU
from score_jax.models.cgru import DropConnect, sweep

KERNEL = jax.random.normal(jax.random.key(1), (3, 4, 12)) * 0.3
TERMS = jax.random.normal(jax.random.key(2), (5, 2, 7, 12))


def plain_scan(x_terms, h_kernel, reverse):
    """The recurrence as mdgru's equations say it, step by step, differentiated by JAX."""
    states, state = [], jnp.zeros((*x_terms.shape[1:-1], 4))
    order = range(len(x_terms))[::-1] if reverse else range(len(x_terms))
    for t in order:
        padded = jnp.pad(state, ((0, 0), (1, 1), (0, 0)))
        h = sum(padded[:, k : k + state.shape[1]] @ h_kernel[k] for k in range(3))
        z = jax.nn.sigmoid(x_terms[t][..., :4] + h[..., :4])
        r = jax.nn.sigmoid(x_terms[t][..., 4:8] + h[..., 4:8])
        c = jnp.tanh(x_terms[t][..., 8:] + r * h[..., 8:])
        state = z * state + (1 - z) * c
        states.append(state)
    return jnp.stack(states[::-1] if reverse else states)


@pytest.mark.parametrize("reverse", [False, True])
def test_hand_written_gradient_is_autodiffs(reverse):
    probe = jax.random.normal(jax.random.key(3), (5, 2, 7, 4))

    def value(function):
        return lambda x, w: (function(x, w, reverse) * probe).sum()

    forward = jax.jit(lambda: (sweep(TERMS, KERNEL, reverse), plain_scan(TERMS, KERNEL, reverse)))
    np.testing.assert_allclose(*forward(), atol=1e-5)
    got = jax.jit(jax.grad(value(sweep), (0, 1)))(TERMS, KERNEL)
    want = jax.jit(jax.grad(value(plain_scan), (0, 1)))(TERMS, KERNEL)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_every_voxel_sees_the_whole_image():
    model = MDGRU(1, 1, ndim=2, hidden=(3, 3), linear=(3,), kernel=3, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (1, 7, 9, 1))
    seen = jax.jit(jax.grad(lambda x: model(x)[0, 0, 0, 0].sum()))(x)
    assert (np.abs(seen) > 0).all()


def test_dropconnect_noise_has_the_stated_moments():
    kernel = jnp.ones((50, 40, 30))
    gaussian = DropConnect(0.8)(kernel, jax.random.key(0))
    np.testing.assert_allclose(gaussian[..., :20].mean(), 1, atol=0.01)
    np.testing.assert_allclose(gaussian[..., :20].std(), (0.2 / 0.8) ** 0.5, rtol=0.02)
    assert (gaussian[..., 20:] == 1).all()  # the candidate's kernels stay
    bernoulli = DropConnect(0.8, bernoulli=True, candidates=True)(kernel, jax.random.key(0))
    np.testing.assert_allclose(np.unique(bernoulli), [0, 1 / 0.8])
    np.testing.assert_allclose((bernoulli > 0).mean(), 0.8, atol=0.01)
    assert DropConnect(1.0)(kernel, jax.random.key(0)) is kernel


def test_dropconnect_needs_a_key_and_repeats():
    model = MDGRU(1, 2, ndim=2, hidden=(3, 3), linear=(3,), kernel=3, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (1, 5, 6, 1))
    noisy, quiet = jax.jit(lambda k: model(x, key=jax.random.key(k))), jax.jit(lambda: model(x))
    np.testing.assert_array_equal(quiet(), quiet())
    one, same, other = noisy(1), noisy(1), noisy(2)
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-4
    assert np.abs(one - quiet()).max() > 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ndim": 4}, "ndim: got 4; expected 2 or 3"),
        ({"ndim": 2, "linear": (3,)}, "linear: got 1 entries for 3 layers"),
        ({"ndim": 2, "kernel": 4}, "kernel: got 4; expected an odd number"),
        ({"ndim": 3, "kernel": (3, 3)}, "expected an odd number, or 3 of them"),
    ],
)
def test_impossible_networks_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MDGRU(1, 2, rngs=nnx.Rngs(0), **arguments)


def test_published_sizes():
    """Weights of the reference's default networks, as its run printed them."""
    for ndim, channels, classes, count in ((2, 8, 3, 774_905), (3, 1, 2, 8_005_560)):
        model = nnx.eval_shape(
            lambda n=ndim, c=channels, k=classes: MDGRU(c, k, ndim=n, rngs=nnx.Rngs(0))
        )
        assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model))) == count
