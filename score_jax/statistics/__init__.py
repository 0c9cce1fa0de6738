"""The statistics of both papers: arrays in, numbers out; no files, no tables ready to print.

What each procedure is and what was chosen where a paper is silent: docs/statistics.md. The
coefficient of variation (RSD) and the intraclass correlation are `score_jax.metrics.rsd` and `icc`.
"""
