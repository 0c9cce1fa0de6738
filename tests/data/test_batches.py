"""Batches: the same whoever draws them, in order from any step, and nobody left behind."""

import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from score_jax import data
from score_jax.config import SamplingConfig
from score_jax.data import Member, open_batches
from score_jax.data.prepared import PreparedDataset
from score_jax.errors import ConfigError, DatasetError

from .test_prepared import assert_nothing_left_of, child, damage, processes_of

SAMPLING = SamplingConfig(patch=(6, 7, 8), batch=2)


def members(prepared, *seeds):
    return [Member(seed, prepared.cases) for seed in seeds]


def batches(prepared, *, who=None, sampling=SAMPLING, **more):
    with open_batches(prepared, who or members(prepared, 0), sampling, **more) as stream:
        return [(np.array(images), np.array(masks)) for images, masks in stream]


def equal(left, right):
    assert len(left) == len(right)
    for (a, b), (c, d) in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)


def test_workers_draw_the_same_from_any_step(prepared):
    who = [Member(3, prepared.cases), Member(4, prepared.cases[:2])]
    alone = batches(prepared, who=who, steps=9, prefetch=0)
    assert alone[0][0].shape == (2, 2, 6, 7, 8, 2)
    assert alone[0][1].shape == (2, 2, 6, 7, 8, 2)
    assert [part.dtype for part in alone[0]] == [np.float32, np.uint8]
    equal(batches(prepared, who=who, steps=9, first_step=4, workers=2), alone[4:])


@pytest.mark.parametrize("prefetch", [0, 1, 5])
def test_a_resumed_stream_is_the_tail(prepared, prefetch):
    whole = batches(prepared, steps=7, prefetch=prefetch)
    equal(batches(prepared, steps=7, first_step=3, prefetch=2), whole[3:])
    assert batches(prepared, steps=7, first_step=7) == []
    assert batches(prepared, steps=7, first_step=9, workers=2) == []
    assert not np.array_equal(whole[0][0], whole[1][0])


def test_each_member_has_its_own_order_whoever_is_beside_it(prepared):
    together = batches(prepared, who=members(prepared, 5, 6, 5), steps=3)
    for images, _ in together:
        assert not np.array_equal(images[0], images[1])
        np.testing.assert_array_equal(images[0], images[2])
    alone = batches(prepared, who=members(prepared, 6), steps=3)
    equal([(i[1:2], m[1:2]) for i, m in together], alone)


def test_a_slice_a_larger_box_and_the_ignored_voxels(prepared, ignoring):
    flat = SamplingConfig(patch=(6, 7), batch=3)
    ((images, masks),) = batches(prepared, sampling=flat, steps=1, slice_axis=1, shape=(8, 9))
    assert images.shape == (1, 3, 8, 9, 2)
    assert masks.shape == (1, 3, 8, 9, 2)
    _, ready = ignoring
    ((images, masks),) = batches(ready, steps=1)
    assert images.shape[-1] == 1
    assert masks.shape[-1] == 3


def test_the_mean_of_raters_is_a_share(rated):
    where = SamplingConfig(patch=(20, 20, 24), batch=1)
    ((_, soft),) = batches(rated, who=[Member(0, rated.cases, "mean")], sampling=where, steps=1)
    assert {round(float(v), 3) for v in np.unique(soft)} == {0, 0.333, 0.667, 1}
    ((_, hard),) = batches(rated, who=[Member(0, rated.cases, 2)], sampling=where, steps=1)
    assert set(np.unique(hard)) == {0, 1}


@pytest.mark.parametrize(
    ("who", "more", "message"),
    [
        ([Member(0, ("c0",))], {"shape": (6, 7, 7)}, r"shape: got \[6, 7, 7\]; expected at least"),
        ([Member(0, ("c0",))], {"shape": (6, 7)}, r"shape: got \[6, 7\]; expected at least"),
        ([Member(0, ("c0",)), Member(0, ())], {}, "member 1: got no training case"),
        ([Member(0, ("c0",), 1)], {}, "member 0: got the rater 1; expected 0 to 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused_at_once(prepared, who, more, message):
    with (
        pytest.raises(ConfigError, match=message),
        open_batches(prepared, who, SAMPLING, steps=1, **more),
    ):
        pass


def test_several_raters_want_a_choice(rated):
    with (
        pytest.raises(ConfigError, match="got no choice among 3 raters"),
        open_batches(rated, [Member(0, rated.cases)], SAMPLING, steps=1),
    ):
        pass


@pytest.mark.parametrize("workers", [0, 2])
def test_damage_is_told_where_the_batch_is_asked_for(prepared, tmp_path, workers):
    store = tmp_path / "s"
    shutil.copytree(prepared.folder, store)
    damage(store, "c1", "image")
    ready = PreparedDataset(store, prepared.cases, prepared.regions)
    with (
        pytest.raises(DatasetError, match="the prepared case 'c1' cannot be read") as caught,
        open_batches(ready, members(ready, 0), SAMPLING, steps=50, workers=workers) as stream,
    ):
        list(stream)
    assert str(store / "c1") in caught.value.hint


def test_little_is_pickled_and_nothing_is_shared(prepared):
    import pickle

    prepared["c0"].load()
    content = pickle.dumps(prepared)
    assert len(content) < 2000
    again = pickle.loads(content)
    np.testing.assert_array_equal(again["c0"].load().image, prepared["c0"].load().image)
    with pytest.raises(DatasetError, match="got the case 'x'"):
        again["x"]


DRAW = """
import os, sys, time
from pathlib import Path
from score_jax import data
from score_jax.config import SamplingConfig
from tests.data.conftest import RULES, ids
if __name__ == "__main__":
    found = data.discover(sys.argv[1])
    ready = data.prepare_dataset(found, ids(found), RULES, sys.argv[2])
    who = [data.Member(0, ready.cases)]
    with data.open_batches(
        ready, who, SamplingConfig(patch=(6, 7, 8), batch=2), steps=10**6, workers=2
    ) as stream:
        next(stream)
        print("drawing", flush=True)
        if sys.argv[3] == "fails":
            raise ValueError("on purpose")
        if sys.argv[3] == "exits":
            sys.exit(3)
        while True:
            next(stream)
"""


def sockets_of(processes):
    """Internet sockets that processes hold, by the kernel's tables."""
    held = set()
    for process in processes:
        for handle in Path(f"/proc/{process}/fd").glob("*"):
            try:
                held.add(handle.readlink().name)
            except OSError:
                continue
    tables = [Path(f"/proc/net/{name}") for name in ("tcp", "tcp6", "udp", "udp6")]
    lines = [line.split() for t in tables if t.exists() for line in t.read_text().splitlines()[1:]]
    return [line[1] for line in lines if f"socket:[{line[9]}]" in held]


ENDS = {
    signal.SIGKILL: -signal.SIGKILL,
    signal.SIGTERM: -signal.SIGTERM,
    signal.SIGINT: -signal.SIGINT,
    "fails": 1,
    "exits": 3,
}


@pytest.mark.slow
def test_workers_end_with_the_run_however_it_ends(prepared, table):
    if not Path("/proc").is_dir():
        pytest.skip("looks for processes in /proc")
    memory = Path("/dev/shm")
    before = set(memory.iterdir()) if memory.is_dir() else set()
    runs = {end: child(DRAW, table.root, prepared.folder, end) for end in ENDS}
    for end, process in runs.items():
        assert process.stdout.readline() == "drawing\n", process.stderr.read()
        if isinstance(end, signal.Signals):
            running = processes_of(process.pid)
            assert len(running) >= 3  # and Python's tracker of shared memory
            assert not sockets_of(running)
            process.send_signal(end)
    for end, process in runs.items():
        _, errors = process.communicate(timeout=60)
        assert process.returncode == ENDS[end]
        # what a killed process cannot remove Python's tracker removes, and says so
        assert "leaked" not in errors or end in (signal.SIGKILL, signal.SIGTERM)
        assert_nothing_left_of(process.pid)
    ours = {p for p in memory.iterdir() if p.name.startswith("psm_")} - before if before else set()
    end_of_wait = time.monotonic() + 5
    while ours and time.monotonic() < end_of_wait:
        time.sleep(0.1)
        ours = {p for p in ours if p.exists()}
    assert not ours


def test_an_import_of_the_package_loads_neither_grain_nor_jax():
    process = child(
        "import sys, score_jax.data; print('grain' in sys.modules, 'jax' in sys.modules)"
    )
    assert process.communicate()[0] == "False False\n"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        data.nothing  # noqa: B018
