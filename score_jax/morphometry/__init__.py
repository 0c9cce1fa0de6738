"""Numbers of lesions and of the spinal cord, as pure functions on arrays.

Definitions, sources and what happens to imperfect masks: ``docs/morphometry.md``.
"""

from score_jax.morphometry.analysis import lesions as lesions
from score_jax.morphometry.centerline import Tilt as Tilt
from score_jax.morphometry.centerline import tilt as tilt
from score_jax.morphometry.cord import ShapeTable as ShapeTable
from score_jax.morphometry.cord import cord_shape as cord_shape
from score_jax.morphometry.distribution import Atlas as Atlas
from score_jax.morphometry.table import LesionTable as LesionTable
