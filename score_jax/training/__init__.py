"""Training: a pure jitted step, and the loop around it that reports, validates and saves."""

from score_jax.training.events import Event as Event
from score_jax.training.loop import Task as Task
from score_jax.training.loop import train as train
