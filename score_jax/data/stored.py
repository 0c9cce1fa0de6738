"""One prepared case on disk: image and masks in compressed chunks, read window by window.

A case is a folder::

  case.json   what it was made from (checksums, stamps), and the way back to the image's grid
  image/      float32 (x, y, z, c), normalised, on the network's grid
  masks/      (k, x, y, z), one integer a voxel: bit r is region r; k raters
  truth/      the same on the image's own grid, for validation
  voxels.npy  some voxels of each region of each rater, to centre patches on

Arrays are zarr 3, one file each: chunks of about 32,768 voxels with a checksum, inside one shard.
"""

import contextlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import tensorstore as ts
from jaxtyping import Bool, Float32, Int, Shaped, UInt, UInt8

from score_jax.errors import DatasetError
from score_jax.imaging import write_json
from score_jax.planning.preprocess import Prepared

FORMAT = 1  # raised when an older store must be made again
MOST_VOXELS = 10_000  # a region's voxels kept to centre patches on, as in nnU-Net
CHUNK_VOXELS = 2**15

ABOUT, IMAGE, MASKS, TRUTH, VOXELS = "case.json", "image", "masks", "truth", "voxels.npy"


def write_sample(
    folder: Path,
    prepared: Prepared,
    truth: Bool[np.ndarray, "k x y z r"],
    made_from: Mapping[str, Any],
    *,
    ignore: bool,
    thin_axis: int | None = None,
) -> None:
    """Write the files of one case into the empty `folder`; ``case.json`` comes last.

    Args:
      folder: of the case.
      prepared: its image on the network's grid.
      truth: masks on the image's own grid, raters first.
      made_from: what ``case.json`` also holds.
      ignore: the last channel of `truth` marks voxels that take no part, not a region.
      thin_axis: an axis of the network's grid read in single slices; chunks are one voxel thick
        along it.

    Raises:
      ValueError, OSError: what tensorstore and the system say of a full disk.
    """
    masks = np.stack([prepared.targets(one) for one in truth])
    regions = masks.shape[-1] - ignore
    voxels = [[some_voxels(one[..., r]) for r in range(regions)] for one in masks]
    _write_array(folder / IMAGE, prepared.image, (*_chunk(prepared.image.shape[:3], thin_axis), 1))
    for name, array, thin in ((MASKS, masks, thin_axis), (TRUTH, truth, None)):
        _write_array(folder / name, pack(array), (1, *_chunk(array.shape[1:4], thin)))
    flat = [some for one in voxels for some in one]
    np.save(folder / VOXELS, np.concatenate([np.zeros((0, 3), np.int32), *flat]))
    about = {
        "format": FORMAT,
        **made_from,
        "shape": list(prepared.image.shape),
        "channels": int(masks.shape[-1]),
        "voxels": [[len(some) for some in one] for one in voxels],
        "spacing_mm": list(prepared.spacing),
        "full_shape": list(prepared.full_shape),
        "full_spacing_mm": list(prepared.full_spacing),
        "box": [[side.start, side.stop] for side in prepared.box],
        "transpose": list(prepared.transpose),
    }
    write_json(folder / ABOUT, about)


def read_about(folder: Path) -> dict[str, Any] | None:
    """``case.json`` of a case, or None if there is none that this version reads."""
    try:
        about = json.loads((folder / ABOUT).read_text())
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) and about.get("format") == FORMAT else None


@final
class StoredSample:
    """A prepared case on disk.

    Args:
      id: of the case.
      folder: that `write_sample` filled.
      context: tensorstore's; its cache pool is shared by all samples that have it.

    Raises:
      DatasetError: the folder holds no case that this version reads.
    """

    def __init__(self, id: str, folder: Path, context: ts.Context) -> None:
        self.id, self.folder = id, folder
        about = read_about(folder)
        if about is None:
            raise self._damaged(f"no {ABOUT} of format {FORMAT}")
        self.about = about
        with self._reading():
            self._image = _open_array(folder / IMAGE, context)
            self._masks = _open_array(folder / MASKS, context)
        self._context = context
        counts = np.asarray(about["voxels"]).reshape(self.raters, -1)
        self._counts = counts
        self._ends = np.cumsum(counts).reshape(counts.shape)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the network's grid along each axis."""
        x, y, z, _ = self.about["shape"]
        return x, y, z

    @property
    def raters(self) -> int:
        """How many raters drew on it."""
        return len(self.about["voxels"])

    @property
    def image_channels(self) -> int:
        """Channels of its image."""
        return self.about["shape"][3]

    @property
    def channels(self) -> int:
        """Channels of its masks: regions, and the voxels to ignore if there are any."""
        return self.about["channels"]

    @property
    def voxels(self) -> Int[np.ndarray, "k r"]:
        """How many voxels of each region of each rater patches may be centred on."""
        return self._counts

    def voxel(self, rater: int, region: int, number: int) -> Int[np.ndarray, " 3"]:
        """Voxel `number` of those of a region, on the network's grid."""
        first = self._ends[rater, region] - self._counts[rater, region]
        with self._reading():
            # mapped, not read: one of up to 10,000 voxels is wanted
            return np.array(np.load(self.folder / VOXELS, mmap_mode="r")[first + number])

    def image_window(
        self, starts: Sequence[int], shape: Sequence[int]
    ) -> Float32[np.ndarray, "x y z c"]:
        """``image[starts : starts + shape]`` with zeros beyond the image."""
        out = np.zeros((*shape, self.image_channels), np.float32)
        self.begin_image(starts, out)()
        return out

    def targets_window(
        self, starts: Sequence[int], shape: Sequence[int], rater: int | None = None
    ) -> Bool[np.ndarray, "k x y z r"]:
        """Masks in the same window, raters first (all of them, or one); False beyond the image.

        Channels: the regions, then the voxels to ignore if the dataset declares a label for them.
        """
        return unpack(self.begin_masks(starts, shape, rater)(), self.channels)

    def begin_image(
        self, starts: Sequence[int], out: Float32[np.ndarray, "x y z c"]
    ) -> Callable[[], None]:
        """Begin to read the window that fits into `out`, zeros so far; a call waits for it."""
        return self._begin(self._image, 0, starts, out)

    def begin_masks(
        self, starts: Sequence[int], shape: Sequence[int], rater: int | None = None
    ) -> Callable[[], UInt[np.ndarray, "k x y z"]]:
        """Begin to read `targets_window` as it is stored (`pack`); a call waits for it."""
        array = self._masks if rater is None else self._masks[rater : rater + 1]
        out = np.zeros((array.shape[0], *shape), array.dtype.numpy_dtype)
        wait = self._begin(array, 1, starts, out)

        def packed() -> UInt[np.ndarray, "k x y z"]:
            wait()
            return out

        return packed

    def load(self) -> Prepared:
        """The whole image on the network's grid, with the way back to its own."""
        about = self.about
        return Prepared(
            image=self.image_window((0, 0, 0), self.shape),
            spacing=tuple(about["spacing_mm"]),
            full_shape=tuple(about["full_shape"]),
            box=tuple(slice(*ends) for ends in about["box"]),
            full_spacing=tuple(about["full_spacing_mm"]),
            transpose=tuple(about["transpose"]),
        )

    def truth(self) -> Bool[np.ndarray, "k x y z c"]:
        """The masks as drawn, on the image's own grid in the model's orientation, raters first.

        Channels as in `targets_window`.
        """
        with self._reading():
            packed = _open_array(self.folder / TRUTH, self._context).read().result()
        return unpack(packed, self.channels)

    def _begin(
        self, array: ts.TensorStore, first_axis: int, starts: Sequence[int], out: np.ndarray
    ) -> Callable[[], None]:
        inner, outer = overlap(starts, out.shape[first_axis : first_axis + 3], self.shape)
        if inner is None:
            return lambda: None
        before = (slice(None),) * first_axis
        target = ts.array(out)[(*before, *outer)].translate_to[0]  # shares the memory of `out`
        reading = target.write(array[(*before, *inner)].translate_to[0])

        def wait() -> None:
            with self._reading():
                reading.result()

        return wait

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, OSError, KeyError) as error:
            raise self._damaged(str(error).splitlines()[0]) from error

    def _damaged(self, what: str) -> DatasetError:
        return DatasetError(
            f"{self.folder}: the prepared case {self.id!r} cannot be read ({what})",
            hint=f"remove {self.folder} and start again: it is prepared anew from its files",
        )


def overlap(
    starts: Sequence[int], shape: Sequence[int], size: Sequence[int]
) -> tuple[tuple[slice, ...] | None, tuple[slice, ...]]:
    """Where a window meets an array of `size`: in the array (None: nowhere) and in the window."""
    inner, outer = [], []
    for start, width, length in zip(starts, shape, size, strict=True):
        first, last = max(start, 0), min(start + width, length)
        if first >= last:
            return None, ()
        inner.append(slice(first, last))
        outer.append(slice(first - start, last - start))
    return tuple(inner), tuple(outer)


def some_voxels(mask: Bool[np.ndarray, "x y z"]) -> Int[np.ndarray, "n 3"]:
    """At most `MOST_VOXELS` voxels of a mask, in order; the same ones for the same mask."""
    found = np.argwhere(mask).astype(np.int32)
    if len(found) <= MOST_VOXELS:
        return found
    rng = np.random.default_rng(zlib.crc32(np.packbits(mask).tobytes()))
    return found[np.sort(rng.choice(len(found), MOST_VOXELS, replace=False))]


def pack(masks: Bool[np.ndarray, "k x y z c"]) -> UInt[np.ndarray, "k x y z"]:
    """One integer a voxel, as narrow as can be: bit c is channel c (at most 31)."""
    count = masks.shape[-1]
    dtype = np.uint8 if count <= 8 else np.uint16 if count <= 16 else np.uint32
    out = np.zeros(masks.shape[:-1], dtype)
    for channel in range(count):
        out |= masks[..., channel].astype(dtype) << dtype(channel)
    return out


def unpack(packed: UInt[np.ndarray, "k x y z"], count: int) -> Bool[np.ndarray, "k x y z c"]:
    """The `count` masks that `pack` joined."""
    out = np.empty((*packed.shape, count), bool)
    for channel in range(count):
        out[..., channel] = packed & packed.dtype.type(1 << channel)
    return out


def shares(
    packed: UInt[np.ndarray, "k x y z"],
    out: UInt8[np.ndarray, "x y z c"] | Float32[np.ndarray, "x y z c"],
) -> None:
    """Write into `out` the share of the `k` raters who marked a voxel, a channel each."""
    for channel in range(out.shape[-1]):
        bits = (packed >> packed.dtype.type(channel)) & packed.dtype.type(1)
        if len(bits) == 1:
            out[..., channel] = bits[0]
        else:
            np.divide(bits.sum(axis=0), len(bits), out=out[..., channel])


def _chunk(shape: Sequence[int], thin_axis: int | None) -> tuple[int, ...]:
    """A chunk of about `CHUNK_VOXELS`, as near to a cube as the array allows."""
    chunk = [0] * len(shape)
    left = CHUNK_VOXELS
    lengths = [1 if axis == thin_axis else n for axis, n in enumerate(shape)]
    for rank, axis in enumerate(np.argsort(lengths, kind="stable")):
        edge = max(1, round(left ** (1 / (len(shape) - rank))))
        chunk[axis] = min(lengths[axis], edge)
        left = max(1, left // chunk[axis])
    return tuple(chunk)


def _write_array(path: Path, array: Shaped[np.ndarray, "..."], chunk: tuple[int, ...]) -> None:
    shard = [-(-n // edge) * edge for n, edge in zip(array.shape, chunk, strict=True)]
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    squeeze = {
        "name": "blosc",
        "configuration": {
            "cname": "zstd",
            "clevel": 1,
            "shuffle": "bitshuffle",
            "typesize": array.dtype.itemsize,
            "blocksize": 0,
        },
    }
    check = {"name": "crc32c"}
    inner = {
        "chunk_shape": list(chunk),
        "codecs": [little, squeeze, check],
        "index_codecs": [little, check],
    }
    metadata = {
        "shape": list(array.shape),
        "data_type": array.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard}},
        "codecs": [{"name": "sharding_indexed", "configuration": inner}],
    }
    spec = {"driver": "zarr3", "kvstore": _file(path), "metadata": metadata}
    ts.open(spec, create=True).result().write(array).result()


def _open_array(path: Path, context: ts.Context) -> ts.TensorStore:
    spec = {
        "driver": "zarr3",
        "kvstore": _file(path),
        "recheck_cached_data": "open",  # a case never changes under a reader
        "recheck_cached_metadata": "open",
    }
    return ts.open(spec, context=context, open=True).result()


def _file(path: Path) -> dict[str, str]:
    return {"driver": "file", "path": str(path.absolute())}
