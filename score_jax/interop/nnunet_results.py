"""nnU-Net's own post-processing, scores and schedule, to repeat its published numbers.

For new work `score_jax.metrics` and ``score-jax evaluate`` say more; here are the definitions of
nnU-Net 2.8.1, where they differ: ties of the largest component, NaN of empty cases, the layout of
``summary.json``.
"""

from score_jax.arrays.cleaning import keep_largest as keep_largest
from score_jax.evaluation.label_summary import case_entry as case_entry
from score_jax.evaluation.label_summary import case_scores as case_scores
from score_jax.evaluation.label_summary import summarise as summarise


def learning_rate(epoch: int, epochs: int = 1000, initial: float = 0.01) -> float:
    """nnU-Net's learning rate: ``initial (1 - epoch / epochs)^0.9``, constant within an epoch.

    >>> learning_rate(0)
    0.01
    """
    return initial * (1 - epoch / epochs) ** 0.9
