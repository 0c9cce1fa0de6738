"""The loop around the step: what it keeps, when it stops, and that nothing of a run is lost."""

import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from score_jax import checkpointing
from score_jax.config import load_config
from score_jax.errors import ConfigError, DivergedError, OutputError
from score_jax.training import devices, events, loop, members
from score_jax.training.store import Position

from .tasks import MDGRU, UNET, make_task

ROOT = Path(__file__).parent.parent.parent
TINY = (*UNET, "unet.features=[2, 3]", "sampling.patch=[4, 6, 4]", "sampling.batch=1")


def test_judge_by_hand():
    start = Position.start(2)
    nothing, better = loop.judge(start, 5, [math.nan, 0.5], 0.0)
    assert better == (True, True)  # unscored weights count as long as none was scored
    assert nothing == Position(5, (None, 0.5), (None, 0.5), (None, 0.5), 0)
    second, better = loop.judge(nothing, 10, [0.2, 0.5], 0.0)
    assert better == (True, False)  # the first of equals stays
    assert second.best == (0.2, 0.5)
    third, better = loop.judge(second, 15, [math.nan, 0.4], 0.0)
    assert better == (False, False)
    assert (third.score, third.best, third.waited) == ((None, 0.4), (0.2, 0.5), 1)


def test_a_smoothed_score_is_nnunets_average():
    position, chosen = Position.start(1), []
    for step, score in enumerate((0.5, 0.9, 0.6)):
        position, better = loop.judge(position, step, [score], 0.9)
        chosen.append((round(position.smooth[0], 6), better[0]))
    assert chosen == [(0.5, True), (0.54, True), (0.546, True)]  # 0.9 old + 0.1 new


@given(
    scores=st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=2), min_size=1, max_size=6),
)
def test_the_best_is_the_largest_and_waiting_is_counted(scores):
    position, last = Position.start(2), 0
    for step, score in enumerate(scores):
        position, better = loop.judge(position, step, score, 0.0)
        last = step if any(better) else last
    np.testing.assert_allclose(position.best, np.max(scores, axis=0))
    assert position.waited == len(scores) - 1 - last


def test_members_are_all_combinations():
    plan = members.of(
        load_config(
            overrides=(
                "seed=5",
                "data.folds=3",
                'data.raters=["a", "b"]',
                "ensemble.folds=true",
                "ensemble.raters=true",
                "ensemble.seeds=2",
            )
        )
    )
    assert [m.seed for m in plan] == list(range(5, 17))
    assert [(m.rater, m.fold) for m in plan[::2]] == [(r, f) for r in (0, 1) for f in (0, 1, 2)]
    (only,) = members.of(load_config(overrides=("data.folds=4", "data.fold=2")))
    assert only == members.Member(0, 2, 42, None)
    splits = members.of(load_config(overrides=("ensemble.splits=[7, 42, 50, 123, 710]",)))
    assert [m.split_seed for m in splits] == [7, 42, 50, 123, 710]


def scores_of(*values):
    """A validation that returns the given scores in turn, whatever the weights."""
    left = list(values)
    return lambda params, member: {"cord": left.pop(0)}


def test_patience_ends_a_run_and_the_best_weights_are_kept(tmp_path):
    seen, kept = [], []
    scores = iter((0.5, 0.7, 0.6, 0.7, 0.9))

    def validate(params, member):
        kept.append(jax.tree.map(np.array, params))
        return {"cord": next(scores)}

    task = make_task(TINY, "steps=10", "validate_each=2", "patience=2", validate=validate)
    stopped = loop.train(task, tmp_path, on_event=seen.append)
    assert stopped == events.Stopped(8, finished=True)
    assert any("no better score in 2" in e.text for e in seen if isinstance(e, events.Note))
    _, (best,) = checkpointing.load_model(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, best, kept[1])
    assert loop.train(task, tmp_path, resume=True) == stopped  # patience is remembered


def test_each_member_has_its_own_best(tmp_path):
    table = {0: [0.5, 0.4], 1: [0.1, 0.9]}
    kept = {0: [], 1: []}

    def validate(params, member):
        kept[member].append(jax.tree.map(np.array, params))
        return {"cord": table[member][len(kept[member]) - 1], "lesion": math.nan}

    seen = []
    task = make_task(TINY, "steps=4", "validate_each=2", seeds=(1, 2), validate=validate)
    loop.train(task, tmp_path, on_event=seen.append)
    _, best = checkpointing.load_model(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, best[0], kept[0][0])
    jax.tree.map(np.testing.assert_array_equal, best[1], kept[1][1])
    first, second = (event for event in seen if isinstance(event, events.Validated))
    assert first.dice["cord"] == pytest.approx(0.3)
    assert [m["cord"] for m in second.members] == [0.4, 0.9]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["losses"]
    assert lines[-1]["scores"] == [0.4, 0.9]


def test_a_loss_that_is_not_finite_keeps_the_last_good_state(tmp_path):
    loop.train(make_task(TINY, "steps=4", "validate_each=2"), tmp_path)
    bad = make_task(TINY, "steps=12", "validate_each=2", "optimizer.learning_rate=1e30")
    with pytest.raises(DivergedError, match=r"step \d+: the (loss|gradient) is"):
        loop.train(bad, tmp_path, resume=True)
    _, (weights,) = checkpointing.load_model(tmp_path)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(weights))


def test_tensorboard_files_hold_what_metrics_do(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event as Written
    from tensorboardX.record_writer import crc32c

    task = make_task(TINY, "steps=4", "validate_each=2", validate=lambda params, m: {"cord": 0.5})
    loop.train(task, tmp_path, tensorboard=True)
    (file,) = (tmp_path / "tensorboard").iterdir()
    raw, found, at = file.read_bytes(), {}, 0
    while at < len(raw):  # the format: length, its checksum, the event, its checksum
        size = int.from_bytes(raw[at : at + 8], "little")
        event = Written.FromString(raw[at + 12 : at + 12 + size])
        assert crc32c(raw[at : at + 8])
        for value in event.summary.value:
            found[event.step, value.tag] = value.simple_value
        at += 16 + size
    assert found[2, "dice_cord"] == found[4, "score"] == 0.5
    record = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert found[1, "loss"] == pytest.approx(record["loss"])


def test_devices_that_are_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"expected their product to be the \d+ devices"):
        loop.train(make_task(TINY, "compute.devices_space=64"), tmp_path)


def child(script: str, tmp_path: Path, *, devices: int = 1, arguments: tuple[str, ...] = ()):
    """A python of its own that runs `script`, with quick compilation kept between runs."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"} | cache,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output(process) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


SEVERAL = """
from pathlib import Path
from tests.training.tasks import MDGRU, UNET, make_task
from score_jax.training import loop

def losses(base, *more, seeds):
    run = Path({out!r}) / "-".join(map(str, (*base[:1], *more, *seeds)))
    run.mkdir()
    found = []
    def tell(event):
        if hasattr(event, "loss"):
            found.append(event.loss)
    loop.train(make_task(base, "steps=3", *more, seeds=seeds), run, on_event=tell)
    return found

for base, seeds, sets in {cases!r}:
    for more in sets:
        print(losses(base, *more, seeds=seeds))
"""


@pytest.mark.slow
def test_several_devices_learn_the_same(tmp_path):
    members_, batch, space = (f"compute.devices_{name}=2" for name in ("members", "batch", "space"))
    cases = [(UNET, (0, 1), [(), (members_, batch)]), (MDGRU, (0,), [(), (batch, space)])]
    script = SEVERAL.format(out=str(tmp_path), cases=cases)
    found = [json.loads(line) for line in output(child(script, tmp_path, devices=4)).splitlines()]
    for one, several in zip(found[::2], found[1::2], strict=True):
        assert len(one) == 3
        np.testing.assert_allclose(several, one, atol=2e-6)


TOGETHER = """
import sys
from score_jax.training import devices
devices.join("127.0.0.1:{port},2," + sys.argv[1])
from pathlib import Path
from tests.training.tasks import UNET, make_task
from score_jax.training import loop

found = []
def tell(event):
    if hasattr(event, "loss"):
        found.append(event.loss)
def score(params, member):
    assert devices.is_lead()
    return {{"cord": 0.25}}
task = make_task(UNET, "steps=4", "validate_each=2", *{more!r}, seeds=(0, 1), validate=score)
if sys.argv[2] == "again":
    loop.train(task, Path({out!r}), resume=True, on_event=tell)
else:
    loop.train(task, Path({out!r}), on_event=tell)
print(found)
"""


def two_processes(tmp_path, how, more):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = TOGETHER.format(port=port, out=str(tmp_path / "run"), more=more)
    started = [child(script, tmp_path, arguments=(str(n), how)) for n in range(2)]
    # Gloo greets on standard output first
    return [json.loads(output(process).splitlines()[-1]) for process in started]


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["batch", "members"])
def test_two_processes_learn_as_one(tmp_path, axis):
    more = (f"compute.devices_{axis}=2",)
    one = []
    task = make_task(UNET, "steps=4", "validate_each=2", seeds=(0, 1))
    loop.train(task, tmp_path / "one", on_event=one.append)
    lead, other = two_processes(tmp_path, "new", more)
    want = [event.loss for event in one if isinstance(event, events.Stepped)]
    np.testing.assert_allclose(lead, want, atol=2e-6)
    assert other == []  # one of them speaks and writes
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 4]
    newest = tmp_path / "run/checkpoints/4"
    assert Position.read(newest / "position/metadata").best == (0.25, 0.25)
    _, weights = checkpointing.load_model(tmp_path / "run")  # on one device, here
    assert len(weights) == 2
    if axis == "batch":  # restored, and nothing is left to do
        assert two_processes(tmp_path, "again", more) == [[], []]


def test_a_wrong_way_to_join():
    with pytest.raises(ConfigError, match="HOST:PORT,PROCESSES,NUMBER"):
        devices.join("somewhere")


KILLED = """
import sys
from pathlib import Path
from tests.training.tasks import make_task
from tests.training.test_loop import TINY
from score_jax.training import loop

def tell(event):
    print(type(event).__name__, getattr(event, "step", ""), flush=True)

run = Path({out!r})
run.mkdir(exist_ok=True)
def score(params, member):
    return {{"cord": float(abs(params["encoder"][0][0]["conv"]["bias"]).sum())}}
more = ("steps=80", "validate_each=5", "weights_ema=0.9")
task = make_task(TINY, *more, seeds=(3, 4), validate=score)
loop.train(task, run, resume=True, on_event=tell)
"""


def whole_outcome(run: Path):
    """Checksums of the best weights, the last position, the record without its timing."""
    _, weights = checkpointing.load_model(run)
    newest = run / "checkpoints" / str(checkpointing.finished_steps(run / "checkpoints")[-1])
    timing = ("seconds", "images_per_s", "device_waited")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return (
        [checkpointing.weights_sha256(params) for params in weights],
        json.loads((newest / "position" / "metadata").read_text()),
        [{k: v for k, v in line.items() if k not in timing} for line in lines],
    )


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_no_bit(tmp_path):
    """Checkpoints are written most of the time here, so kills hit them too."""
    rng = random.Random(11)
    output(child(KILLED.format(out=str(tmp_path / "whole")), tmp_path))
    script, hit, reached = KILLED.format(out=str(tmp_path / "killed")), 0, set()
    for _ in range(20):
        process = child(script, tmp_path)
        steps = rng.randrange(11)
        for line in process.stdout:
            if line.startswith("Started"):
                reached.add(int(line.split()[1]))
            steps -= line.startswith("Stepped")
            if steps < 0:
                break
        time.sleep(rng.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        folder = tmp_path / "killed/checkpoints"
        hit += any(not p.name.isdigit() for p in folder.glob("*")) if folder.is_dir() else 0
    assert len(reached) > 3  # it got on in between
    output(child(script, tmp_path))
    assert whole_outcome(tmp_path / "killed") == whole_outcome(tmp_path / "whole")
    assert hit  # at least one kill left a half-written checkpoint behind


def test_a_full_disk_keeps_what_was_saved(tmp_path, monkeypatch):
    import orbax.checkpoint as ocp

    loop.train(make_task(TINY, "steps=4", "validate_each=2"), tmp_path)

    def full(*arguments, **more):
        raise ValueError("Error writing: No space left on device")

    monkeypatch.setattr(ocp.CheckpointManager, "save", full)
    with pytest.raises(OutputError, match=r"checkpoints: cannot be written .*No space left"):
        loop.train(make_task(TINY, "steps=8", "validate_each=2"), tmp_path, resume=True)
    monkeypatch.undo()
    assert checkpointing.finished_steps(tmp_path / "checkpoints") == [2, 4]
    stopped = loop.train(make_task(TINY, "steps=8", "validate_each=2"), tmp_path, resume=True)
    assert stopped == events.Stopped(8, finished=True)
    steps = [json.loads(x)["step"] for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


def test_a_signal_saves_where_the_run_stands(tmp_path):
    seen = []

    def tell(event):
        seen.append(event)
        if isinstance(event, events.Stepped) and event.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    task = make_task(TINY, "steps=9", "validate_each=7")
    stopped = loop.train(task, tmp_path, on_event=tell)
    assert not stopped.finished
    assert 2 < stopped.step < 7
    assert checkpointing.finished_steps(tmp_path / "checkpoints") == [stopped.step]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert loop.train(task, tmp_path, resume=True).step == 9
