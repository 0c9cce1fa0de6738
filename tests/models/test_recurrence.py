"""The convolutions of a recurrence: both forms, against loops written out and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_jax.models import recurrence
from score_jax.models.cgru import sweep


@pytest.fixture(params=[True, False], ids=["products", "convolution"])
def form(request, monkeypatch):
    """Each form in turn for kernels over one axis."""
    monkeypatch.setattr(recurrence, "by_products", lambda taps: request.param and len(taps) == 1)


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def by_hand(x, kernel):
    """Cross-correlation along the last axis but one, position by position."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    taps, length = len(kernel), x.shape[-2]
    y = np.zeros((*x.shape[:-1], kernel.shape[-1]))
    for i in range(length):
        for k in range(taps):
            if 0 <= i + k - taps // 2 < length:
                y[..., i, :] += x[..., i + k - taps // 2, :] @ kernel[k]
    return y


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize(("taps", "length"), [(3, 8), (7, 9), (7, 2), (5, 1), (1, 4)])
def test_one_axis_is_the_sum_over_taps(taps, length):
    state, kernel = normal(0, 2, length, 3), normal(1, taps, 3, 4)
    got = jax.jit(lambda s, k: recurrence.convolution_of(k)(s))(state, kernel)
    np.testing.assert_allclose(got, by_hand(state, kernel), atol=1e-5)
    gradient = normal(2, 2, length, 4)
    back = jax.jit(lambda g, k: recurrence.transposed_convolution_of(k)(g))(gradient, kernel)
    # The adjoint: <convolve(x), g> = <x, back(g)> for every x.
    np.testing.assert_allclose(np.vdot(got, gradient), np.vdot(state, back), rtol=1e-4, atol=1e-4)
    basis = np.eye(2 * length * 3).reshape(-1, 2, length, 3)
    adjoint = [np.vdot(by_hand(e, kernel), gradient) for e in basis]
    np.testing.assert_allclose(np.ravel(back), adjoint, atol=1e-5)


@pytest.mark.usefixtures("form")
def test_kernel_gradient_is_the_sum_over_positions():
    x, dy = normal(0, 5, 2, 7, 3), normal(1, 5, 2, 7, 4)
    got = jax.jit(lambda x, dy: recurrence.kernel_gradient(x, dy, (5,)))(x, dy)
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (0, 0), (2, 2), (0, 0)))
    want = [np.einsum("tblc,tbld->cd", padded[:, :, k : k + 7], dy) for k in range(5)]
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "steps", "together"),
    [(192, 192, 4), (192, 190, 2), (384, 7, 1), (10, 6, 6), (0, 5, 5)],
)
def test_blocks_of_steps_divide_the_sweep(rows, steps, together):
    assert recurrence.steps_together(steps, rows) == together


def convolved(x, kernel):
    """Every slice by XLA's own convolution."""
    letters = "HW"[: kernel.ndim - 2]
    return jax.lax.conv_general_dilated(
        x.reshape(-1, *x.shape[2:]),
        kernel,
        (1,) * len(letters),
        "SAME",
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
        precision="highest",
    ).reshape(*x.shape[:-1], -1)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(
    ("space", "reverse", "rows"), [((6,), False, 24), ((6,), True, 24), ((4, 5), True, 1)]
)
def test_the_inputs_convolution_and_its_gradients(monkeypatch, inside, space, reverse, rows):
    """In the loop or before it, in blocks of two steps or of one: as outside it, in one block."""
    monkeypatch.setattr(recurrence, "input_inside", lambda: inside)
    taps, h_taps = (3, 5)[: len(space)], (5, 3)[: len(space)]
    x, probe = normal(0, 4, 2, *space, 2), normal(4, 4, 2, *space, 3)
    h_kernel, kernel, bias = (0.3 * normal(n, *s) for n, s in
        ((1, (*h_taps, 3, 9)), (2, (*taps, 2, 9)), (3, (9,))))  # fmt: skip

    def joined(x, h_kernel, kernel, bias):
        return (sweep(x, h_kernel, reverse, (kernel, bias)) * probe).sum()

    def apart(x, h_kernel, kernel, bias):
        terms = convolved(x, kernel)
        terms = terms + jnp.broadcast_to(bias, terms.shape)
        return (sweep(terms, h_kernel, reverse) * probe).sum()

    arguments, values = (x, h_kernel, kernel, bias), []
    for function, rows_of_a_block in ((joined, rows), (apart, 10_000)):
        monkeypatch.setattr(recurrence, "BLOCK_ROWS_CPU", rows_of_a_block)
        values.append(jax.jit(jax.value_and_grad(function, (0, 1, 2, 3)))(*arguments))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-5), *values)


@pytest.mark.parametrize("reverse", [False, True])
def test_forms_agree_to_1e_5(monkeypatch, reverse):
    terms, kernel = normal(0, 9, 2, 11, 24), 0.2 * normal(1, 7, 8, 24)
    probe = normal(2, 9, 2, 11, 8)
    results = []
    for products in (True, False):
        monkeypatch.setattr(recurrence, "by_products", lambda taps, p=products: p)
        states = jax.jit(lambda t, k: sweep(t, k, reverse))(terms, kernel)
        grads = jax.jit(jax.grad(lambda t, k: (sweep(t, k, reverse) * probe).sum(), (0, 1)))
        results.append((states, *grads(terms, kernel)))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * float(jnp.abs(other).max()))


def test_networks_side_by_side():
    """Members of an ensemble by vmap are each alone."""
    terms, kernels = normal(0, 4, 1, 5, 9), normal(1, 2, 3, 3, 9)
    together = jax.jit(jax.vmap(lambda k: sweep(terms, k, False)))(kernels)
    for got, kernel in zip(together, kernels, strict=True):
        np.testing.assert_allclose(got, sweep(terms, kernel, False), atol=1e-6)
