"""Scores of files and folders: matching by name, checking grids, many cases at once, tables."""

from score_jax.evaluation.raters import Consensus as Consensus
from score_jax.evaluation.raters import consensus as consensus
from score_jax.evaluation.run import Evaluation as Evaluation
from score_jax.evaluation.run import evaluate as evaluate
from score_jax.evaluation.scoring import Failure as Failure
from score_jax.evaluation.scoring import Score as Score
from score_jax.evaluation.tables import write as write
