"""The entry point: turns errors into one line and an exit status."""

import _thread
import atexit
import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn


def run(app: Callable[[], object]) -> None:
    """Run `app`: exit 0 when done, 2 for a mistake of the user's, 1 for a fault of ours.

    A `ScoreError` is printed as one line on standard error: what was found, what was expected,
    and the remedy. A full disk and a missing permission are the user's to mend, so they count
    as such. Anything else is a bug and keeps its traceback. Ctrl-C is 130.
    """
    from score_jax.errors import ScoreError

    before, sys.unraisablehook = sys.unraisablehook, _insist
    atexit.register(_leave)  # before the libraries register theirs: first come, last called
    interrupted = False
    try:
        _with_interrupts(app)
    except KeyboardInterrupt:
        interrupted = True
        print("score-jax: interrupted; nothing half-written was kept", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    except ScoreError as error:
        _fail(error.message, error.hint)
    except BrokenPipeError:
        # `score-jax ... | head`: the reader went away; keep Python from complaining at shutdown
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        hint = "free space or choose another --out" if error.errno in _DISK_FULL else ""
        if error.errno not in _USER_ERRNO:
            raise
        _fail(f"{error.filename or 'output'}: {error.strerror}", hint)
    except Exception:
        traceback.print_exc()
        print(  # noqa: T201
            "score-jax: this is a fault of ours; please report the lines above", file=sys.stderr
        )
        sys.exit(1)
    finally:
        if not interrupted:
            atexit.unregister(_leave)
        sys.unraisablehook = before


def _with_interrupts(app: Callable[[], object]) -> None:
    """Run `app`; what Typer or a compiled library made of a Ctrl-C is a KeyboardInterrupt again."""
    try:
        app()
    except BaseException as error:
        link: BaseException | None = error
        while link is not None:
            if isinstance(link, KeyboardInterrupt):
                raise link from None
            link = link.__cause__ or link.__context__
        raise


def _leave() -> NoReturn:
    """End the process after a Ctrl-C, once threads were waited for and all else was cleaned up.

    The interpreter is not taken apart: where compiled code was interrupted, its destructors end in
    a segmentation fault (docs/robustness.md).
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, or its reader went away
            stream.flush()
    os._exit(130)


def _insist(unraisable: Any) -> None:
    """Send a Ctrl-C again that Python dropped because it came inside a callback of its own.

    Those of the garbage collector and of imports cannot be left by an exception; a moment later the
    program is out of them.
    """
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    while True:
        try:
            _thread.start_new_thread(_interrupt_soon, ())
        except KeyboardInterrupt:  # on a busy machine it comes before this is left
            continue
        return


def _interrupt_soon() -> None:
    time.sleep(0.05)
    _interrupt()


def _interrupt() -> None:
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)  # also wakes it from waiting
    else:
        _thread.interrupt_main()


def _fail(message: str, hint: str) -> None:
    text = f"score-jax: {message}" + (f"; {hint}" if hint else "")
    print(" ".join(text.split()), file=sys.stderr)  # noqa: T201
    sys.exit(2)


_DISK_FULL = {28, 122}  # ENOSPC, EDQUOT
_USER_ERRNO = _DISK_FULL | {1, 2, 13, 17, 20, 21, 30, 36}  # not permitted, missing, is a folder ...
