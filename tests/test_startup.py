"""What a command waits for before it starts: only what it uses is imported."""

import subprocess
import sys

import pytest

import score_jax
from score_jax import api


def loaded_after(statement):
    """Names of the modules a new interpreter holds after `statement`."""
    code = f"{statement}\nimport sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", [score_jax, api])
def test_every_public_name_is_there(module):
    for name in dir(module):
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'segment'"):
        _ = module.segment


def test_help_waits_for_no_array_library():
    assert not loaded_after("import score_jax.cli") & {"jax", "numpy", "scipy", "matplotlib"}


def test_a_prediction_does_not_wait_for_training():
    names = loaded_after("from score_jax import api; api.load_models, api.predict, api.Predicted")
    assert "score_jax.inference" in names
    assert not names & {"score_jax.training", "score_jax.data.batches", "grain", "matplotlib"}
