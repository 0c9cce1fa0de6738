"""Stages of a study: made once, kept by content, handed back half-made, held by one process."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from score_jax.errors import DatasetError, OutputError
from score_jax.study.stages import DONE, Stage, Stages, content_key, files_sha256


@dataclasses.dataclass(frozen=True)
class Settings:
    steps: int = 3
    names: tuple[str, ...] = ("a",)


@pytest.fixture
def told():
    return []


def study(folder, told, seed=0, tail="x", made=None):
    """Two stages, the second on the first; what was made is listed."""
    made = [] if made is None else made

    def first(place):
        made.append("first")
        (place / "numbers.txt").write_text(str(seed))

    def second(place):
        made.append("second")
        (place / "deep").mkdir(exist_ok=True)
        (place / "deep" / "more.txt").write_text(tail)

    with Stages(folder, on_stage=lambda *words: told.append(words)) as stages:
        one = stages.run("first", {"seed": seed, "settings": Settings()}, first)
        stages.run("nets/second", {"first": one, "tail": tail}, second)
    return made, stages.finished


def test_a_second_run_makes_nothing(tmp_path, told):
    made, finished = study(tmp_path, told)
    assert made == ["first", "second"]
    assert told == [
        ("first", "started"), ("first", "done"),
        ("nets/second", "started"), ("nets/second", "done"),
    ]  # fmt: skip
    assert [stage.kept for stage in finished] == [False, False]
    told.clear()
    made, again = study(tmp_path, told)
    assert made == []
    assert told == [("first", "kept"), ("nets/second", "kept")]
    assert [(s.name, s.key, s.kept) for s in again] == [(s.name, s.key, True) for s in finished]
    assert all(a.seconds == pytest.approx(b.seconds, abs=1e-3)
               for a, b in zip(again, finished, strict=True))  # fmt: skip


def test_only_what_depends_on_a_change_is_made_again(tmp_path, told):
    study(tmp_path, told)
    assert study(tmp_path, told, tail="y")[0] == ["second"]
    assert (tmp_path / "nets/second/deep/more.txt").read_text() == "y"
    assert study(tmp_path, told, seed=1, tail="y")[0] == ["first", "second"]


@pytest.mark.parametrize("damage", ["gone", "cut", "more", "note"])
def test_a_damaged_stage_is_made_again(tmp_path, told, damage):
    study(tmp_path, told)
    file = tmp_path / "first" / "numbers.txt"
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_text("")
    elif damage == "more":
        (tmp_path / "first" / "new.txt").write_text("")
    else:
        (tmp_path / "first" / DONE).write_text("{not json")
    assert study(tmp_path, told)[0] == ["first"]  # the same content: the second is kept
    assert file.read_text() == "0"


def test_a_stage_that_fails_is_handed_back_half_made(tmp_path, told):
    def half(place):
        (place / "one").write_text("1")
        raise RuntimeError("stop")

    def rest(place):
        assert (place / "one").read_text() == "1"
        (place / "two").write_text("2")

    with Stages(tmp_path) as stages, pytest.raises(RuntimeError, match="stop"):
        stages.run("work", {"a": 1}, half)
    with Stages(tmp_path, on_stage=lambda *words: told.append(words)) as stages:
        stage = stages.run("work", {"a": 1}, rest)
    assert told == [("work", "resumed"), ("work", "done")]
    assert sorted(json.loads((stage.folder / DONE).read_text())["files"]) == ["one", "two"]


def test_other_inputs_find_an_empty_folder(tmp_path):
    def half(place):
        (place / "one").write_text("1")
        raise RuntimeError

    with Stages(tmp_path) as stages:
        with pytest.raises(RuntimeError):
            stages.run("work", {"a": 1}, half)
        stages.run("work", {"a": 2}, lambda place: None)
        assert not (tmp_path / "work" / "one").exists()


def test_one_process_at_a_time(tmp_path):
    with (
        Stages(tmp_path),
        pytest.raises(OutputError, match=r"another study is at work .* choose another --out"),
    ):
        Stages(tmp_path).__enter__()
    with Stages(tmp_path):
        pass


KILLED = """
import sys, time
from pathlib import Path
from score_jax.study.stages import Stages

def slow(place):
    (place / "half").write_text("half")
    print("at work", flush=True)
    time.sleep(60)

with Stages(sys.argv[1]) as stages:
    stages.run("quick", {}, lambda place: (place / "done").write_text("1") and None)
    stages.run("slow", {}, slow)
"""


def test_a_killed_process_leaves_what_was_done_and_no_lock(tmp_path, told):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 5
    while not (tmp_path / "slow" / "half").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    with Stages(tmp_path, on_stage=lambda *words: told.append(words)) as stages:
        stages.run("quick", {}, lambda place: pytest.fail("made again"))
        stages.run("slow", {}, lambda place: None)
    assert told == [("quick", "kept"), ("slow", "resumed"), ("slow", "done")]


def test_keys_say_content():
    stage = Stage("a", Path("x"), "key", 1.0, kept=True)
    other = dataclasses.replace(stage, folder=Path("y"), seconds=2.0, kept=False)
    assert content_key({"a": stage, "b": 1}) == content_key({"b": 1, "a": other})
    assert content_key(Settings()) != content_key(Settings(steps=4))
    assert content_key(Settings(names=("a", "b"))) != content_key(Settings())
    assert content_key([1, 2]) == content_key((1, 2))
    assert content_key("1") != content_key(1)
    with pytest.raises(TypeError, match="has no content of its own"):
        content_key({"where": Path("x")})


def test_a_checksum_over_files(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    files = [tmp_path / "b", tmp_path / "a"]
    before = files_sha256(files, tmp_path)
    assert files_sha256(reversed(files), tmp_path) == before
    (tmp_path / "a").write_text("A")
    assert files_sha256(files, tmp_path) != before
    with pytest.raises(DatasetError, match=r"c: could not be read: No such file"):
        files_sha256([tmp_path / "c"], tmp_path)
