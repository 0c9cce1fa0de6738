"""The counts and the rows of `score-jax benchmark`; no time is asserted."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_jax import benchmark, cli
from score_jax.benchmark import SUITES, Case, Part, Rates, multiply_adds, running, suites, timing
from score_jax.errors import ConfigError

TINY = Case(
    name="tiny",
    kind="mdgru",
    options={"ndim": 2, "hidden": (2,), "linear": (), "kernel": 3},
    batch=2,
    space=(4, 5),
    channels=1,
    classes=3,
)
RATES = Rates({"float32": 1e9, "bfloat16": 4e9}, 1e8)


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
    once = 2 * 4 * 5 * (4 * 3 * 3 * 3 * 2 + 2 * 3)
    assert TINY.multiply_adds() == once
    assert replace(TINY, training=True, members=5).multiply_adds() == 15 * once
    assert suites.mdgru(1, 192, 192).multiply_adds() == pytest.approx(28.5e9, rel=0.01)


def test_floors_by_hand():
    # weights: 4 directions of 3 taps, (1 + 2) in, 6 out, 6 biases; the linear layer
    weights = 4 * (3 * 3 * 6 + 6) + 2 * 3 + 3
    moved = 4 * (weights + 2 * 4 * 5 * (1 + 3))
    assert TINY.least_bytes() == moved
    assert replace(TINY, precision="bfloat16").least_bytes() == moved / 2
    assert RATES.floor(TINY) == pytest.approx(max(TINY.multiply_adds() / 1e9, moved / 1e8))
    slow = Rates({"float32": 1e6, "bfloat16": 2e6}, 1e12)
    assert slow.floor(TINY) == pytest.approx(TINY.multiply_adds() / 1e6)
    assert slow.floor(replace(TINY, precision="bfloat16")) == pytest.approx(
        TINY.multiply_adds() / 2e6
    )


def test_programs_compute_what_they_say():
    case = replace(TINY, members=2)
    function, arguments = case.program()
    logits = jax.jit(function)(*arguments)
    assert logits.shape == (2, 2, 4, 5, 3)
    half, arguments = replace(case, precision="bfloat16").program()
    np.testing.assert_allclose(np.asarray(jax.jit(half)(*arguments), np.float32), logits, atol=0.1)
    step, state = replace(case, training=True).program()
    value, params, _ = jax.jit(step)(*state)
    assert np.isfinite(value)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), params, state[0])
    assert max(jax.tree.leaves(moved)) > 0


@pytest.fixture
def sloth(tmp_path):
    """An interpreter that answers as `torch_unet.py` does: always ten seconds slow; its log."""
    log, fake = tmp_path / "log", tmp_path / "python"
    fake.write_text(
        f"#!{sys.executable}\n"
        "import sys, json\n"
        "for line in sys.stdin:\n"
        f"    open({str(log)!r}, 'a').write(line)\n"
        "    print(json.dumps({'seconds': 10.0, 'processor_seconds': 7.0, 'torch': 'x'}))\n"
        "    sys.stdout.flush()\n"
    )
    fake.chmod(0o755)
    peer = benchmark.Peer(str(fake))
    yield peer, log
    peer.close()


def test_rows_of_networks_parts_and_peers(sloth):
    peer, log = sloth
    row = timing.measure(TINY, repeats=3, rates=RATES, peer=peer)
    assert row["name"] == "tiny, forward"
    assert len(log.read_text().splitlines()) == 1 + 1 + 3  # who are you, prepare, run
    assert (row["peer_s"], row["peer_cpu_s"]) == (10, 7)
    assert row["ours_cpu_s"] > 0
    assert row["ratio"] == pytest.approx(10 / row["ours_s"])
    assert row["floor_s"] == RATES.floor(TINY)
    assert row["roofline_share"] == pytest.approx(row["floor_s"] / row["ours_s"])
    assert 0 < row["least_s"] <= row["ours_s"] < row["first_s"]
    assert row["compile_s"] < row["first_s"]
    assert row["compiled_flops"] > 0
    calls = []
    row = timing.measure(Part("part", lambda: lambda: calls.append(1)), repeats=3, rates=RATES)
    assert len(calls) == 5  # the first, one that warms up, three that count
    assert [row[key] for key in ("peer_s", "ratio", "floor_s", "peer_cpu_s")] == [None] * 4


def test_cases_that_cannot_run_are_named(monkeypatch):
    many = replace(TINY, devices=99)
    monkeypatch.setitem(suites.SUITES, "tiny", (TINY, many))
    monkeypatch.setattr(running, "rates", lambda size: RATES)
    result = running.run("tiny", repeats=1)
    assert [row["name"] for row in result["rows"]] == ["tiny, forward"]
    assert result["left_out"] == [
        {"name": "tiny, 99 devices, forward", "why": f"{jax.device_count()} device"}
    ]
    monkeypatch.setitem(suites.MINUTES, "tiny", -1.0)
    result = running.run("tiny", repeats=1)
    assert result["rows"] == []
    assert "minutes were over" in result["left_out"][0]["why"]
    result = running.run("tiny", repeats=1, minutes=60)  # what is asked for is stronger
    assert len(result["rows"]) == 1


def test_a_peer_without_torch_is_told():
    try:
        import torch  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match="expected torch and dynamic-network"):
            benchmark.Peer()
    with pytest.raises(ConfigError, match="No such file"):
        benchmark.Peer("/nowhere/python")


def test_a_peer_is_asked_for_what_we_run(sloth):
    peer, log = sloth
    case = replace(suites.unet(2, 8, 16, 24, features=(4, 6)), training=True)
    peer.prepare(case)
    assert peer.seconds() == (10, 7)
    assert peer.versions["torch"] == "x"
    _, asked, _ = map(json.loads, log.read_text().splitlines())
    assert asked["shape"] == [2, 1, 8, 16, 24]
    assert asked["options"]["features"] == [4, 6]
    assert asked["training"] is True
    assert asked["compile"] is False
    assert benchmark.Peer.knows(case)
    assert not benchmark.Peer.knows(TINY)
    assert not benchmark.Peer.knows(replace(case, members=2))


@pytest.mark.slow
def test_the_smoke_suite_runs(monkeypatch, capsys, tmp_path):
    """All kinds of cases, as CI runs them."""
    out = tmp_path / "rows.json"
    words = ["--suite", "smoke", "--repeats", "1", "--out", str(out), "--json"]
    monkeypatch.setattr(sys, "argv", ["score-jax", "benchmark", *words])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    written = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == written
    assert len(written["rows"]) == len(SUITES["smoke"])
    assert written["left_out"] == []
    for row in written["rows"]:
        assert set(row) >= {"name", "ours_s", "peer_s", "ratio", "floor_s", "first_s", "load"}
        assert row["ours_s"] > 0
        assert row["ours_s"] < row["first_s"] or "compile_s" not in row  # the first call compiles
    assert written["versions"]["jax"] == jax.__version__
    assert written["rates"]["bytes_per_second"] > 1e6


def test_suites_describe_networks_that_can_be_built():
    for suite in SUITES.values():
        names = [case.title if isinstance(case, Case) else case.name for case in suite]
        assert len(set(names)) == len(names)
        kinds = " ".join(names)
        for what in ("forward", "training step", "augmentation", "sliding window", "predict"):
            assert what in kinds
        for case in suite:
            if isinstance(case, Case):
                assert RATES.floor(case) > 0
    assert suites.unet(1, 8, 8, 8, features=(2, 4)).name == "unet 1 x 8 x 8 x 8, 2 stages"
    assert Path(benchmark.__file__).with_name("torch_unet.py").is_file()
