"""Ctrl-C that comes at a bad moment still ends the program, in one line."""

import os
import subprocess
import sys

import pytest

IN_A_CALLBACK = """
class A: pass
def app():
    a = A()
    kept = weakref.ref(a, lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    del a  # the callback's exception is dropped by Python
    time.sleep(20)
"""
IN_A_LIBRARY = """
def app():
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        raise ImportError("while initializing the extension") from error
"""
BY_TYPER = """
import typer
app = typer.Typer()
@app.command()
def command(): raise KeyboardInterrupt
"""
BY_OURSELVES = """
from score_jax.errors import ScoreError
def app():
    try:
        try: raise KeyboardInterrupt
        except KeyboardInterrupt as error: raise ValueError("while comparing leaves") from error
    except ValueError as error:
        raise ScoreError("model options: while comparing leaves") from None
"""
# what compiled libraries do when the interpreter is taken apart beside their threads
CRASHES = """
class Crashes:
    def __del__(self, kill=os.kill, me=os.getpid(), with_=signal.SIGSEGV): kill(me, with_)
crashes = Crashes()
def app(): raise KeyboardInterrupt
"""
CLEANS_UP = """
def app():
    folder = tempfile.TemporaryDirectory(dir=sys.argv[1])
    child = multiprocessing.get_context("spawn").Process(
        target=time.sleep, args=(60,), daemon=True
    )
    child.start()
    def work():
        time.sleep(0.3)
        open(os.path.join(sys.argv[1], "thread"), "w").close()
    threading.Thread(target=work).start()
    atexit.register(lambda: open(os.path.join(sys.argv[1], "handler"), "w").close())
    sys.kept = folder, child
    print(child.pid)  # not flushed
    raise KeyboardInterrupt
"""
OTHERWISE = """
def app():
    class A:
        def __del__(self): raise ValueError("unraisable")
    A()
"""


MODULES = "atexit, multiprocessing, os, signal, sys, tempfile, threading, time, weakref"


def ran(body, *words):
    program = f"import {MODULES}\nfrom score_jax.cli import _app\n{body}\n_app.run(app)"
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("body", [IN_A_CALLBACK, IN_A_LIBRARY, BY_TYPER, BY_OURSELVES, CRASHES])
def test_it_ends(body):
    result = ran(body)
    assert result.returncode == 130
    assert result.stderr == "score-jax: interrupted; nothing half-written was kept\n"


def test_threads_children_and_files_are_cleaned_up(tmp_path):
    result = ran(CLEANS_UP, str(tmp_path))
    assert result.returncode == 130
    assert "interrupted" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["handler", "thread"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(result.stdout), 0)


def test_other_dropped_errors_are_shown_as_ever():
    result = ran(OTHERWISE)
    assert result.returncode == 0
    assert "ValueError: unraisable" in result.stderr
