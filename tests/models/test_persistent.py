"""The recurrence as one kernel, in Pallas' interpreter, against the scan; and its lowering."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from score_jax.models import MDGRU, cgru, persistent, recurrence
from score_jax.models.cgru import sweep


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Tiles of four positions, and the choices an accelerator would make."""
    monkeypatch.setattr(persistent, "TILE", 4)
    monkeypatch.setattr(recurrence, "input_inside", lambda: False)
    monkeypatch.setattr(recurrence, "directions_together", lambda: True)


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def results(mode, reverse, terms, kernel, probe):
    def value(terms, kernel):
        states = sweep(terms, kernel, reverse)
        return (states * probe).sum(), states

    with persistent.use(mode):
        (_, states), gradients = jax.jit(jax.value_and_grad(value, (0, 1), has_aux=True))(
            terms, kernel
        )
        alone = jax.jit(lambda t, k: sweep(t, k, reverse))(terms, kernel)  # nothing saved
    return states, *gradients, alone


def assert_equal(got, want):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * float(jnp.abs(b).max()))


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize(
    ("length", "taps", "reverse"), [(7, 3, False), (7, 5, True), (8, 3, True), (2, 7, False)]
)
def test_states_and_gradients_are_the_scans(length, taps, reverse):
    """Lengths below a tile, of whole tiles and between; a kernel wider than the slice."""
    arrays = normal(0, 5, 2, length, 9), 0.3 * normal(1, taps, 3, 9), normal(2, 5, 2, length, 3)
    assert_equal(results("interpret", reverse, *arrays), results("off", reverse, *arrays))


@pytest.mark.parametrize("combine", ["mean", "concat"])
@pytest.mark.parametrize("space", [(6, 6), (5, 7), (4, 5, 4)])
@pytest.mark.parametrize("put_r_back", [False, True])
def test_directions_in_one_loop_are_the_directions_alone(monkeypatch, combine, space, put_r_back):
    """Also where only two of them have slices of one shape; gradients of all weights too."""
    layer = cgru.MDGRULayer(
        2, 3, kernel=(3,) * len(space), combine=combine, put_r_back=put_r_back, rngs=nnx.Rngs(0)
    )
    x = normal(1, 2, *space, 2)
    graph, weights = nnx.split(layer)

    def both(together):
        monkeypatch.setattr(recurrence, "directions_together", lambda: together)

        def value(weights, x):
            return jnp.sin(nnx.merge(graph, weights)(x, key=jax.random.key(3))).sum()

        return jax.tree.leaves(jax.jit(jax.value_and_grad(value, (0, 1)))(weights, x))

    assert_equal(both(True), both(False))


@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_network_by_kernels():
    model = MDGRU(1, 2, ndim=2, hidden=(3, 4), linear=(3,), kernel=3, rngs=nnx.Rngs(0))
    x = normal(0, 2, 5, 6, 1)

    def output(mode):
        with persistent.use(mode):
            return jax.jit(lambda x: model(x))(x)

    assert "pallas_call" in str(jax.make_jaxpr(lambda: output("interpret"))())
    assert_equal([output("interpret")], [output("off")])


def test_it_is_off_unless_asked_for_possible_and_right(monkeypatch):
    kernel, answers = jnp.zeros((3, 16, 48)), []

    def check(shape):
        answers.append(shape)
        if shape[0] == 5:
            raise jax.errors.JaxRuntimeError("does not compile")
        return shape[0] == 3

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not persistent.chosen(kernel, check)
    with persistent.use():
        assert persistent.chosen(kernel, check)
        assert persistent.chosen(kernel, check)
        assert answers == [(3, 16, 48)]  # once a shape
        assert not persistent.chosen(jnp.zeros((5, 16, 48)), check)
        assert not persistent.chosen(jnp.zeros((7, 16, 48)), check)
        asked = len(answers)
        assert not persistent.chosen(jnp.zeros((3, 24, 72)), check)  # no power of two
        assert not persistent.chosen(jnp.zeros((3, 3, 16, 48)), check)  # slices of two axes
        assert not persistent.chosen(kernel.astype(jnp.bfloat16), check)
        monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
        assert not persistent.chosen(kernel, check)
        assert len(answers) == asked
    with pytest.raises(ValueError, match="got 'yes'; expected one of"), persistent.use("yes"):
        pass


@pytest.mark.usefixtures("as_on_a_gpu")
def test_the_comparison_with_the_scan_notices_a_wrong_kernel(monkeypatch):
    use = persistent.use
    monkeypatch.setattr(
        persistent, "use", lambda mode: use("interpret" if mode == "unchecked" else mode)
    )
    assert cgru._kernel_agrees((3, 4, 12))
    right = persistent.backward

    def wrong(inputs, kernel):
        d_h_terms, d_candidate = right(inputs, kernel)
        return 1.001 * d_h_terms, d_candidate

    monkeypatch.setattr(persistent, "backward", wrong)
    assert not cgru._kernel_agrees((3, 4, 12))


def test_it_lowers_to_triton(monkeypatch):
    """As far as a machine without a GPU can go."""
    monkeypatch.setattr(recurrence, "input_inside", lambda: False)

    def value(terms, kernel):
        return sweep(terms, kernel, False).sum()

    with persistent.use("unchecked"):
        traced = jax.jit(jax.grad(value, (0, 1))).trace(
            normal(0, 3, 2, 70, 48), normal(1, 3, 16, 48)
        )
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("triton") >= 2


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU")
@pytest.mark.parametrize("hidden", [16, 32, 64])
def test_on_a_gpu_it_is_the_scan(hidden):
    assert cgru._kernel_agrees((7, hidden, 3 * hidden))
