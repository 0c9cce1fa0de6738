"""Active learning as SCIseg did it: rank what is unlabelled, take corrections in, compare phases.

docs/active_learning.md says what each number means and what happens to each file.
"""

from score_jax.active.asking import DRAWS as DRAWS
from score_jax.active.intake import Ingested as Ingested
from score_jax.active.intake import IngestOptions as IngestOptions
from score_jax.active.intake import Taken as Taken
from score_jax.active.intake import ingest as ingest
from score_jax.active.matching import Refused as Refused
from score_jax.active.phases import Status as Status
from score_jax.active.phases import status as status
from score_jax.active.ranking import WEIGHTS as WEIGHTS
from score_jax.active.ranking import Ranked as Ranked
from score_jax.active.ranking import Ranking as Ranking
from score_jax.active.ranking import RankOptions as RankOptions
from score_jax.active.ranking import Unscored as Unscored
from score_jax.active.ranking import rank as rank
