"""The entry point: turns errors into one line and an exit status."""

import os
import sys
import traceback
from collections.abc import Callable


def run(app: Callable[[], object]) -> None:
    """Run `app`: exit 0 when done, 2 for a mistake of the user's, 1 for a fault of ours.

    A `ScoreError` is printed as one line on standard error: what was found, what was expected,
    and the remedy. A full disk and a missing permission are the user's to mend, so they count
    as such. Anything else is a bug and keeps its traceback.
    """
    from score_jax.errors import ScoreError

    try:
        app()
    except ScoreError as error:
        _fail(error.message, error.hint)
    except KeyboardInterrupt:
        print("score-jax: interrupted; nothing half-written was kept", file=sys.stderr)  # noqa: T201
        sys.exit(130)
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


def _fail(message: str, hint: str) -> None:
    text = f"score-jax: {message}" + (f"; {hint}" if hint else "")
    print(" ".join(text.split()), file=sys.stderr)  # noqa: T201
    sys.exit(2)


_DISK_FULL = {28, 122}  # ENOSPC, EDQUOT
_USER_ERRNO = _DISK_FULL | {1, 2, 13, 17, 20, 21, 30, 36}  # not permitted, missing, is a folder ...
