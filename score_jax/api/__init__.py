"""What ``import score_jax as sj`` and the command line call: train, validate, predict, ...

These functions tie files to the layers below; every one of them can be called from a script.

Names are loaded on first use (PEP 562): a prediction does not wait for what training imports.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from score_jax.api.choosing import Choice as Choice
    from score_jax.api.choosing import choose_models as choose_models
    from score_jax.api.comparison import Comparison as Comparison
    from score_jax.api.comparison import compare as compare
    from score_jax.api.ensembling import ensemble as ensemble
    from score_jax.api.exporting import export_model as export_model
    from score_jax.api.exporting import export_page as export_page
    from score_jax.api.models import list_models as list_models
    from score_jax.api.models import load_model as load_model
    from score_jax.api.models import load_models as load_models
    from score_jax.api.models import load_network as load_network
    from score_jax.api.planning import Planned as Planned
    from score_jax.api.planning import plan as plan
    from score_jax.api.postprocessing import find_postprocessing as find_postprocessing
    from score_jax.api.prediction import Failed as Failed
    from score_jax.api.prediction import Predicted as Predicted
    from score_jax.api.prediction import check_outputs as check_outputs
    from score_jax.api.prediction import predict as predict
    from score_jax.api.runs import runs_in as runs_in
    from score_jax.api.runtime import use_runtime as use_runtime
    from score_jax.api.training import TrainedRun as TrainedRun
    from score_jax.api.training import train as train
    from score_jax.api.validation import Validated as Validated
    from score_jax.api.validation import validate as validate
    from score_jax.api.viewing import view as view
    from score_jax.evaluation import evaluate as evaluate

_NAMES = {
    "Choice": "score_jax.api.choosing",
    "choose_models": "score_jax.api.choosing",
    "Comparison": "score_jax.api.comparison",
    "compare": "score_jax.api.comparison",
    "ensemble": "score_jax.api.ensembling",
    "export_model": "score_jax.api.exporting",
    "export_page": "score_jax.api.exporting",
    "list_models": "score_jax.api.models",
    "load_model": "score_jax.api.models",
    "load_models": "score_jax.api.models",
    "load_network": "score_jax.api.models",
    "Planned": "score_jax.api.planning",
    "plan": "score_jax.api.planning",
    "find_postprocessing": "score_jax.api.postprocessing",
    "Failed": "score_jax.api.prediction",
    "Predicted": "score_jax.api.prediction",
    "check_outputs": "score_jax.api.prediction",
    "predict": "score_jax.api.prediction",
    "runs_in": "score_jax.api.runs",
    "use_runtime": "score_jax.api.runtime",
    "TrainedRun": "score_jax.api.training",
    "train": "score_jax.api.training",
    "Validated": "score_jax.api.validation",
    "validate": "score_jax.api.validation",
    "view": "score_jax.api.viewing",
    "evaluate": "score_jax.evaluation",
}


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_NAMES)
