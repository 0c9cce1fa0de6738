"""Instance norm with leaky ReLU: values and the gradient by hand, against autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_jax.models import unet


def plainly(x, scale, bias, slope):
    axes = tuple(range(1, x.ndim - 1))
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    ones = (1,) * (x.ndim - 1)
    y = (x - mean) / jnp.sqrt(variance + 1e-5) * scale.reshape(*ones, -1) + bias.reshape(*ones, -1)
    return jnp.where(y >= 0, y, slope * y)


@pytest.mark.parametrize("slope", [0.01, 1.0])
@pytest.mark.parametrize("shape", [(2, 4, 5, 3), (1, 2, 3, 4, 2)])
def test_value_and_gradient_are_autodiffs(rng, slope, shape):
    x = jnp.asarray(3 * rng.normal(size=shape) + 5, jnp.float32)
    scale, bias = (jnp.asarray(rng.normal(size=shape[-1]), jnp.float32) for _ in range(2))
    probe = jnp.asarray(rng.normal(size=shape), jnp.float32)

    def value(function):
        def total(x, scale, bias):
            y = function(x, scale, bias, slope)
            return (y * probe).sum(), y

        return jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))(x, scale, bias)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * max(1, np.abs(b).max())),
        value(unet.normalised),
        value(plainly),
    )


def test_half_precision_goes_through_float32(rng):
    x = jnp.asarray(rng.normal(size=(1, 4, 5, 3)) + 100, jnp.bfloat16)
    scale, bias = jnp.ones(3, jnp.bfloat16), jnp.zeros(3, jnp.bfloat16)
    dx, *rest = jax.grad(lambda *a: unet.normalised(*a, 0.01).astype(jnp.float32).sum(), (0, 1, 2))(
        x, scale, bias
    )
    assert {a.dtype for a in (dx, *rest)} == {jnp.dtype(jnp.bfloat16)}
    want = plainly(x.astype(jnp.float32), scale.astype(jnp.float32), bias.astype(jnp.float32), 0.01)
    np.testing.assert_allclose(
        unet.normalised(x, scale, bias, 0.01).astype(jnp.float32), want, atol=0.02
    )
