"""The loop of a ConvGRU over one axis as one GPU kernel, in place of some kernels a step.

A program of the grid owns one row of the batch and steps through time on its own, so no step
waits for a launch. Slices go through the kernel in tiles of positions; the state of a step is
read back from where it was written, after a barrier among the program's threads. `jax.vmap`
makes the directions of a layer (or the networks of an ensemble) one more axis of the grid.

**It was never run on a GPU**: tests run it in Pallas' interpreter and lower it to Triton. It is
therefore off unless `use` turns it on, and even then each shape is first compared with the plain
scan (`models/cgru.py`), forward and backward; the scan stays where they differ or the kernel
does not compile.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float

TILE = 64  # positions of one product
WARPS = 8
MODES = ("on", "off", "unchecked", "interpret")

_mode: ContextVar[str] = ContextVar("how the recurrence's kernel runs", default="off")


@contextmanager
def use(mode: str = "on") -> Iterator[None]:
    """Trace recurrences as kernels, or not; what `jax.jit` has traced before stays as it is.

    Args:
      mode: ``on``, ``off`` (the default), ``unchecked`` (no comparison with the scan first), or
        ``interpret`` (the same on any platform, for tests).

    Raises:
      ValueError: another word.
    """
    if mode not in MODES:
        raise ValueError(f"mode: got {mode!r}; expected one of {MODES}")
    token = _mode.set(mode)
    try:
        yield
    finally:
        _mode.reset(token)


def chosen(kernel: Float[Array, "*taps hidden three_hidden"], check: Callable[..., bool]) -> bool:
    """Whether the kernel runs a recurrence with these weights: asked for, possible and right.

    `check` compares it with the scan, on arrays of this shape; its answer is remembered.
    """
    mode, hidden = _mode.get(), kernel.shape[-2]
    if mode == "off" or kernel.ndim != 3 or kernel.dtype != jnp.float32:
        return False
    if mode in ("interpret", "unchecked"):
        return True
    # a product of Triton has sides that are powers of two, of at least 16
    possible = hidden >= 16 and hidden & (hidden - 1) == 0
    return possible and jax.default_backend() == "gpu" and _checked(kernel.shape, check)


@functools.cache
def _checked(shape: tuple[int, ...], check: Callable[..., bool]) -> bool:
    try:
        return check(shape)
    except (jax.errors.JaxRuntimeError, NotImplementedError, ValueError):
        return False


def forward(
    terms: Sequence[Float[Array, "t b length hidden"]],
    kernel: Float[Array, "taps hidden three_hidden"],
    *,
    save: bool,
) -> tuple[Array, tuple[Array, ...]]:
    """States ``(t, b, length, hidden)``, and both gates, candidate and its convolution if `save`.

    Args:
      terms: the input's convolved terms of update gate, reset gate and candidate.
      kernel: the state's.
      save: whether the gradient will follow.
    """
    steps, batch, length, hidden = terms[0].shape
    padded, half = -(-length // TILE) * TILE, kernel.shape[0] // 2
    rows = [_rows(term, padded) for term in terms]
    # slot t holds the state before step t between zeros, which the convolution reads outside
    states = jnp.zeros((batch, steps + 1, padded + 2 * half, hidden), terms[0].dtype)
    outputs = [states, *([rows[0]] * 4 if save else [])]
    result = _call(_forward_kernel, length, [*rows, _by_gate(kernel), states], [3], outputs, {4: 0})
    states = result[0][:, 1:, half : half + length]
    return jnp.moveaxis(states, 0, 1), tuple(_steps(saved, length) for saved in result[1:])


def backward(
    inputs: Sequence[Float[Array, "t b length hidden"]],
    kernel: Float[Array, "taps hidden three_hidden"],
) -> tuple[Array, Array]:
    """Gradients of the state's terms ``(t, b, length, 3 hidden)`` and of the candidate's.

    Args:
      inputs: the states' gradient, the state before each step, and the four arrays `forward`
        saved.
      kernel: the state's.
    """
    steps, batch, length, hidden = inputs[0].shape
    padded, half = -(-length // TILE) * TILE, kernel.shape[0] // 2
    rows = [_rows(array, padded) for array in inputs]
    terms = [jnp.zeros((batch, steps, padded + 2 * half, hidden), inputs[0].dtype)] * 3
    carried = jnp.zeros((batch, padded, hidden), inputs[0].dtype)
    back = _by_gate(kernel).swapaxes(-1, -2)
    operands = [*rows, back, *terms, carried]
    aliases = {len(rows) + 1 + n: n for n in range(4)}
    *d_terms, _, d_candidate = _call(
        _backward_kernel, length, operands, [len(rows)], [*terms, carried, rows[0]], aliases
    )
    d_h_terms = jnp.concatenate([d[:, :, half : half + length] for d in d_terms], axis=-1)
    return jnp.moveaxis(d_h_terms, 0, 1), _steps(d_candidate, length)


def _forward_kernel(z, r, c, kernel, _, states, *saved, length: int, wait: Callable[[], None]):
    taps, half = kernel.shape[0], kernel.shape[0] // 2

    def step(t, nothing):
        def tile(number, nothing):
            start = number * TILE
            here = pl.ds(start, TILE)
            h_terms = [jnp.zeros((TILE, z.shape[-1]), z.dtype)] * 3
            for tap in range(taps):
                window = states[t, pl.ds(start + tap, TILE), :]
                h_terms = [h + _dot(window, kernel[tap, g]) for g, h in enumerate(h_terms)]
            keep = jax.nn.sigmoid(z[t, here, :] + h_terms[0])
            reset = jax.nn.sigmoid(r[t, here, :] + h_terms[1])
            candidate = jnp.tanh(c[t, here, :] + reset * h_terms[2])
            state = candidate + keep * (states[t, pl.ds(start + half, TILE), :] - candidate)
            inside = start + jax.lax.broadcasted_iota(jnp.int32, state.shape, 0) < length
            states[t + 1, pl.ds(start + half, TILE), :] = jnp.where(inside, state, 0)
            for place, value in zip(saved, (keep, reset, candidate, h_terms[2]), strict=False):
                place[t, here, :] = value
            return nothing

        jax.lax.fori_loop(0, z.shape[1] // TILE, tile, nothing)
        wait()  # the next step reads the neighbours' states
        return nothing

    jax.lax.fori_loop(0, z.shape[0], step, 0)


def _backward_kernel(
    dy, before, keep, reset, candidate, h_candidate, kernel, *rest, length: int, wait
):
    d_terms, carried, d_candidate = rest[4:7], rest[7], rest[8]
    taps, half, steps = kernel.shape[0], kernel.shape[0] // 2, dy.shape[0]

    def step(number, nothing):
        t = steps - 1 - number

        def gates(number, nothing):
            start = number * TILE
            here, padded = pl.ds(start, TILE), pl.ds(start + half, TILE)
            k, r, c = keep[t, here, :], reset[t, here, :], candidate[t, here, :]
            d_state = carried[here, :] + dy[t, here, :]
            d_c = d_state * (1 - k) * (1 - c * c)
            d_terms[0][t, padded, :] = d_state * (before[t, here, :] - c) * k * (1 - k)
            d_terms[1][t, padded, :] = d_c * h_candidate[t, here, :] * r * (1 - r)
            d_terms[2][t, padded, :] = d_c * r
            d_candidate[t, here, :] = d_c
            carried[here, :] = d_state * k
            return nothing

        def convolution(number, nothing):
            start = number * TILE
            here = pl.ds(start, TILE)
            total = carried[here, :]
            for tap in range(taps):
                window = pl.ds(start + taps - 1 - tap, TILE)
                for gate, d in enumerate(d_terms):
                    total = total + _dot(d[t, window, :], kernel[tap, gate])
            inside = start + jax.lax.broadcasted_iota(jnp.int32, total.shape, 0) < length
            carried[here, :] = jnp.where(inside, total, 0)
            return nothing

        tiles = dy.shape[1] // TILE
        jax.lax.fori_loop(0, tiles, gates, nothing)
        wait()
        jax.lax.fori_loop(0, tiles, convolution, nothing)
        wait()
        return nothing

    jax.lax.fori_loop(0, steps, step, 0)


def _call(kernel, length, operands, shared, outputs, aliases) -> list[Array]:
    """`kernel` for every row of the batch, the first axis of all but the `shared` operands."""

    def whole(array: Array, number: int = -1) -> pl.BlockSpec:
        rank = array.ndim
        if number in shared:
            return pl.BlockSpec(array.shape, lambda _: (0,) * rank)
        return pl.BlockSpec((None, *array.shape[1:]), lambda row: (row, *(0,) * (rank - 1)))

    interpret = _mode.get() == "interpret"
    wait = (lambda: None) if interpret else triton.debug_barrier
    return list(
        pl.pallas_call(
            functools.partial(kernel, length=length, wait=wait),
            out_shape=[jax.ShapeDtypeStruct(a.shape, a.dtype) for a in outputs],
            grid=(operands[0].shape[0],),
            in_specs=[whole(a, n) for n, a in enumerate(operands)],
            out_specs=[whole(a) for a in outputs],
            input_output_aliases=aliases,
            compiler_params=None
            if interpret
            else triton.CompilerParams(num_warps=WARPS, num_stages=1),
            interpret=interpret,
        )(*operands)
    )


def _dot(a: Array, b: Array) -> Array:
    return jnp.dot(a, b, precision="highest", preferred_element_type=a.dtype)


def _by_gate(kernel: Float[Array, "taps hidden three_hidden"]) -> Array:
    """``(taps, 3, hidden, hidden)``."""
    return jnp.stack(jnp.split(kernel, 3, axis=-1), axis=1)


def _rows(array: Float[Array, "t b length hidden"], padded: int) -> Array:
    """``(b, t, padded, hidden)``: what one program reads lies together, in whole tiles."""
    array = jnp.moveaxis(array, 1, 0)
    return jnp.pad(array, ((0, 0), (0, 0), (0, padded - array.shape[2]), (0, 0)))


def _steps(rows: Float[Array, "b t padded hidden"], length: int) -> Array:
    return jnp.moveaxis(rows[:, :, :length], 0, 1)
