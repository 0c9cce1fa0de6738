"""Scores of a segmentation against a reference, as pure functions on arrays.

Definitions, sources and differences between tools: ``docs/metrics.md``.
"""

from score_jax.metrics.agreement import fleiss_kappa as fleiss_kappa
from score_jax.metrics.agreement import icc as icc
from score_jax.metrics.agreement import kappa as kappa
from score_jax.metrics.agreement import pairwise as pairwise
from score_jax.metrics.agreement import rsd as rsd
from score_jax.metrics.anima_compat import anima as anima
from score_jax.metrics.definitions import DEFINITIONS as DEFINITIONS
from score_jax.metrics.definitions import Definition as Definition
from score_jax.metrics.inputs import EMPTY_POLICIES as EMPTY_POLICIES
from score_jax.metrics.lesionwise import lesion_dice as lesion_dice
from score_jax.metrics.lesionwise import lesion_wise as lesion_wise
from score_jax.metrics.lesionwise import panoptic_quality as panoptic_quality
from score_jax.metrics.overlap import Counts as Counts
from score_jax.metrics.overlap import area_difference as area_difference
from score_jax.metrics.overlap import areas as areas
from score_jax.metrics.overlap import counts as counts
from score_jax.metrics.overlap import dice as dice
from score_jax.metrics.overlap import jaccard as jaccard
from score_jax.metrics.overlap import npv as npv
from score_jax.metrics.overlap import ppv as ppv
from score_jax.metrics.overlap import relative_volume_error as relative_volume_error
from score_jax.metrics.overlap import sensitivity as sensitivity
from score_jax.metrics.overlap import specificity as specificity
from score_jax.metrics.overlap import volume_difference as volume_difference
from score_jax.metrics.overlap import volumetric_similarity as volumetric_similarity
from score_jax.metrics.presets import PRESETS as PRESETS
from score_jax.metrics.presets import by_slice as by_slice
from score_jax.metrics.presets import everything as everything
from score_jax.metrics.surface import SurfaceDistances as SurfaceDistances
from score_jax.metrics.surface import assd as assd
from score_jax.metrics.surface import hausdorff as hausdorff
from score_jax.metrics.surface import hausdorff95 as hausdorff95
from score_jax.metrics.surface import masd as masd
from score_jax.metrics.surface import nsd as nsd
from score_jax.metrics.surface import surface_distances as surface_distances
