"""The convolutions of a ConvGRU: one choice of form by platform and shape, equal results.

A state is convolved once a step, so its product is small, and XLA's own convolution packs it
slowly. Over one axis, therefore,

* the state's windows are laid side by side and multiplied once (`_windows`),
* its gradient is one product a tap, whose results are shifted and summed, and
* a kernel's gradient is a product over the windows of a few steps at a time, which stay in the
  cache.

Over two axes `convolution` does all three. On a CPU the input is convolved step by step too, inside
the loop (`input_inside`): its terms, three times the state's size, never go to memory.
Measurements are in docs/performance_notes.md. Slices are ``(t, b, *space, channels)``, kernels
``(*taps, in, out)``, odd, zero padding ``k // 2``.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from score_jax.models import convolution

# Rows of windows in one product of a kernel's gradient. On a CPU they should stay in its cache
# (1.4 MB at 64 channels); elsewhere they should only not fill the memory.
BLOCK_ROWS_CPU, BLOCK_ROWS = 768, 2**17


def by_products(taps: tuple[int, ...]) -> bool:
    """Whether convolutions over these taps are written as matrix products."""
    return len(taps) == 1


def input_inside() -> bool:
    """Whether a step convolves its slice of the input itself, not all slices before the loop.

    It saves memory and its traffic, which is most of what a CPU spends beside products; an
    accelerator would rather have one large convolution.
    """
    return jax.default_backend() == "cpu"


def directions_together() -> bool:
    """Whether the directions of a layer share one loop; on a CPU it gained nothing."""
    return jax.default_backend() != "cpu"


def steps_together(steps: int, rows: int) -> int:
    """How many steps, of `rows` positions each, share one product of a kernel's gradient.

    It divides `steps`, so that blocks need no padding.
    """
    most = BLOCK_ROWS_CPU if jax.default_backend() == "cpu" else BLOCK_ROWS
    fitting = range(1, max(1, min(steps, most // max(rows, 1))) + 1)
    return max(n for n in fitting if steps % n == 0)


def convolution_of(kernel: Float[Array, "*taps c_in c_out"]) -> Callable[[Array], Array]:
    """The convolution of slices ``(*batch, *space, c_in)`` by `kernel`, in a loop or outside."""
    if not by_products(kernel.shape[:-2]):
        return lambda slices: _convolve(slices, kernel)
    taps, c_in, c_out = kernel.shape
    matrix = kernel.reshape(taps * c_in, c_out)
    return lambda slices: _product(_windows(slices, taps), matrix)


def transposed_convolution_of(
    kernel: Float[Array, "*taps c_in c_out"],
) -> Callable[[Array], Array]:
    """What carries a gradient ``(*batch, *space, c_out)`` back to ``(*batch, *space, c_in)``."""
    if not by_products(kernel.shape[:-2]):
        back = convolution.transposed(kernel)
        return lambda gradient: _convolve(gradient, back)
    matrices = [tap.T for tap in kernel]
    middle = len(matrices) // 2

    def convolve(gradient: Array) -> Array:
        total = jnp.zeros((), gradient.dtype)
        for tap, matrix in enumerate(matrices):
            total = total + _shifted(_product(gradient, matrix), middle - tap)
        return total

    return convolve


def _convolve(slices: Array, kernel: Array) -> Array:
    space = slices.shape[-(kernel.ndim - 1) :]
    merged = convolution.convolve(slices.reshape(-1, *space), kernel)
    return merged.reshape(*slices.shape[:-1], kernel.shape[-1])


def kernel_gradient(
    x: Float[Array, "t b *space c_in"],
    dy: Float[Array, "t b *space c_out"],
    taps: tuple[int, ...],
) -> Float[Array, "*taps c_in c_out"]:
    """Gradient of the kernel that convolved `x`, where `dy` is the gradient of the result."""
    if not by_products(taps):
        x, dy = (a.reshape(-1, *a.shape[2:]) for a in (x, dy))
        return convolution.kernel_gradient(x, dy, taps)
    # Channels first: a window of them is then the left factor as the product reads it.
    half, length = taps[0] // 2, x.shape[-2]
    padded = jnp.pad(jnp.moveaxis(x, -1, 0), ((0, 0),) * (x.ndim - 1) + ((half, half),))
    windows = jnp.stack([padded[..., tap : tap + length] for tap in range(taps[0])])
    rows = dy.reshape(-1, dy.shape[-1])
    product = _product(windows.reshape(taps[0] * x.shape[-1], -1), rows)
    return product.reshape(taps[0], x.shape[-1], -1)


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
