"""Simulated spinal cords whose truth is known: anatomy, MR physics, raters, cohorts.

Arrays in, arrays out: no files here (`score_jax.data.simulated` writes them). Sources and limits:
docs/phantom.md.
"""

from score_jax.phantom.acquisition import Acquisition as Acquisition
from score_jax.phantom.amira import amira_cohort as amira_cohort
from score_jax.phantom.cohort import Cohort as Cohort
from score_jax.phantom.cohort import Patient as Patient
from score_jax.phantom.cohort import Scan as Scan
from score_jax.phantom.sci import sci_cohort as sci_cohort
