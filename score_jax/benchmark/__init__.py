"""Speed of the networks on this machine, against what its arithmetic allows.

``score-jax benchmark`` runs these suites. Comparisons with other programs are scripts of the source
tree (``benchmarks/``): they need those programs installed.
"""

from score_jax.benchmark.suites import SUITES as SUITES
from score_jax.benchmark.suites import Case as Case
from score_jax.benchmark.timing import matrix_rate as matrix_rate
from score_jax.benchmark.timing import measure as measure
from score_jax.benchmark.work import multiply_adds as multiply_adds
