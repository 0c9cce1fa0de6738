"""From a model folder to a file that leaves Python."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from score_jax import pretrained
from score_jax._types import PathLike
from score_jax.api.models import load_network
from score_jax.errors import CheckpointError, ConfigError, OutputError
from score_jax.export import describe
from score_jax.imaging import atomic, write_json
from score_jax.inference import Predictor
from score_jax.web import page
from score_jax.web.page import WebModel

FORMATS = ("stablehlo", "onnx")
WEIGHTS = ("float32", "float16", "int8")


def export_model(
    model: PathLike,
    out: PathLike,
    *,
    format: str,
    weights: str = "float32",
    licence: str = "",
    replace: bool = False,
) -> dict[str, Any]:
    """Write a model as one file for other programs, and ``OUT.json`` that describes it.

    Args:
      model: a shipped model's name, a run or a model folder; the members of an ensemble become one
        network that gives the mean of their logits.
      out: the file, ending in ``.stablehlo`` or ``.onnx``.
      format: which of the two.
      weights: how ONNX stores them; its arithmetic is float32 in any case.
      licence: of the weights, to be written beside them.
      replace: overwrite the file if it is there.

    Returns:
      The description, and the file's size and checksum.

    Raises:
      ConfigError: an unknown format or ending, or the package of the format is not installed.
      CheckpointError, ModelNotFoundError: as `load_model`, and for models exported before.
      OutputError: the file is there, or cannot be written.
    """
    out = Path(out)
    if format not in FORMATS or out.suffix != f".{format}":
        raise ConfigError(
            f"{out}: got the ending {out.suffix!r} for the format {format!r}; expected "
            + " or ".join(f".{name} for {name}" for name in FORMATS)
        )
    if weights not in WEIGHTS:
        raise ConfigError(f"weights: got {weights!r}; expected one of {', '.join(WEIGHTS)}")
    if weights != "float32" and format != "onnx":
        raise ConfigError(f"weights: got {weights!r} for {format}; only ONNX stores them smaller")
    if out.exists() and not replace:
        raise OutputError(f"{out}: exists already", hint="--replace overwrites it")
    loaded = load_network(model)
    if not loaded.members:
        raise CheckpointError(f"{model}: exported already; expected a run or a model folder")
    facts = describe(
        loaded.spec,
        loaded.members,
        loaded.postprocessing,
        name=loaded.name,
        weights=weights,
        licence=licence,
    )
    if format == "onnx":
        data = onnx_bytes(loaded, weights, facts)
    else:
        import jax
        import jax.export

        from score_jax.export import stablehlo

        data = bytes(stablehlo.serialise(loaded.spec, loaded.members))
        facts |= {
            "platforms": list(stablehlo.PLATFORMS),
            "calling_convention_version": jax.export.maximum_supported_calling_convention_version,
            "jax": jax.__version__,
        }
    facts |= {"file": out.name, "bytes": len(data), "file_sha256": hashlib.sha256(data).hexdigest()}
    with atomic(out) as temporary:
        temporary.write_bytes(data)
    write_json(out.with_name(out.name + ".json"), facts)
    return facts


def onnx_bytes(model: Predictor, weights: str, facts: Mapping[str, Any]) -> bytes:
    """The model as an ONNX file.

    Raises:
      ConfigError: the package onnx is not installed.
    """
    try:
        from score_jax.export import onnx
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise ConfigError(
            "export: ONNX needs the package onnx, which is not installed",
            hint="pip install 'score-jax[onnx]'",
        ) from None
    graph = onnx.graph_of(model.spec, model.members, weights=weights, metadata=facts)
    return graph.SerializeToString()


def export_page(
    models: Sequence[PathLike], out: PathLike, *, licence: str = "", replace: bool = False
) -> dict[str, Any]:
    """Write a web page that runs models in the browser: a folder for any file server.

    Args:
      models: as `export_model` takes them, in the order in which the page lists them.
      out: the folder.
      licence: of the weights of models that do not ship with the package.
      replace: overwrite a page that is there.

    Returns:
      The models' names, and the size of it all in bytes.

    Raises:
      CheckpointError, ModelNotFoundError, ConfigError: as `export_model`.
      OutputError: the folder is there, or cannot be written.
    """
    from score_jax.export import web

    out = Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        if not replace:
            raise OutputError(f"{out}: exists already", hint="--replace overwrites a page")
        if not (out / "models.json").is_file():
            raise OutputError(
                f"{out}: is no page that this program wrote; expected one to replace",
                hint="choose another folder",
            )
    made = [web_model(model, licence=licence) for model in models]
    return {"models": [model.name for model in made], "bytes": web.write_page(out, made)}


def web_model(model: PathLike, *, licence: str = "") -> WebModel:
    """A model as the page needs it: a shipped one as it was packed, another one exported now.

    Args:
      model: as `export_model` takes it.
      licence: of weights that do not ship with the package.

    Raises:
      CheckpointError, ModelNotFoundError, ConfigError: as `export_model`.
    """
    name = str(model)
    known = pretrained.registry().get(name)
    if known is not None:
        packed = page.shipped(name, known["sha256"], known["summary"])
        if packed is not None:
            return packed
        licence = known["licence"]
    loaded = load_network(model)
    if not loaded.members:
        raise CheckpointError(f"{model}: exported already; expected a run or a model folder")
    facts = describe(
        loaded.spec, loaded.members, loaded.postprocessing, name=loaded.name, licence=licence
    )
    regions = ", ".join(region.name for region in loaded.spec.regions)
    summary = known["summary"] if known is not None else regions
    return WebModel(loaded.name, summary, onnx_bytes(loaded, "float32", facts), facts)
