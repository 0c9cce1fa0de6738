"""A model as a web page: a folder for any file server that segments scans in the browser."""

import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from score_jax.errors import errors_of_disk
from score_jax.web import page
from score_jax.web.page import WebModel


def write_page(folder: Path, models: Sequence[WebModel]) -> int:
    """Write the page with its models into `folder`, whole or not at all; an existing one goes.

    Args:
      folder: where.
      models: what it offers.

    Returns:
      Bytes written.

    Raises:
      OutputError: disk full, no permission.
    """
    files = page.members() | page.model_files(models, offline=True)
    target = Path(folder)
    temporary = target.parent / f".{secrets.token_hex(6)}"
    with errors_of_disk(target):
        try:
            for name, content in files.items():
                path = temporary / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return sum(map(len, files.values()))
