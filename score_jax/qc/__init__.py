"""Quality control: what a person looks at to judge a mask."""

from score_jax.qc.pictures import draw_overview as draw_overview
