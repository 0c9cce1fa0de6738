"""Convolution in one place: the form is chosen here by platform and shape, results are equal.

XLA's direct form is best on accelerators. On a CPU it is 3 to 9 times slower than oneDNN in 3-D
and its filter gradient of a small kernel slower still (docs/unet_performance_notes.md). There

* ``library`` calls oneDNN inside XLA's program, where jaxlib has it;
* ``over_first_axis`` sums 2-D convolutions over the taps of the first axis, where it does not;
* ``tapwise`` is XLA's own convolution in one or two dimensions.

These three share one gradient: a convolution for the input's, and for the kernel's one product a
tap, a slice at a time.

Arrays are ``(batch, *space, channels)``, kernels ``(*taps, in, out)``; this is
cross-correlation, as every deep-learning framework calls convolution. Odd kernels, zero padding
``k // 2``, so stride 1 keeps the size and stride 2 gives ``ceil(n / 2)``.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_jax.models import onednn

Strides = tuple[int, ...]
Padding = tuple[tuple[int, int], ...]  # zeros before and after each axis

SLAB_BYTES = 2**21  # a larger input is read slice by slice for the kernel's gradient
TINY = 1e-30  # changes no sum it is part of
FEW_CHANNELS = 8  # up to here the taps of a slice are stacked into one product

_forced: ContextVar[str | None] = ContextVar("form of convolutions", default=None)


def convolve(
    x: Float[Array, "b *space c_in"],
    kernel: Float[Array, "*taps c_in c_out"],
    strides: tuple[int, ...] | None = None,
) -> Float[Array, "b *out c_out"]:
    """Convolve with zero padding ``k // 2`` on both sides of every axis.

    Raises:
      ValueError: a kernel with an even number of taps (its centre would be ambiguous).
    """
    taps = kernel.shape[:-2]
    if any(size % 2 == 0 for size in taps):
        raise ValueError(f"kernel: got {taps} taps; expected odd numbers")
    strides = strides or (1,) * len(taps)
    name = _forced.get() or best_form(x, kernel)
    if name == "direct":
        return direct(x, kernel, strides, centred(taps))
    return with_gradients(x, kernel, strides, name)


def best_form(x: Float[Array, "b *space c_in"], kernel: Float[Array, "*taps c_in c_out"]) -> str:
    """Name of the form that is fastest for these arrays on the platform in use."""
    if jax.default_backend() != "cpu" or x.size == 0:
        return "direct"
    if uses_library(x, kernel):
        return "library"
    return "over_first_axis" if kernel.ndim == 5 else "tapwise"


def uses_library(*operands: Array) -> bool:
    """Whether convolutions of these operands are calls of oneDNN, unless a form is forced.

    Not in one dimension, where a loop over time steps calls it too often; not with several
    devices: XLA cannot divide such a call and would copy its whole input to each of them.
    """
    return (
        _forced.get() in (None, "library")
        and all(operand.ndim > 3 and operand.dtype == jnp.float32 for operand in operands)
        and onednn.available()
        and jax.device_count() == 1
    )


@contextmanager
def form(name: str) -> Iterator[None]:
    """Trace every convolution in this form: ``direct`` or a key of `FORMS`.

    For tests, comparisons and exports. What `jax.jit` has traced before keeps the form it has.
    """
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def centred(taps: tuple[int, ...]) -> Padding:
    """Zeros that keep the size at stride 1."""
    return tuple((size // 2, size // 2) for size in taps)


def direct(
    x: Float[Array, "b *space c_in"],
    kernel: Float[Array, "*taps c_in c_out"],
    strides: Strides,
    padding: Padding,
) -> Float[Array, "b *out c_out"]:
    """XLA's own convolution, in any number of dimensions."""
    ndim = kernel.ndim - 2
    space = "DHW"[-ndim:]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
        precision=jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else None,
    )


def over_first_axis(
    x: Float[Array, "b x y z c_in"],
    kernel: Float[Array, "kx ky kz c_in c_out"],
    strides: Strides,
    padding: Padding,
) -> Float[Array, "b x2 y2 z2 c_out"]:
    """A 3-D convolution as 2-D ones: the first axis joins the batch, its taps are summed."""
    batch, taps = x.shape[0], kernel.shape[0]
    padded = jnp.pad(x, ((0, 0), padding[0], (0, 0), (0, 0), (0, 0)))
    out_depth = (padded.shape[1] - taps) // strides[0] + 1
    last = (out_depth - 1) * strides[0] + 1
    slabs = [padded[:, tap : tap + last : strides[0]] for tap in range(taps)]
    if kernel.shape[-2] * taps <= 16:
        # Few input channels: one product over stacked taps instead of several thin ones.
        slabs = [jnp.concatenate(slabs, axis=-1)]
        kernels = [jnp.concatenate(list(kernel), axis=-2)]
    else:
        kernels = list(kernel)
    flat = [slab.reshape(batch * out_depth, *slab.shape[2:]) for slab in slabs]
    pairs = zip(flat, kernels, strict=True)
    total = sum(direct(f, k, strides[1:], padding[1:]) for f, k in pairs)
    assert isinstance(total, jax.Array)
    return total.reshape(batch, out_depth, *total.shape[1:])


FORMS: Mapping[str, Callable[[Array, Array, Strides, Padding], Array]] = {
    "library": onednn.convolve,
    "over_first_axis": over_first_axis,
    "tapwise": direct,
}


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def with_gradients(
    x: Float[Array, "b *space c_in"],
    kernel: Float[Array, "*taps c_in c_out"],
    strides: Strides,
    name: str,
) -> Float[Array, "b *out c_out"]:
    """The form `name` of `FORMS`, differentiated by hand: XLA's own gradients are slow on CPUs."""
    return FORMS[name](x, kernel, strides, centred(kernel.shape[:-2]))


def _forward(
    x: Array, kernel: Array, strides: Strides, name: str
) -> tuple[Array, tuple[Array, Array]]:
    return with_gradients(x, kernel, strides, name), (x, kernel)


def _backward(
    strides: Strides, name: str, saved: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    # The kernel waits for dy: XLA:CPU would turn those of all layers as soon as it can, in the
    # forward pass, and keep the copies until they are needed.
    kernel = kernel + TINY * dy[(0,) * dy.ndim]
    return (
        input_gradient(dy, kernel, strides, x.shape[1:-1], name),
        slabwise_kernel_gradient(x, dy, kernel.shape[:-2], strides),
    )


with_gradients.defvjp(_forward, _backward)


def transposed(kernel: Float[Array, "*taps c_in c_out"]) -> Float[Array, "*taps c_out c_in"]:
    """The kernel that carries gradients of the output back to the input (stride 1)."""
    return jnp.flip(kernel, tuple(range(kernel.ndim - 2))).swapaxes(-1, -2)


def input_gradient(
    dy: Float[Array, "b *out c_out"],
    kernel: Float[Array, "*taps c_in c_out"],
    strides: Strides,
    space: tuple[int, ...],
    name: str,
) -> Float[Array, "b *space c_in"]:
    """Gradient of the input, of size `space`: one convolution of `dy` in the form `name`.

    With stride ``s``, voxel ``s m + r`` of the input met output ``m + t`` through tap
    ``r + k // 2 - s t``: every remainder ``r`` is a group of output channels of a convolution
    over the few ``t``, and the groups become the voxels of a block.
    """
    ndim = len(strides)
    if all(stride == 1 for stride in strides):
        return with_gradients(dy, transposed(kernel), strides, name)
    padding = []
    for axis, (size, stride) in enumerate(zip(kernel.shape[:ndim], strides, strict=True)):
        half = size // 2
        first, last = -(half // stride), (stride - 1 + half) // stride
        tap = np.arange(stride)[None] + half - stride * np.arange(first, last + 1)[:, None]
        before = ((0, 0),) * (2 * axis)
        with_zero = jnp.pad(kernel, (*before, (0, 1), *((0, 0),) * (kernel.ndim - 2 * axis - 1)))
        tap = np.where((tap < 0) | (tap >= size), size, tap)
        kernel = jnp.take(with_zero, tap, 2 * axis)
        padding.append((-first, last))
    # (t, r, t, r, ..., c_in, c_out) -> (t, t, ..., c_out, r, r, ..., c_in)
    order = [*range(0, 2 * ndim, 2), 2 * ndim + 1, *range(1, 2 * ndim, 2), 2 * ndim]
    kernel = kernel.transpose(order)
    c_in = kernel.shape[-1]
    merged = kernel.reshape(*kernel.shape[: ndim + 1], -1)
    blocks = FORMS[name](dy, merged, (1,) * ndim, tuple(padding))
    voxels = _blocks_to_voxels(blocks.reshape(*dy.shape[:-1], *strides, c_in), strides)
    return voxels[(slice(None), *(slice(size) for size in space))]


def kernel_gradient(
    x: Float[Array, "b *space c_in"], dy: Float[Array, "b *space c_out"], taps: tuple[int, ...]
) -> Float[Array, "*taps c_in c_out"]:
    """Gradient of the kernel of a stride-1 convolution with input `x` and output gradient `dy`."""
    strides = (1,) * len(taps)
    if jax.default_backend() == "cpu":
        return slabwise_kernel_gradient(x, dy, taps, strides)
    zeros = jnp.zeros((*taps, x.shape[-1], dy.shape[-1]), x.dtype)
    forward = partial(direct, x, strides=strides, padding=centred(taps))
    (gradient,) = jax.linear_transpose(forward, zeros)(dy)
    return gradient


def slabwise_kernel_gradient(
    x: Float[Array, "b *space c_in"],
    dy: Float[Array, "b *out c_out"],
    taps: tuple[int, ...],
    strides: Strides,
) -> Float[Array, "*taps c_in c_out"]:
    """Gradient of the kernel, one matrix product a tap, over one slice at a time.

    A slice of the input and of the output's gradient stays in the cache for all the products it
    is part of; over the whole volume at once each tap would read both from memory.
    """
    padded = jnp.pad(x, [(0, 0), *centred(taps), (0, 0)])
    product = onednn.contract if uses_library(x, dy) else _contract
    if len(taps) < 3 or x.size * x.dtype.itemsize <= SLAB_BYTES:
        return _tap_products(padded, dy, taps, strides, product)

    def add(total: Array, depth: Array) -> tuple[Array, None]:
        gradient = jax.lax.dynamic_index_in_dim(dy, depth, 1, keepdims=False)
        planes = [
            jax.lax.dynamic_index_in_dim(padded, depth * strides[0] + tap, 1, keepdims=False)
            for tap in range(taps[0])
        ]
        products = [
            _tap_products(plane, gradient, taps[1:], strides[1:], product) for plane in planes
        ]
        return total + jnp.stack(products), None

    start = jnp.zeros((*taps, x.shape[-1], dy.shape[-1]), x.dtype)
    return jax.lax.scan(add, start, jnp.arange(dy.shape[1]))[0]


def _tap_products(
    padded: Array,
    dy: Array,
    taps: tuple[int, ...],
    strides: Strides,
    product: Callable[[Array, Array], Array],
) -> Array:
    c_in, c_out = padded.shape[-1], dy.shape[-1]
    windows = []
    for first in itertools.product(*map(range, taps)):
        ends = [f + (n - 1) * s + 1 for f, n, s in zip(first, dy.shape[1:-1], strides, strict=True)]
        window = jax.lax.slice(padded, (0, *first, 0), (len(padded), *ends, c_in), (1, *strides, 1))
        windows.append(window)
    if c_in <= FEW_CHANNELS:
        windows = [jnp.concatenate(windows, axis=-1)]
    rows = dy.reshape(-1, c_out)
    products = [product(window.reshape(-1, window.shape[-1]), rows) for window in windows]
    return jnp.concatenate(products).reshape(*taps, c_in, c_out)


def _contract(a: Float[Array, "rows m"], b: Float[Array, "rows n"]) -> Float[Array, "m n"]:
    return jnp.tensordot(a, b, ((0,), (0,)), precision="highest")


def upsample(
    x: Float[Array, "b *space c_in"], kernel: Float[Array, "*strides c_in c_out"]
) -> Float[Array, "b *out c_out"]:
    """Transposed convolution whose stride equals its kernel: every voxel becomes a block.

    Blocks do not overlap, so this is one matrix product followed by a rearrangement. The output
    has ``space * strides`` voxels.
    """
    strides = kernel.shape[:-2]
    ndim = len(strides)
    blocks = jnp.tensordot(x, kernel, ((ndim + 1,), (ndim,)), precision="highest")
    return _blocks_to_voxels(blocks, strides)


def _blocks_to_voxels(
    blocks: Float[Array, "b *space_and_strides c"], strides: tuple[int, ...]
) -> Float[Array, "b *out c"]:
    """``(b, x, y, z, sx, sy, sz, c)`` -> ``(b, x sx, y sy, z sz, c)``."""
    ndim = len(strides)
    batch, *space = blocks.shape[: ndim + 1]
    order = [0, *(axis for d in range(ndim) for axis in (1 + d, 1 + ndim + d)), 2 * ndim + 1]
    shape = [size * stride for size, stride in zip(space, strides, strict=True)]
    return blocks.transpose(order).reshape(batch, *shape, blocks.shape[-1])
