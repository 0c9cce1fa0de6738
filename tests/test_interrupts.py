"""Ctrl-C that comes at a bad moment still ends the program, in one line."""

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
OTHERWISE = """
def app():
    class A:
        def __del__(self): raise ValueError("unraisable")
    A()
"""


def ran(body):
    program = f"import time, weakref\nfrom score_jax.cli import _app\n{body}\n_app.run(app)"
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=15, check=False
    )


@pytest.mark.parametrize("body", [IN_A_CALLBACK, IN_A_LIBRARY])
def test_it_ends(body):
    result = ran(body)
    assert result.returncode == 130
    assert result.stderr == "score-jax: interrupted; nothing half-written was kept\n"


def test_other_dropped_errors_are_shown_as_ever():
    result = ran(OTHERWISE)
    assert result.returncode == 0
    assert "ValueError: unraisable" in result.stderr
