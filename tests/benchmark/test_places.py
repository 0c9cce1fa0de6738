"""The device's forms of prediction's stages give what the host's do."""

import jax
import numpy as np
import pytest

from score_jax.benchmark import SUITES, Part, Rates, places, running, timing
from score_jax.benchmark.places import label, stages

SHAPE, TARGET, TILE = (7, 12, 9), (6, 14, 9), (4, 6, 4)


def both(part):
    return part.prepare(), part.beside()


@pytest.mark.parametrize("number", range(4))
def test_both_forms_give_the_same(number):
    there, here = both(stages(SHAPE, TARGET, TILE)[number])
    for found, wanted in zip(*(jax.tree.leaves(call()) for call in (there, here)), strict=True):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_components_are_those_of_the_host():
    there, here = both(stages((9, 40, 13), TARGET, TILE)[4])
    found, wanted = there(), here()
    assert wanted.max() > 1
    pairs = set(zip(found.ravel().tolist(), wanted.ravel().tolist(), strict=True))
    # one name each, both ways; the background is 0 in both
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    assert (0, 0) in pairs


def test_components_by_hand():
    spiral = np.zeros((1, 5, 7), bool)
    spiral[0] = [[1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 0, 1],
                 [1, 0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1, 1]]  # fmt: skip
    assert np.unique(label(jax.numpy.asarray(spiral))).tolist() == [0, 35]
    assert not label(jax.numpy.zeros((2, 3, 4), bool)).any()
    assert places.cord_and_specks(16, 32, 16)[8, :, 4:12].any()


def test_the_two_take_turns():
    calls = []
    part = Part("p", lambda: lambda: calls.append("d"), lambda: lambda: calls.append("h"))
    row = timing.measure(part, repeats=2, rates=Rates({}, 1.0))
    assert "".join(calls) == "dhd" + "dhdh"  # each warms up
    assert row["ratio"] == row["peer_s"] / row["ours_s"]
    assert row["peer_cpu_s"] >= 0


def test_only_some_cases_run(monkeypatch):
    parts = (Part("one", lambda: int), Part("other", lambda: int))
    monkeypatch.setitem(SUITES, "tiny", parts)
    monkeypatch.setattr(running, "rates", lambda size: Rates({}, 1.0))
    assert [row["name"] for row in running.run("tiny", repeats=1, only="the")["rows"]] == ["other"]
