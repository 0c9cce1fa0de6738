"""The page on this computer: scans shown, segmented and judged in the browser."""

from collections.abc import Sequence
from pathlib import Path

from score_jax import pretrained
from score_jax._types import PathLike
from score_jax.api.exporting import web_model
from score_jax.imaging import load_header
from score_jax.web import page
from score_jax.web.serve import Named, Server


def view(
    files: Sequence[PathLike] = (),
    *,
    models: Sequence[PathLike] | None = None,
    port: int | None = None,
) -> Server:
    """A server for the page, on 127.0.0.1; ``serve_forever()`` runs it, ``url`` is its address.

    Args:
      files: a scan, and masks of it, that the page opens at once.
      models: names or folders of models to offer; None: all shipped ones.
      port: None: 8642 or, if that is taken, a free one; 0: a free one.

    Raises:
      ImageError, GeometryError: a file that is no image.
      ConfigError: the port is taken, or a model needs the package onnx, which is not installed.
      ModelNotFoundError, CheckpointError: as `load_model`.
    """
    paths = [Path(path) for path in files]
    for path in paths:
        load_header(path)  # refuse it here, where the user looks
    named = [Named(path, "mask" if number else "scan") for number, path in enumerate(paths)]
    offered = [web_model(name) for name in (pretrained.registry() if models is None else models)]
    return Server(page.members() | page.model_files(offered, offline=False), named, port)
