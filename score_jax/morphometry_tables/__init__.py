"""Morphometry of files and folders: reading, matching by name, tables, pictures, many at once."""

from score_jax.morphometry_tables.areas import AreaOptions as AreaOptions
from score_jax.morphometry_tables.areas import Areas as Areas
from score_jax.morphometry_tables.areas import measure_areas as measure_areas
from score_jax.morphometry_tables.batch import run as run
from score_jax.morphometry_tables.cases import Case as Case
from score_jax.morphometry_tables.cases import Failure as Failure
from score_jax.morphometry_tables.cases import find_cases as find_cases
from score_jax.morphometry_tables.inputs import MaskFile as MaskFile
from score_jax.morphometry_tables.lesions import LesionOptions as LesionOptions
from score_jax.morphometry_tables.lesions import Lesions as Lesions
from score_jax.morphometry_tables.lesions import measure_lesions as measure_lesions
from score_jax.morphometry_tables.lesions import with_status as with_status
from score_jax.morphometry_tables.writing import one_file as one_file
from score_jax.morphometry_tables.writing import write_tables as write_tables
