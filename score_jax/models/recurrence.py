"""The convolutions of a ConvGRU: one choice of form by platform and shape, equal results.

A state is convolved once a step, so its product is small, and XLA:CPU's own convolution packs it
slowly. Over one axis on a CPU, therefore,

* the state's windows are laid side by side and multiplied once (`_windows`),
* its gradient is one product a tap, whose results are shifted and summed, and
* a kernel's gradient is a product over the windows of a few slices at a time, which stay in the
  cache.

Over two axes, and on an accelerator, XLA's convolution does all three. Measurements are in
docs/performance_notes.md. Slices are ``(t, b, *space, channels)``, kernels ``(*taps, in, out)``,
odd, zero padding ``k // 2``.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from score_jax.models import convolution

BLOCK_ROWS = 1536  # rows of windows in one product of a kernel's gradient: 2 to 3 MB at 64 channels


def by_products(taps: tuple[int, ...]) -> bool:
    """Whether convolutions over these taps are written as matrix products."""
    return len(taps) == 1 and jax.default_backend() == "cpu"


def convolution_of(kernel: Float[Array, "*taps c_in c_out"]) -> Callable[[Array], Array]:
    """The convolution of a state ``(b, *space, c_in)`` by `kernel`, for use in a loop."""
    if not by_products(kernel.shape[:-2]):
        return lambda state: convolution.convolve(state, kernel)
    taps, c_in, c_out = kernel.shape
    matrix = kernel.reshape(taps * c_in, c_out)
    return lambda state: _product(_windows(state, taps), matrix)


def transposed_convolution_of(
    kernel: Float[Array, "*taps c_in c_out"],
) -> Callable[[Array], Array]:
    """What carries a gradient ``(b, *space, c_out)`` back to the state ``(b, *space, c_in)``."""
    if not by_products(kernel.shape[:-2]):
        back = convolution.transposed(kernel)
        return lambda gradient: convolution.convolve(gradient, back)
    matrices = [tap.T for tap in kernel]
    middle = len(matrices) // 2

    def convolve(gradient: Array) -> Array:
        total = jnp.zeros((), gradient.dtype)
        for tap, matrix in enumerate(matrices):
            total = total + _shifted(_product(gradient, matrix), middle - tap)
        return total

    return convolve


@jax.custom_vjp
def convolve_slices(
    x: Float[Array, "t b *space c_in"], kernel: Float[Array, "*taps c_in c_out"]
) -> Float[Array, "t b *space c_out"]:
    """Every slice convolved by `kernel`."""
    merged = convolution.convolve(x.reshape(-1, *x.shape[2:]), kernel)
    return merged.reshape(*x.shape[:-1], kernel.shape[-1])


def _convolve_slices_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return convolve_slices(x, kernel), (x, kernel)


def _convolve_slices_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dx = convolve_slices(dy, convolution.transposed(kernel))
    return dx, kernel_gradient(x, dy, kernel.shape[:-2])


convolve_slices.defvjp(_convolve_slices_forward, _convolve_slices_backward)


def kernel_gradient(
    x: Float[Array, "t b *space c_in"],
    dy: Float[Array, "t b *space c_out"],
    taps: tuple[int, ...],
) -> Float[Array, "*taps c_in c_out"]:
    """Gradient of the kernel that convolved `x`, where `dy` is the gradient of the result."""
    if not by_products(taps):
        x, dy = (a.reshape(-1, *a.shape[2:]) for a in (x, dy))
        return convolution.kernel_gradient(x, dy, taps)
    steps, batch, length, c_in = x.shape
    block = min(steps, max(1, BLOCK_ROWS // (batch * length)))
    x, dy = (_in_blocks(a, block) for a in (x, dy))

    def add(total: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
        windows, gradient = _windows(pair[0], taps[0]), pair[1]
        axes = (0, 1, 2)
        return total + jnp.tensordot(windows, gradient, (axes, axes), precision="highest"), None

    start = jnp.zeros((taps[0] * c_in, dy.shape[-1]), x.dtype)
    return jax.lax.scan(add, start, (x, dy))[0].reshape(taps[0], c_in, -1)


def _in_blocks(x: Array, size: int) -> Array:
    """Slices in groups of `size`; zeros fill the last, which adds nothing to a gradient."""
    missing = -len(x) % size
    x = jnp.pad(x, ((0, missing), *((0, 0),) * (x.ndim - 1)))
    return x.reshape(-1, size, *x.shape[1:])


def _windows(x: Float[Array, "*batch length c"], taps: int) -> Float[Array, "*batch length taps_c"]:
    """The `taps` neighbours of every position side by side; zeros outside."""
    return jnp.concatenate([_shifted(x, tap - taps // 2) for tap in range(taps)], axis=-1)


def _shifted(x: Float[Array, "*batch length c"], by: int) -> Float[Array, "*batch length c"]:
    """``y[i] = x[i + by]`` along the length; zeros come in from outside."""
    length = x.shape[-2]
    by = max(-length, min(by, length))
    kept = x[..., max(by, 0) : length + min(by, 0), :]
    return jnp.pad(kept, ((0, 0),) * (x.ndim - 2) + ((max(-by, 0), max(by, 0)), (0, 0)))


def _product(x: Float[Array, "*rows c_in"], matrix: Float[Array, "c_in c_out"]) -> Array:
    return jnp.dot(x, matrix, precision="highest")
