"""oneDNN's convolution and matrix product, which jaxlib carries for CPUs but does not offer.

XLA:CPU can run two operations of oneDNN, the library behind PyTorch's CPU convolutions: they are
custom calls inside one program, on XLA's own threads. In jaxlib 0.10 the pass that would insert
them is compiled out, while the calls themselves work (docs/unet_performance_notes.md has what
they gain). They are no public interface, so `available` admits only the versions this was
measured with and compares one result before anything relies on it.

A program with such a call cannot be written to the persistent compilation cache: see `compiled`.
"""

import ctypes
import functools
import json
import platform
import sys
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxlib.version import __version__ as jaxlib_version
from jaxtyping import Array, Float32

# A wrong field name in a call's configuration ends the process, so no other version is tried.
VERSIONS = ("0.10.0", "0.10.1", "0.10.2")
Padding = Sequence[tuple[int, int]]


@functools.cache
def available() -> bool:
    """Whether this process computes on a CPU with a jaxlib whose oneDNN calls work."""
    return (
        jax.default_backend() == "cpu"
        and platform.machine().lower() in ("x86_64", "amd64")
        and jaxlib_version.startswith(VERSIONS)
        and _computes()
    )


def _computes() -> bool:
    """Compile and run one small convolution and one product, and compare them by hand."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 3, 4, 2)).astype(np.float32)
    kernel = rng.normal(size=(1, 3, 2, 3)).astype(np.float32)

    def both(x: Array, kernel: Array) -> tuple[Array, Array]:
        y = convolve(x, kernel, (2, 1), ((0, 0), (1, 1)))
        return y, contract(x.reshape(-1, 2), x.reshape(-1, 2))

    try:
        # lowered and compiled by hand: a plain call would join the program being traced
        y, product = compiled(jax.jit(both).lower(x, kernel))(x, kernel)
    except jax.errors.JaxRuntimeError:
        return False
    padded = np.pad(x[:, ::2], ((0, 0), (0, 0), (1, 1), (0, 0)))
    want = sum(padded[:, :, tap : tap + 4] @ kernel[0, tap] for tap in range(3))
    rows = x.reshape(-1, 2)
    return np.allclose(y, want, atol=1e-5) and np.allclose(product, rows.T @ rows, atol=1e-4)


def convolve(
    x: Float32[Array, "b *space c_in"],
    kernel: Float32[Array, "*taps c_in c_out"],
    strides: Sequence[int],
    padding: Padding,
) -> Float32[Array, "b *out c_out"]:
    """Cross-correlation in one to three dimensions; ``padding`` zeros before and after each axis.

    It has no derivative of its own (`convolution.library` gives it one); under `jax.vmap` the
    calls follow one another.
    """
    taps = kernel.shape[:-2]
    ndim = len(taps)
    space = list(range(1, ndim + 1))
    activations = {"data": {"batch_dim": 0, "feature_dim": ndim + 1, "spatial_dims": space}}
    config = {
        "dims": ndim + 2,
        "input": activations,
        "output": activations,
        "kernel": {
            "filter": {
                "input_feature_dim": ndim,
                "output_feature_dim": ndim + 1,
                "spatial_dims": list(range(ndim)),
            }
        },
        "window": {
            "pad_left": [before for before, _ in padding],
            "pad_right": [after for _, after in padding],
            "strides": list(strides),
            "window_dilations": [1] * ndim,
        },
        "feature_groups": 1,
    }
    out = [
        (size + sum(pads) - tap) // stride + 1
        for size, pads, tap, stride in zip(x.shape[1:-1], padding, taps, strides, strict=True)
    ]
    shape = (x.shape[0], *out, kernel.shape[-1])
    return _call("convolution", {"onednn_conv_config": config}, shape, x, kernel)


def contract(a: Float32[Array, "rows m"], b: Float32[Array, "rows n"]) -> Float32[Array, "m n"]:
    """``a.T @ b``: a product over many rows with few columns."""
    config = {"onednn_matmul_config": {"transpose_a": True}}
    return _call("matmul", config, (a.shape[1], b.shape[1]), a, b)


def _call(
    name: str, config: Mapping[str, object], shape: tuple[int, ...], *operands: Array
) -> Array:
    call = jax.ffi.ffi_call(
        f"__onednn${name}",
        jax.ShapeDtypeStruct(shape, jnp.float32),
        vmap_method="sequential",
        custom_call_api_version=1,
        legacy_backend_config=json.dumps(config),
    )
    result = call(*operands)
    assert isinstance(result, jax.Array)
    return result


def compiled(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """`lowered`, compiled; a program with these calls is kept out of the persistent cache.

    jaxlib cannot serialise the calls and fails in the attempt. JAX has no switch for a single
    program but the least time its compilation must have taken to be kept. What the compiler
    needed (0.9 GB for a U-Net's training step) goes back to the system before the program runs.
    """
    program = _compiled(lowered)
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)
    return program


def _compiled(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    if "__onednn$" not in lowered.as_text():
        return lowered.compile()
    option = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, option)
    jax.config.update(option, float("inf"))
    try:
        return lowered.compile()
    finally:
        jax.config.update(option, before)
