"""Exported models at work: ONNX in onnxruntime, StableHLO in JAX; everything else as ever."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from score_jax._types import PathLike
from score_jax.config import ModelSpec
from score_jax.config.exported import FORMAT, INPUT, METADATA
from score_jax.config.postprocessing import Postprocessing
from score_jax.errors import CheckpointError, ConfigError, ModelNotFoundError, OutputError
from score_jax.inference import tiling
from score_jax.inference.predictor import Predictor

SUFFIXES = (".onnx", ".stablehlo")


@dataclass(eq=False)
class Exported(Predictor):
    """A predictor whose network runs elsewhere; it knows its weights by their checksums only.

    Args:
      checksums: what `sha256` of the model it was exported from gave.
      format: "onnx" or "stablehlo".
    """

    checksums: Sequence[str] = ()
    format: str = "onnx"

    @property
    def is_random(self) -> bool:
        return False

    @property
    def sha256(self) -> list[str]:
        return list(self.checksums)

    def save(self, folder: PathLike) -> None:
        del folder
        raise OutputError(
            f"{self.name}: an exported model cannot become a model folder again",
            hint="keep the model it was exported from",
        )


def is_exported(path: PathLike) -> bool:
    """Whether the name is that of an exported model."""
    return Path(path).suffix in SUFFIXES


def load(path: PathLike) -> Exported:
    """The model in a file that ``score-jax export`` wrote.

    Raises:
      ModelNotFoundError: no such file, or none with its description beside it (StableHLO).
      CheckpointError: damaged, of a newer format, or not written by this program.
      ConfigError: ONNX without onnxruntime.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelNotFoundError(f"{path}: no such file; expected an exported model")
    if path.suffix == ".onnx":
        network, stored = onnx_network(path.read_bytes(), str(path))
    else:
        beside = path.with_name(path.name + ".json")
        if not beside.is_file():
            raise ModelNotFoundError(
                f"{path}: got no {beside.name} beside it; expected the model's description",
                hint="`score-jax export` writes both; keep them together",
            )
        stored = _read(beside.read_bytes(), str(beside))
        network = _stablehlo_network(path)
    return _predictor(stored, network, path)


def _predictor(stored: Mapping[str, Any], network: tiling.Network, path: Path) -> Exported:
    if stored.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: got export format {stored.get('format')}; this version reads {FORMAT}",
            hint="upgrade score-jax, or export the model again",
        )
    try:
        spec = ModelSpec.from_json(stored["spec"], str(path))
        rules = Postprocessing.from_json(stored["postprocessing"], str(path))
        rules.check(spec.regions, str(path))
        checksums = [str(value) for value in stored["sha256"]]
    except (KeyError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{path}: its description is damaged ({error})") from None
    return Exported(
        spec, [], path.stem, rules, network, checksums=checksums, format=path.suffix[1:]
    )


def onnx_network(model: bytes, where: str) -> tuple[tiling.Network, dict[str, Any]]:
    """An ONNX model of ours as a function of tiles, channels last, and its description.

    Raises:
      CheckpointError: not ONNX, or not written by this program.
      ConfigError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError(
            f"{where}: needs onnxruntime, which is not installed",
            hint="pip install 'score-jax[onnx]'",
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it would print comes back as an exception too
    offered = onnxruntime.get_available_providers()
    wanted = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in offered]
    try:
        session = onnxruntime.InferenceSession(model, options, providers=wanted)
    except Exception as error:  # onnxruntime's exceptions have no common class
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{where}: onnxruntime cannot read it ({reason})") from None
    properties = session.get_modelmeta().custom_metadata_map
    if METADATA not in properties:
        raise CheckpointError(
            f"{where}: got no {METADATA!r} in its metadata; expected a model that `score-jax "
            "export` wrote"
        )

    def network(tiles: Float32[np.ndarray, "b *tile c"]) -> Float32[np.ndarray, "b *tile k"]:
        first = np.ascontiguousarray(np.moveaxis(tiles, -1, 1), np.float32)
        logits = np.asarray(session.run(None, {INPUT: first})[0])
        return np.moveaxis(logits, 1, -1)

    return network, _read(properties[METADATA].encode(), where)


def _stablehlo_network(path: Path) -> tiling.Network:
    import jax
    import jax.export

    try:
        exported = jax.export.deserialize(bytearray(path.read_bytes()))
    except Exception as error:  # flatbuffers and MLIR raise what they like
        raise CheckpointError(
            f"{path}: JAX cannot read it ({str(error).splitlines()[0]})",
            hint="export the model again with this version of JAX",
        ) from None
    call = jax.jit(exported.call)
    return lambda tiles: np.asarray(call(tiles))


def _read(text: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{where}: its description is no JSON ({error})") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{where}: its description is no JSON object")
    return found
