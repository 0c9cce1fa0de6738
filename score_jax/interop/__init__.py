"""Published weights of other programs, read as data: no code in them is ever run.

``sj.interop.mdgru`` and ``sj.interop.nnunet`` are loaded on first use.
"""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("mdgru", "nnunet"):
        return importlib.import_module(f"score_jax.interop.{name}")
    raise AttributeError(f"module 'score_jax.interop' has no attribute {name!r}")
