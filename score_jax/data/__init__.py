"""Datasets on the host: finding cases, reading and preparing them, splits, batches."""

import importlib
from typing import TYPE_CHECKING, Any

from score_jax.data.cases import Case as Case
from score_jax.data.cases import Dataset as Dataset
from score_jax.data.cases import Problem as Problem
from score_jax.data.cases import regions_from_names as regions_from_names
from score_jax.data.checking import CaseReport as CaseReport
from score_jax.data.checking import inspect as inspect
from score_jax.data.discovery import discover as discover
from score_jax.data.discovery import discover_raters as discover_raters
from score_jax.data.discovery import survey as survey
from score_jax.data.loading import LoadedCase as LoadedCase
from score_jax.data.loading import load_case as load_case
from score_jax.data.loading import load_image as load_image
from score_jax.data.loading import load_raters as load_raters
from score_jax.data.loading import load_targets as load_targets
from score_jax.data.splits import Split as Split
from score_jax.data.splits import hold_out as hold_out
from score_jax.data.splits import k_fold as k_fold
from score_jax.data.splits import read_splits as read_splits
from score_jax.data.splits import write_splits as write_splits

if TYPE_CHECKING:
    from score_jax.data.batches import Member as Member
    from score_jax.data.batches import open_batches as open_batches
    from score_jax.data.prepared import PreparedDataset as PreparedDataset
    from score_jax.data.prepared import prepare_dataset as prepare_dataset

# loaded on first use: Grain and tensorstore take half a second that looking at files does not need
_LATER = {
    "Member": "batches",
    "open_batches": "batches",
    "PreparedDataset": "prepared",
    "prepare_dataset": "prepared",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f"score_jax.data.{_LATER[name]}"), name)
    raise AttributeError(f"module 'score_jax.data' has no attribute {name!r}")
