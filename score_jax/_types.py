"""Array types used across the package (checked by beartype in the tests).

Dimension letters: ``b`` batch, ``x y z`` array axes in nibabel's order, ``c`` channels,
``r`` regions, ``k`` labels. Spacing is in mm in the order of the axes.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

PathLike = str | os.PathLike[str]
Affine = Float[np.ndarray, "4 4"]
Axcodes = str
Spacing = tuple[float, ...]
Params = Mapping[str, Any]
