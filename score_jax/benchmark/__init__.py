"""Speed of the library on this machine, against what its arithmetic allows and against PyTorch.

``score-jax benchmark`` runs these suites. Other comparisons are scripts of the source tree
(``benchmarks/``).
"""

from score_jax.benchmark.parts import Part as Part
from score_jax.benchmark.peer import Peer as Peer
from score_jax.benchmark.running import run as run
from score_jax.benchmark.suites import SUITES as SUITES
from score_jax.benchmark.suites import Case as Case
from score_jax.benchmark.timing import Rates as Rates
from score_jax.benchmark.timing import measure as measure
from score_jax.benchmark.work import multiply_adds as multiply_adds
