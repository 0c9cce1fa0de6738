"""The convolutional GRU that sweeps one axis, and the layer that sweeps them all.

Equations: Andermatt et al., MLMI 2016; details as the authors' program computes them (MD-GRU
at 791ee4f): the reset gate scales the *convolved* state, the candidate's bias stays outside it,
and an update gate of 1 keeps the old state.
"""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from score_jax.models import convolution, persistent, recurrence


class ConvGRU(nnx.Module):
    """A GRU whose products are convolutions, run along the first axis of its input.

    With ``x_t`` a slice of the input and ``*`` a convolution over the remaining axes::

        z, r = sigmoid(x_t * Wx_z + b_z + h * Wh_z), the same with Wx_r, b_r, Wh_r
        c    = tanh(x_t * Wx_c + b_c + r (h * Wh_c))
        h    = z h + (1 - z) c

    The three convolutions of a slice share their input, so their kernels are stored side by side
    in the order (z, r, c): ``x_kernel (*taps, in, 3 hidden)``, ``h_kernel (*taps, hidden,
    3 hidden)``, ``bias (3 hidden,)``.

    Args:
      c_in: input channels.
      hidden: hidden channels.
      kernel: taps of the input convolution, one number an axis of the slice.
      kernel_state: taps of the state convolution; as `kernel` by default.
      put_r_back: MD-GRU's option of that name: the reset state ``s = r h`` replaces ``h`` before
        the candidate's convolution and in the blend, ``h = z s + (1 - z) c``.
      rngs: source of the initial weights (Xavier normal; gate biases 1, candidate bias 0).
    """

    def __init__(
        self,
        c_in: int,
        hidden: int,
        *,
        kernel: tuple[int, ...],
        kernel_state: tuple[int, ...] | None = None,
        put_r_back: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        self.put_r_back = put_r_back
        self.x_kernel = nnx.Param(_xavier(rngs.params(), kernel, c_in, hidden))
        self.h_kernel = nnx.Param(_xavier(rngs.params(), kernel_state or kernel, hidden, hidden))
        self.bias = nnx.Param(jnp.concatenate([jnp.ones(2 * hidden), jnp.zeros(hidden)]))

    def __call__(
        self,
        x: Float[Array, "t b *space c_in"],
        *,
        reverse: bool = False,
        drop: "DropConnect | None" = None,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "t b *space hidden"]:
        """Hidden states at every step; `reverse` sweeps from the last slice to the first."""
        return self.sweep(x, *self.weights(drop, key), reverse)

    def weights(
        self, drop: "DropConnect | None", key: PRNGKeyArray | None
    ) -> "tuple[Array, InputWeights]":
        """The state's kernel, and the input's kernel and bias, noisy if there is a key."""
        x_kernel, h_kernel = self.x_kernel[...], self.h_kernel[...]
        if drop is not None and key is not None:
            key_x, key_h = jax.random.split(key)
            x_kernel, h_kernel = drop(x_kernel, key_x), drop(h_kernel, key_h)
        return h_kernel, (x_kernel, self.bias[...])

    def sweep(
        self, x: Array, h_kernel: Array, weights: "InputWeights", reverse: bool = False
    ) -> Array:
        """Hidden states with these weights."""
        if self.put_r_back:
            return sweep_reset_state(_input_terms(x, weights), h_kernel, reverse)
        return sweep(x, h_kernel, reverse, weights)


class DropConnect:
    """Multiplicative noise on recurrent kernels, one draw a call, never at test time.

    Args:
      keep_rate: the reference's ``dropout_rate``, a *keep* rate q in (0, 1].
      bernoulli: mask / q with P(1) = q; otherwise Gaussian N(1, (1 - q) / q), the default.
      candidates: whether the candidate's kernels are noisy too, not only the gates'.

    Source: MD-GRU at 791ee4f; biases and voxel-wise layers are untouched.
    """

    def __init__(
        self, keep_rate: float, *, bernoulli: bool = False, candidates: bool = False
    ) -> None:
        self.keep_rate, self.bernoulli, self.candidates = keep_rate, bernoulli, candidates

    def __call__(
        self, kernel: Float[Array, "*taps c_in c_out"], key: PRNGKeyArray
    ) -> Float[Array, "*taps c_in c_out"]:
        """The noisy kernel; the last third of its outputs belongs to the candidate."""
        if self.keep_rate == 1:
            return kernel
        if self.bernoulli:
            noise = jax.random.bernoulli(key, self.keep_rate, kernel.shape) / self.keep_rate
        else:
            spread = ((1 - self.keep_rate) / self.keep_rate) ** 0.5
            noise = 1 + spread * jax.random.normal(key, kernel.shape, kernel.dtype)
        if self.candidates:
            return kernel * noise
        gates = 2 * kernel.shape[-1] // 3
        return kernel.at[..., :gates].multiply(noise[..., :gates].astype(kernel.dtype))


class MDGRULayer(nnx.Module):
    """ConvGRUs in both directions along every axis; the output is their mean.

    Args:
      c_in: input channels.
      hidden: output channels.
      kernel: taps, one number an axis of the image; the swept axis' own is not used.
      kernel_state: the same for the state convolutions.
      combine: "mean"; or, as some published weights need, "sum" or "concat" (on the channels,
        forward and backward of the first axis first).
      put_r_back: see `ConvGRU`.
      rngs: source of the initial weights.
    """

    def __init__(
        self,
        c_in: int,
        hidden: int,
        *,
        kernel: tuple[int, ...],
        kernel_state: tuple[int, ...] | None = None,
        combine: Literal["mean", "sum", "concat"] = "mean",
        put_r_back: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        self.combine = combine

        def without(axis: int, taps: tuple[int, ...]) -> tuple[int, ...]:
            return taps[:axis] + taps[axis + 1 :]

        self.cells = nnx.List(
            nnx.List(
                ConvGRU(
                    c_in,
                    hidden,
                    kernel=without(axis, kernel),
                    kernel_state=without(axis, kernel_state or kernel),
                    put_r_back=put_r_back,
                    rngs=rngs,
                )
                for _ in ("forward", "backward")
            )
            for axis in range(len(kernel))
        )

    def __call__(
        self,
        x: Float[Array, "b *space c_in"],
        *,
        drop: DropConnect | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "b *space c_out"]:
        keys = [None] * 2 * len(self.cells) if key is None else jax.random.split(key, 2 * x.ndim)
        swept = []
        for axis, directions in enumerate(self.cells):
            slices = jnp.moveaxis(x, 1 + axis, 0)
            for backward, cell in enumerate(directions):
                weights = cell.weights(drop, keys[2 * axis + backward])
                swept.append((cell, slices, weights, bool(backward)))
        run = _together if recurrence.directions_together() else _one_by_one
        parts = [jnp.moveaxis(y, 0, 1 + n // 2) for n, y in enumerate(run(swept))]
        if self.combine == "concat":
            return jnp.concatenate(parts, axis=-1)
        total = sum(parts[1:], start=parts[0])
        return total if self.combine == "sum" else total / len(parts)


InputWeights = tuple[Array, Array]  # kernel (*taps, c_in, 3 hidden) and bias (3 hidden,)
Swept = tuple[ConvGRU, Array, tuple[Array, InputWeights], bool]  # cell, slices, weights, backwards


def _one_by_one(directions: list[Swept]) -> list[Array]:
    """Hidden states of every direction, each in a loop of its own."""
    return [cell.sweep(x, *weights, reverse) for cell, x, weights, reverse in directions]


def _together(directions: list[Swept]) -> list[Array]:
    """The same; directions whose slices have one shape share a loop, as if they were a batch.

    A loop on an accelerator costs its launches, step by step, however little each computes.
    """
    alike: dict[Any, list[int]] = {}
    for number, (_, x, weights, _) in enumerate(directions):
        alike.setdefault((x.shape, *(w.shape for w in jax.tree.leaves(weights))), []).append(number)
    results: dict[int, Array] = {}
    for numbers in alike.values():
        group = [directions[n] for n in numbers]
        xs = jnp.stack([x[::-1] if reverse else x for _, x, _, reverse in group])
        weights = jax.tree.map(lambda *w: jnp.stack(w), *(weights for _, _, weights, _ in group))
        states = jax.vmap(group[0][0].sweep)(xs, *weights)
        for number, y in zip(numbers, states, strict=True):
            results[number] = y[::-1] if directions[number][3] else y
    return [results[n] for n in range(len(directions))]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def sweep(
    x: Float[Array, "t b *space c_in"],
    h_kernel: Float[Array, "*taps hidden three_hidden"],
    reverse: bool,
    weights: InputWeights | None = None,
) -> Float[Array, "t b *space hidden"]:
    """The hidden states of a ConvGRU.

    Args:
      x: input slices; without `weights` their convolved terms, of 3 hidden channels.
      h_kernel: kernel of the state.
      reverse: from the last slice to the first.
      weights: kernel and bias of the input's convolution.

    Its gradient is written by hand. Differentiating the scan would make one filter gradient a
    step; here the backward scan carries nothing but the gradient of the state, and the filters'
    gradients are products over blocks of steps.
    """
    return _forward_scan(x, h_kernel, reverse, weights, save=False)[0]


def _input_terms(x: Array, weights: InputWeights) -> Array:
    kernel, bias = weights
    terms = recurrence.convolution_of(kernel)(x)
    return terms + bias.reshape((1,) * (terms.ndim - 1) + (-1,))


def _forward_scan(
    x: Array, h_kernel: Array, reverse: bool, weights: InputWeights | None, *, save: bool
) -> tuple[Array, tuple[Array, ...]]:
    """States, and what the gradient needs if `save`: both gates, candidate, its convolution."""
    convolve = recurrence.convolution_of(h_kernel)
    inside = weights is not None and recurrence.input_inside()
    if weights is not None and not inside:
        x = _input_terms(x, weights)

    def step(state: Array, inputs: Any) -> tuple[Array, tuple[Array, ...]]:
        terms = inputs
        if inside and weights is not None:
            terms = jnp.split(_input_terms(inputs, weights), 3, axis=-1)
        h_terms = jnp.split(convolve(state), 3, axis=-1)
        keep = jax.nn.sigmoid(terms[0] + h_terms[0])
        reset = jax.nn.sigmoid(terms[1] + h_terms[1])
        candidate = jnp.tanh(terms[2] + reset * h_terms[2])
        state = candidate + keep * (state - candidate)
        return state, (state, *((keep, reset, candidate, h_terms[2]) if save else ()))

    if not inside and persistent.chosen(h_kernel, _kernel_agrees):
        return _by_kernel(x, h_kernel, reverse, save=save)
    start = jnp.zeros((*x.shape[1:-1], h_kernel.shape[-2]), x.dtype)
    # Three arrays, not one: a slice of the channels of what a loop reads keeps XLA:CPU from
    # vectorising the gates (3 to 6 times slower, docs/performance_notes.md).
    inputs = x if inside else jnp.split(x, 3, axis=-1)
    _, (states, *saved) = jax.lax.scan(step, start, inputs, reverse=reverse)
    return states, tuple(saved)


def _sweep_forward(
    x: Array, h_kernel: Array, reverse: bool, weights: InputWeights | None
) -> tuple[Array, tuple[Any, ...]]:
    states, saved = _forward_scan(x, h_kernel, reverse, weights, save=True)
    return states, (None if weights is None else x, h_kernel, weights, states, *saved)


def _sweep_backward(
    reverse: bool, saved: tuple[Any, ...], dy: Array
) -> tuple[Array, Array, InputWeights | None]:
    x, h_kernel, weights, states, *gates = saved
    hidden = states.shape[-1]
    convolve_back = recurrence.transposed_convolution_of(h_kernel)

    def step(carried: Array, inputs: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        dy_t, before_t, keep, reset, candidate, h_candidate = inputs
        d_state = carried + dy_t
        # Gradients of the three pre-activations; the candidate's convolution of the state has its
        # own, because the reset gate scales it.
        d_keep = d_state * (before_t - candidate) * keep * (1 - keep)
        d_candidate = d_state * (1 - keep) * (1 - candidate**2)
        d_reset = d_candidate * h_candidate * reset * (1 - reset)
        d_h_terms = jnp.concatenate([d_keep, d_reset, d_candidate * reset], axis=-1)
        return d_state * keep + convolve_back(d_h_terms), (d_h_terms, d_candidate)

    def block(
        carried: tuple[Array, list[Array]], inputs: tuple[Any, ...]
    ) -> tuple[tuple[Array, list[Array]], Array]:
        """The gradient of some steps: of their input, and summed up to theirs of the weights."""
        d_state, totals = carried
        dy, x, entering, states, gates = inputs
        order = [states[1:], entering[None]] if reverse else [entering[None], states[:-1]]
        before = jnp.concatenate(order)
        parts = (dy, before, *gates)
        if by_kernel:
            order = [a[::-1] for a in parts] if reverse else parts
            d_h_terms, d_candidate = persistent.backward(order, h_kernel)
            if reverse:
                d_h_terms, d_candidate = d_h_terms[::-1], d_candidate[::-1]
        else:
            d_state, (d_h_terms, d_candidate) = jax.lax.scan(
                step, d_state, parts, reverse=not reverse
            )
        d_terms = jnp.concatenate([d_h_terms[..., : 2 * hidden], d_candidate], axis=-1)
        new = [recurrence.kernel_gradient(before, d_h_terms, h_kernel.shape[:-2])]
        dx = d_terms
        if weights is not None:
            new.append(recurrence.kernel_gradient(x, d_terms, weights[0].shape[:-2]))
            new.append(d_terms.sum(tuple(range(d_terms.ndim - 1))))
            dx = recurrence.transposed_convolution_of(weights[0])(d_terms)
        return (d_state, [total + n for total, n in zip(totals, new, strict=True)]), dx

    size = recurrence.steps_together(len(states), states[0, ..., 0].size)
    by_kernel = not recurrence.input_inside() and persistent.chosen(h_kernel, _kernel_agrees)
    if by_kernel:  # it goes through all steps at once
        size = len(states)

    def in_blocks(a: Array) -> Array:
        return a.reshape(-1, size, *a.shape[1:])

    of_block = in_blocks(states)
    zero = jnp.zeros_like(states[:1])
    entering = [of_block[1:, 0], zero] if reverse else [zero, of_block[:-1, -1]]
    parts = (in_blocks(dy), x if x is None else in_blocks(x), jnp.concatenate(entering), of_block)
    parts = (*parts, [in_blocks(gate) for gate in gates])
    totals = [jnp.zeros_like(w) for w in (h_kernel, *(weights or ()))]
    (_, totals), dx = jax.lax.scan(
        block, (jnp.zeros_like(dy[0]), totals), parts, reverse=not reverse
    )
    dx = dx.reshape(-1, *dx.shape[2:])
    return dx, totals[0], None if weights is None else (totals[1], totals[2])


sweep.defvjp(_sweep_forward, _sweep_backward)


def _by_kernel(
    terms: Array, h_kernel: Array, reverse: bool, *, save: bool
) -> tuple[Array, tuple[Array, ...]]:
    """`_forward_scan` as one GPU kernel."""
    order = terms[::-1] if reverse else terms
    states, saved = persistent.forward(jnp.split(order, 3, axis=-1), h_kernel, save=save)
    if reverse:
        return states[::-1], tuple(array[::-1] for array in saved)
    return states, saved


def _kernel_agrees(shape: tuple[int, ...]) -> bool:
    """Whether states and gradients of the GPU kernel are the scan's, to 1e-5 of the largest."""
    rng = np.random.default_rng(0)
    terms = rng.normal(size=(5, 2, persistent.TILE + 3, shape[-1])).astype(np.float32)
    kernel = (0.05 * rng.normal(size=shape)).astype(np.float32)

    def both(terms: Array, kernel: Array) -> tuple[Any, ...]:
        states: Any
        states, back = jax.vjp(lambda t, k: sweep(t, k, False), terms, kernel)
        return states, *back(jnp.cos(states))

    results = []
    for mode in ("unchecked", "off"):
        with persistent.use(mode):
            # lowered and compiled by hand: a plain call would join the program being traced
            results.append(
                jax.jit(lambda *a: both(*a)).lower(terms, kernel).compile()(terms, kernel)
            )
    return all(
        np.allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())
        for got, want in zip(*results, strict=True)
    )


def sweep_reset_state(
    x_terms: Float[Array, "t b *space three_hidden"],
    h_kernel: Float[Array, "*taps hidden three_hidden"],
    reverse: bool,
) -> Float[Array, "t b *space hidden"]:
    """`sweep` with the reset state in place of the state (``put_r_back``).

    Two convolutions a step depend on each other here, so it is slower; its gradient is JAX's own.
    """
    hidden = h_kernel.shape[-2]

    def step(state: Array, terms: Array) -> tuple[Array, Array]:
        pre = terms[..., : 2 * hidden] + convolution.convolve(state, h_kernel[..., : 2 * hidden])
        gates = jax.nn.sigmoid(pre)
        keep, state = gates[..., :hidden], gates[..., hidden:] * state
        candidate = convolution.convolve(state, h_kernel[..., 2 * hidden :])
        candidate = jnp.tanh(terms[..., 2 * hidden :] + candidate)
        state = candidate + keep * (state - candidate)
        return state, state

    start = jnp.zeros((*x_terms.shape[1:-1], hidden), x_terms.dtype)
    return jax.lax.scan(step, start, x_terms, reverse=reverse)[1]


def _xavier(key: Array, taps: tuple[int, ...], c_in: int, hidden: int) -> Array:
    """Xavier normal for the gates (2 hidden outputs) and the candidate (hidden outputs)."""
    size = 1
    for n in taps:
        size *= n
    key_gates, key_candidate = jax.random.split(key)
    gates = (2 / ((c_in + 2 * hidden) * size)) ** 0.5
    candidate = (2 / ((c_in + hidden) * size)) ** 0.5
    return jnp.concatenate(
        [
            gates * jax.random.normal(key_gates, (*taps, c_in, 2 * hidden)),
            candidate * jax.random.normal(key_candidate, (*taps, c_in, hidden)),
        ],
        axis=-1,
    )
