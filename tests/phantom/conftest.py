"""Bodies and scenes that several tests look at; each is made once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_jax.phantom import Acquisition, anatomy, lesions
from score_jax.phantom.posture import laid_along
from score_jax.phantom.scene import rasterise

GRID = Acquisition(
    shape=(34, 26, 3), spacing_mm=(1.0, 0.9, 5.0), centre_mm=(0.0, 0.0, -12.0), fine_mm=0.25
)


@pytest.fixture(scope="session")
def grid():
    return GRID


@pytest.fixture(scope="session")
def body():
    """A cord of exactly the tables' mean size, but for its random outline."""
    zero = jnp.zeros(())
    traits = anatomy.Traits(*([zero] * len(anatomy.Traits._fields)))
    return jax.jit(anatomy.draw_subject)(jax.random.key(4), traits)


@pytest.fixture(scope="session")
def straight():
    s = jnp.asarray(anatomy.S_GRID)
    return laid_along(0 * s, 0 * s, jnp.zeros(()))


@pytest.fixture(scope="session")
def scene(body, straight):
    return rasterise(body, straight, GRID, distances=True)


@pytest.fixture(scope="session")
def sick_scene(body, straight):
    rng = np.random.default_rng(5)
    sick = body._replace(blobs=lesions.ms_blobs(rng, count=4, stretch=(-20.0, -5.0)))
    return rasterise(sick, straight, GRID, distances=True)
