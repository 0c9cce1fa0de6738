"""Which program computes a model's network: JAX, or onnxruntime on an export made on the spot."""

from score_jax.errors import ConfigError
from score_jax.inference import Ensemble, Predictor, Segmenter, exported

RUNTIMES = ("auto", "jax", "onnx")


def use_runtime(model: Segmenter, runtime: str) -> None:
    """Let `runtime` compute the networks of `model` from now on.

    An exported model keeps the runtime of its format. ``auto`` is ``jax``: on a CPU a window takes
    half to two thirds of onnxruntime's processor time (docs/export.md); ``onnx`` starts about a
    second sooner, because nothing is compiled, which pays for scans of a few windows.

    Args:
      model: from `load_model`; it is changed.
      runtime: one of `RUNTIMES`.

    Raises:
      ConfigError: an unknown runtime, JAX for an ONNX model, or onnxruntime is not installed.
    """
    if runtime not in RUNTIMES:
        raise ConfigError(f"runtime: got {runtime!r}; expected one of {', '.join(RUNTIMES)}")
    for one in model.models if isinstance(model, Ensemble) else [model]:
        _use(one, runtime)


def _use(model: Predictor, runtime: str) -> None:
    if isinstance(model, exported.Exported):
        if runtime not in ("auto", model.format):
            raise ConfigError(
                f"runtime: got {runtime!r} for {model.name}, an exported model; expected "
                f"{model.format}",
                hint="name the model it was exported from",
            )
    elif runtime == "onnx":
        from score_jax.api.exporting import onnx_bytes

        data = onnx_bytes(model, "float32", {})
        model.runtime = exported.onnx_network(data, model.name)[0]
