import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental.compilation_cache import compilation_cache
from scipy import signal

from score_jax.models import convolution, onednn

needs_library = pytest.mark.skipif(
    not onednn.available(), reason="this jaxlib has no oneDNN calls that work"
)
FORMS = [
    "direct",
    "tapwise",
    "over_first_axis",
    pytest.param("library", marks=needs_library),
]
CASES = [
    ((7,), (5,), (1,), (3, 2)),
    ((6, 7), (3, 5), (1, 1), (2, 3)),
    ((6, 8), (3, 3), (2, 2), (2, 3)),
    ((4, 5, 6), (3, 3, 1), (1, 1, 1), (1, 2)),
    ((4, 5, 6), (3, 3, 3), (1, 1, 1), (9, 2)),
    ((4, 6, 8), (3, 3, 3), (2, 2, 2), (9, 2)),
    ((5, 6, 8), (1, 3, 3), (1, 2, 2), (2, 3)),
    ((5, 7, 9), (3, 1, 3), (2, 1, 2), (8, 3)),
    ((4, 3, 5), (1, 1, 1), (1, 1, 1), (3, 2)),
]


def scipys(x, kernel, strides):
    """Cross-correlation with zero padding, channel by channel, then every stride-th voxel."""
    ndim = kernel.ndim - 2
    pads = [(k // 2, k // 2) for k in kernel.shape[:ndim]]
    out = []
    for o in range(kernel.shape[-1]):
        total = 0
        for c in range(kernel.shape[-2]):
            total = total + signal.correlate(np.pad(x[..., c], pads), kernel[..., c, o], "valid")
        out.append(total[tuple(slice(None, None, s) for s in strides)])
    return np.stack(out, -1)


def drawn(rng, space, taps, strides, channels, batch=2):
    """Input, kernel, and a gradient of the output."""
    out = [-(-n // s) for n, s in zip(space, strides, strict=True)]
    shapes = [(batch, *space, channels[0]), (*taps, *channels), (batch, *out, channels[1])]
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def value_and_gradients(form, strides, x, kernel, dy):
    def both(x, kernel, dy):
        with convolution.form(form):
            out, back = jax.vjp(lambda x, k: convolution.convolve(x, k, strides), x, kernel)
            return out, *back(dy)

    return jax.jit(both)(x, kernel, dy)


def assert_close(got, want):
    """Equal to 1e-5 of the largest value: sums of some hundred products in float32."""
    scale = np.abs(want).max()
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * max(scale, 1))


def usable(form, taps):
    return (len(taps) == 3 or form != "over_first_axis") and (len(taps) > 1 or form != "library")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("space", "taps", "strides", "channels"), CASES)
def test_every_form_against_scipy_and_xlas_gradients(rng, form, space, taps, strides, channels):
    if not usable(form, taps):
        return
    x, kernel, dy = drawn(rng, space, taps, strides, channels)
    got = value_and_gradients(form, strides, x, kernel, dy)
    for number in range(2):
        want = scipys(np.asarray(x[number]), np.asarray(kernel), strides)
        assert_close(got[0][number], want)
    for a, b in zip(got, value_and_gradients("direct", strides, x, kernel, dy), strict=True):
        assert_close(a, b)


odd, stride = st.sampled_from([1, 3, 5]), st.integers(1, 3)


@settings(deadline=None, max_examples=6)
@given(
    space=st.tuples(st.integers(3, 6), st.integers(3, 7), st.integers(3, 8)),
    taps=st.tuples(odd, odd, odd),
    strides=st.tuples(stride, stride, stride),
    form=st.sampled_from(["over_first_axis", "library"]),
    seed=st.integers(0, 9),
)
def test_forms_agree_for_any_odd_kernel_and_stride(space, taps, strides, form, seed):
    if form == "library" and not onednn.available():
        return
    operands = drawn(np.random.default_rng(seed), space, taps, strides, (2, 3), batch=1)
    want = value_and_gradients("direct", strides, *operands)
    for a, b in zip(value_and_gradients(form, strides, *operands), want, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("form", FORMS[2:])
@pytest.mark.parametrize("strides", [(1, 1, 1), (2, 1, 2)])
@pytest.mark.parametrize("c_in", [2, 9])  # few channels are stacked, many are not
def test_slice_by_slice_the_kernels_gradient_is_the_same(rng, monkeypatch, form, strides, c_in):
    operands = drawn(rng, (5, 4, 6), (3, 3, 1), strides, (c_in, 2))
    whole = value_and_gradients(form, strides, *operands)
    monkeypatch.setattr(convolution, "SLAB_BYTES", 0)
    for a, b in zip(value_and_gradients(form, strides, *operands), whole, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("form", FORMS[2:])
def test_members_are_vectorised(rng, form):
    pairs = [drawn(rng, (3, 4, 5), (3, 1, 3), (1, 2, 1), (2, 3)) for _ in range(3)]
    stacked = [jnp.stack(parts) for parts in zip(*pairs, strict=True)]

    def one(x, kernel, dy):
        return value_and_gradients(form, (1, 2, 1), x, kernel, dy)

    for got, *wanted in zip(jax.vmap(one)(*stacked), *map(one, *zip(*pairs, strict=True))):  # noqa: B905
        assert_close(got, np.stack(wanted))
    shared = jax.vmap(one, in_axes=(0, None, 0))(stacked[0], pairs[0][1], stacked[2])
    assert_close(shared[0][1], one(pairs[1][0], pairs[0][1], pairs[1][2])[0])


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match="expected odd numbers"):
        convolution.convolve(jnp.zeros((1, 4, 1)), jnp.zeros((2, 1, 1)))


def test_an_empty_batch_gives_an_empty_result():
    out = convolution.convolve(jnp.zeros((0, 4, 4, 4, 2)), jnp.zeros((3, 3, 3, 2, 5)), (2, 2, 2))
    assert out.shape == (0, 2, 2, 2, 5)


def chosen(space, dtype=jnp.float32):
    x, kernel = jnp.ones((1, *space, 2), dtype), jnp.ones((*(3,) * len(space), 2, 2), dtype)
    return convolution.best_form(x, kernel)


@needs_library
def test_the_choice_of_form(monkeypatch):
    assert chosen((4, 4, 4)) == chosen((4, 4)) == "library"
    assert chosen((4,)) == "tapwise"
    assert chosen((4, 4, 4), jnp.bfloat16) == "over_first_axis"
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    assert chosen((4, 4, 4)) == "over_first_axis"
    assert chosen((4, 4)) == "tapwise"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert chosen((4, 4, 4)) == "direct"


@needs_library
@pytest.mark.parametrize(("form", "calls"), [("library", True), ("over_first_axis", False)])
def test_a_forced_form_leaves_no_other_call_in_the_program(rng, form, calls):
    operands = drawn(rng, (4, 3, 5), (3, 3, 3), (1, 1, 1), (9, 2))

    def program(*operands):
        return value_and_gradients(form, (1, 1, 1), *operands)

    text = jax.jit(program).lower(*operands).as_text()
    assert ("__onednn$convolution" in text) == ("__onednn$matmul" in text) == calls


def test_without_a_known_jaxlib_nothing_is_called(monkeypatch):
    def refuse(*_):
        raise AssertionError("an unknown jaxlib must not be tried: a wrong call ends the process")

    monkeypatch.setattr(onednn, "_call", refuse)
    monkeypatch.setattr(onednn, "jaxlib_version", "0.12.0")
    assert not onednn.available.__wrapped__()
    monkeypatch.undo()
    monkeypatch.setattr(onednn, "_call", refuse)
    monkeypatch.setattr(onednn.platform, "machine", lambda: "arm64")
    assert not onednn.available.__wrapped__()


@needs_library
def test_calls_that_fail_or_err_are_not_used(monkeypatch):
    assert onednn.available.__wrapped__()

    def missing(*_):
        raise jax.errors.JaxRuntimeError("no such target")

    monkeypatch.setattr(onednn, "_call", missing)
    assert not onednn.available.__wrapped__()
    monkeypatch.setattr(onednn, "_call", lambda name, config, shape, *_: jnp.zeros(shape))
    assert not onednn.available.__wrapped__()


@needs_library
def test_a_program_with_such_calls_is_compiled_but_not_kept(rng, tmp_path):
    """jaxlib fails to serialise it, of which JAX would warn; a warning is an error here."""
    x, kernel, _ = drawn(rng, (4, 3, 5), (3, 3, 3), (1, 1, 1), (2, 3))
    want = convolution.convolve(x, kernel)
    names = {
        "jax_enable_compilation_cache": True,
        "jax_compilation_cache_dir": str(tmp_path),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in names}
    try:
        for name, value in names.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        for form, kept in (("library", 0), ("over_first_axis", 1)):
            with convolution.form(form):
                lowered = jax.jit(lambda *pair: convolution.convolve(*pair)).lower(x, kernel)
            assert_close(onednn.compiled(lowered)(x, kernel), want)
            assert len(list(tmp_path.glob("jit__lambda*-cache"))) == kept
            assert jax.config.jax_persistent_cache_min_compile_time_secs == 0.0
        assert onednn.available.__wrapped__()  # what it tries is not written either
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


@settings(deadline=None, max_examples=15)
@given(
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2)),
    seed=st.integers(0, 9),
)
def test_upsampling_is_xlas_transposed_convolution(strides, seed):
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.normal(size=(2, 3, 2, 4, 3)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(*strides, 3, 2)), jnp.float32)
    want = jax.lax.conv_transpose(
        x, kernel, strides, "VALID", dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
    )
    # lax flips nothing here: with stride = kernel each tap lands on its own voxel, reversed
    np.testing.assert_allclose(
        convolution.upsample(x, jnp.flip(kernel, (0, 1, 2))), want, atol=1e-4
    )
