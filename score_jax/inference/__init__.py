"""From an image to a segmentation with a trained model."""

from score_jax.inference.ensemble import Ensemble as Ensemble
from score_jax.inference.ensemble import Segmenter as Segmenter
from score_jax.inference.predictor import Predictor as Predictor
from score_jax.inference.predictor import Segmentation as Segmentation
