"""Images and tables on disk: the only package that knows file formats (and nibabel)."""

from score_jax.imaging.files import atomic as atomic
from score_jax.imaging.masks import load_labels as load_labels
from score_jax.imaging.masks import load_mask as load_mask
from score_jax.imaging.masks import same_grid as same_grid
from score_jax.imaging.orientation import Reorientation as Reorientation
from score_jax.imaging.orientation import axcodes_of as axcodes_of
from score_jax.imaging.orientation import check_axcodes as check_axcodes
from score_jax.imaging.orientation import reorientation as reorientation
from score_jax.imaging.tables import read_columns as read_columns
from score_jax.imaging.tables import read_json as read_json
from score_jax.imaging.tables import read_table as read_table
from score_jax.imaging.tables import write_json as write_json
from score_jax.imaging.tables import write_text as write_text
from score_jax.imaging.tables import write_tsv as write_tsv
from score_jax.imaging.volume import Volume as Volume
from score_jax.imaging.volume import load as load
from score_jax.imaging.volume import load_header as load_header
from score_jax.imaging.volume import save as save
