"""The pictures of the report: what is where, whatever the orientation of the file."""

import numpy as np
import pytest
from PIL import Image

from score_jax.imaging import Volume
from score_jax.qc.report_pictures import (
    HEIGHT,
    SAGITTAL,
    TILE,
    TILE_MM,
    WIDTH,
    colour,
    montage,
    write_montage,
)

SHAPE = (40, 44, 9)  # LAS: right to left, back to front, up
AFFINE = np.array([[-1.0, 0, 0, 20], [0, 1, 0, -22], [0, 0, 3, 0], [0, 0, 0, 1]])


def scene():
    """A cord in the middle, a bright spot on the patient's left front of slice 6 alone."""
    x, y, _ = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    cord = np.hypot(x - 19.5, y - 21.5) < 5
    spot = np.zeros(SHAPE, bool)
    spot[27:30, 27:30, 6] = True
    return cord + 9.0 * spot.astype(np.float32), cord, spot


@pytest.mark.parametrize("axcodes", ["LAS", "RPI", "SRA"])
def test_left_front_and_head_are_where_they_should_be(axcodes):
    _, cord, spot = scene()
    volume = Volume(spot.astype(np.float32), AFFINE).reoriented(axcodes)
    mask = Volume(cord, AFFINE).reoriented(axcodes).data
    seen = montage(Volume(np.asarray(volume.data), volume.affine), {"cord": np.asarray(mask)})
    assert seen.slices == tuple(range(8, -1, -1))  # from the head down
    assert seen.image.shape == seen.contours.shape == (HEIGHT, WIDTH)
    number = seen.slices.index(6)
    left, top = SAGITTAL[0] + TILE * (number % 4), TILE * (number // 4)
    tile = seen.image[top : top + TILE, left : left + TILE]
    v, u = (float(i.mean()) for i in np.nonzero(tile > 200))
    # 8.5 mm to the patient's left is to the right; 6.5 mm to the front is up
    np.testing.assert_allclose(
        [u, v], [(8.5 / TILE_MM + 0.5) * TILE, (0.5 - 6.5 / TILE_MM) * TILE], atol=1.5
    )
    outline = seen.contours[top : top + TILE, left : left + TILE] > 0
    width = np.ptp(np.nonzero(outline)[1]) + 1
    np.testing.assert_allclose(width * TILE_MM / TILE, 10, atol=1)  # of a cord 10 voxels wide


def test_the_sagittal_view_follows_a_bent_cord():
    x, y, z = np.meshgrid(*map(np.arange, (60, 44, 21)), indexing="ij")
    middle = 15 + 1.5 * z  # from one side to the other: no straight plane holds it
    cord = np.hypot(x - middle, y - 21.5) < 4
    seen = montage(Volume(cord.astype(np.float32), AFFINE), {"cord": cord})
    view = seen.image[:, : SAGITTAL[0]]
    filled = (view > 128).any(axis=1)
    assert filled.sum() > 0.95 * 20 * 3 * TILE / TILE_MM * 0.9


def test_regions_have_their_numbers_and_empty_ones_none():
    image, cord, spot = scene()
    seen = montage(Volume(image, AFFINE), {"cord": cord, "lesion": spot, "gm": cord & False})
    assert set(np.unique(seen.contours)) == {0, 1, 2}
    nothing = montage(Volume(image, AFFINE), {"cord": cord & False})
    assert not nothing.contours.any()
    assert nothing.image.any()
    assert len(nothing.slices) == 9


def test_files(tmp_path):
    image, cord, spot = scene()
    seen = montage(Volume(np.stack([image, image], -1), AFFINE), {"cord": cord, "lesion": spot})
    for name in ("a", "b"):
        write_montage(seen, tmp_path / f"{name}.webp", tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.webp").read_bytes() == (tmp_path / "b.webp").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        drawn = np.asarray(picture.convert("RGBA"))
    assert (drawn[..., 3] == np.where(seen.contours > 0, 255, 0)).all()
    red = tuple(bytes.fromhex(colour(0)[1:]))
    assert (drawn[seen.contours == 1][:, :3] == red).all()
    with Image.open(tmp_path / "a.webp") as picture:
        assert picture.size == (WIDTH, HEIGHT)
    assert (tmp_path / "a.webp").stat().st_size < 40_000


def test_a_flat_image_is_drawn():
    seen = montage(Volume(np.ones(SHAPE, np.float32), AFFINE), {"cord": np.ones(SHAPE, bool)})
    assert not seen.image.any()
    one = montage(
        Volume(np.ones((5, 6, 1), np.float32), AFFINE), {"cord": np.ones((5, 6, 1), bool)}
    )
    assert one.slices == (0,)
