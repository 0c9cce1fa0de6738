"""Several drawings of one image, by raters, networks or folds, as one array."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped

from score_jax.errors import GeometryError, ImageError


def stack_raters(
    masks: Shaped[np.ndarray, "..."] | Sequence[Shaped[np.ndarray, "..."]],
) -> Shaped[np.ndarray, "..."]:
    """The raters' masks or label maps on a new first axis: bool or integers.

    Args:
      masks: one a rater, of one shape; floats must hold whole numbers.

    Raises:
      ValueError: fewer than two.
      GeometryError: the shapes differ.
      ImageError: fractions, as in a soft mask.
    """
    images = [np.asarray(mask) for mask in masks]
    if len(images) < 2:
        raise ValueError(f"masks: got {len(images)}; expected two or more of one image")
    for number, image in enumerate(images[1:], 2):
        if image.shape != images[0].shape:
            raise GeometryError(
                f"masks: got the shape {images[0].shape} first and {image.shape} as number "
                f"{number}; expected one grid",
                hint="resample one to the other",
            )
    return np.stack([_whole(image, number) for number, image in enumerate(images, 1)])


def _whole(image: Shaped[np.ndarray, "..."], number: int) -> Shaped[np.ndarray, "..."]:
    if image.dtype.kind in "biu":
        return image
    near = np.rint(image)
    if not np.array_equal(near, image):
        raise ImageError(
            f"masks: number {number} holds values that are not whole numbers; expected a mask or "
            "labels",
            hint="threshold a soft mask first, e.g. mask > 0.5",
        )
    return near.astype(np.int32)
