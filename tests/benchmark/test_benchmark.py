"""The counts and the rows of `score-jax benchmark`; no time is asserted."""

import json
import sys

import jax
import jax.numpy as jnp
import pytest

from score_jax import benchmark, cli
from score_jax.benchmark import SUITES, Case, matrix_rate, multiply_adds, suites

TINY = Case(
    name="tiny",
    kind="mdgru",
    options={"ndim": 2, "hidden": (2,), "linear": (), "kernel": 3},
    batch=2,
    space=(4, 5),
    channels=1,
    classes=3,
)


def array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_products_and_convolutions_are_counted():
    assert multiply_adds(jnp.dot, array(3, 4), array(4, 5)) == 3 * 4 * 5
    assert multiply_adds(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), *[array(2, 3, 3)] * 2) == 54

    def convolve(x, w):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, w, (1, 2), "SAME", dimension_numbers=numbers)

    assert multiply_adds(convolve, array(2, 4, 6, 3), array(3, 5, 3, 7)) == 2 * 4 * 3 * 15 * 3 * 7


def test_loops_and_calls_are_followed():
    def loop(a, b):
        return jax.lax.scan(lambda c, _: (jax.jit(jnp.dot)(c, b), None), a, length=7)[0]

    assert multiply_adds(loop, array(3, 4), array(4, 4)) == 7 * 3 * 4 * 4
    assert multiply_adds(jnp.tanh, array(3, 4)) == 0


def test_a_network_does_one_multiply_add_a_weight_and_voxel():
    """MD-GRU's published work: 28.5e9 for 192 x 192 x 8, biases apart."""
    # 4 sweeps x 3 taps x (input 1 + state 2) x (2 gates, candidate) x 2, and the linear layer
    assert TINY.multiply_adds() == 2 * 4 * 5 * (4 * 3 * 3 * 3 * 2 + 2 * 3)
    assert SUITES["cpu"][0].multiply_adds() == pytest.approx(28.5e9, rel=0.01)


def test_the_command_times_and_writes(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(benchmark, "SUITES", {"tiny": (TINY,)})
    monkeypatch.setattr(benchmark, "matrix_rate", lambda: 1e9)
    out = tmp_path / "rows.json"
    words = ["--suite", "tiny", "--repeats", "1", "--out", str(out), "--json"]
    monkeypatch.setattr(sys, "argv", ["score-jax", "benchmark", *words])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    written = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == written
    for row, what, passes in zip(
        written["rows"], ("forward", "training step"), (1, 3), strict=True
    ):
        assert row["name"] == f"tiny, {what}"
        assert 0 < row["ours_s"] < row["first_s"]  # the first call compiles
        assert row["multiply_adds"] == TINY.multiply_adds() * passes
        assert row["floor_s"] == row["multiply_adds"] / 1e9


def test_suites_describe_networks_that_can_be_built():
    for case in (case for suite in SUITES.values() for case in suite):
        assert case.multiply_adds() > 0
    assert suites.unet(1, 8, 8, 8, features=(2, 4)).name == "unet 1 x 8 x 8 x 8, 2 stages"


def test_the_machine_has_a_rate():
    assert matrix_rate(size=64, repeats=2) > 1e6
