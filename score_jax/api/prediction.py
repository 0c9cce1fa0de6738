"""Prediction on files: many images, one model; masks, sidecars and pictures written whole."""

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from score_jax import __version__, data
from score_jax._types import PathLike
from score_jax.api.models import load_models
from score_jax.errors import ConfigError, DatasetError, OutputError, ScoreError
from score_jax.imaging import bids, save, write_json
from score_jax.inference import Predictor, Segmentation, Segmenter
from score_jax.inference.cropping import Crop, margin_of
from score_jax.inference.spread import spread as ask_each
from score_jax.qc import draw_overview

AT_ONCE = 3  # images in memory: one read, one with the network, one written


@dataclass(frozen=True, slots=True)
class Predicted:
    """One image segmented and written.

    Args:
      input: the image file.
      outputs: region name -> mask; "labels" -> label map; "<region>_soft" -> probability.
      seconds: of each stage, and "total" of them; waiting for other scans is not counted.
      volumes_mm3: volume of each region's mask.
      crop: the part of the image that the network saw, and why that part.
    """

    input: Path
    outputs: Mapping[str, Path]
    seconds: Mapping[str, float]
    volumes_mm3: Mapping[str, float]
    crop: Crop | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """An image that could not be segmented, and why."""

    input: Path
    error: ScoreError


def predict(
    inputs: PathLike | Sequence[PathLike],
    model: PathLike | Sequence[PathLike] | Segmenter,
    *,
    out: PathLike | None = None,
    soft: bool = False,
    tta: bool = False,
    postprocess: bool = True,
    crop: str | float = "auto",
    spread: bool = False,
    vote: bool = False,
    samples: int = 0,
    qc: PathLike | None = None,
    arguments: Sequence[str] = (),
    on_case: Callable[[int, int, Path], None] = lambda number, total, path: None,
    on_tile: Callable[[int, int], None] = lambda done, total: None,
) -> list[Predicted | Failed]:
    """Segment images and write a mask a region, in each image's own grid and orientation.

    A bad image is reported and the rest go on. The model is loaded and compiled once. While one
    image is with the network, the next is read and the last is written; the results are those of
    one after another, to the bit and in order.

    Args:
      inputs: NIfTI files, folders of them, BIDS datasets.
      model: name or folder, or one loaded already; several, and their probabilities are averaged.
      out: folder for the results. By default ``derivatives/score-jax`` in a BIDS dataset, else
        beside each image.
      soft: also write each region's probability.
      tta: average over the flips the model allows.
      postprocess: clean the masks by the model's own rules (``postprocessing.json``), if any.
      crop: "auto" looks for the cord on a coarse grid first and segments only what lies around it,
        where that saves time; "none" segments the whole image; a number is the margin in mm.
      spread: also write the standard deviation of each region's probability over the networks of
        an ensemble, or over `samples`.
      vote: the masks are those of the majority of the networks, not of their mean.
      samples: draw DropConnect so often for each network (MDGRU).
      qc: folder for one picture an image.
      arguments: the command line, for the sidecars (paths are cut to their last part).
      on_case: told each image before the network sees it: number, total, path.
      on_tile: told tiles done and tiles in all.

    Both are called by one thread at a time, not always the same.

    Raises:
      DatasetError: no image at all, or two that would be written under one name.
      ModelNotFoundError, CheckpointError, ConfigError: as `load_models`.
    """
    paths = [Path(p) for p in _several(inputs)]
    jobs = _jobs(paths, None if out is None else Path(out))
    if not isinstance(model, Segmenter):
        model = load_models(_several(model))
    margin_of(crop)  # refuse it before anything is read
    networks = _networks(model) if spread or vote or samples else None
    about = provenance(model, arguments, postprocess=postprocess)

    def one(number: int, going: threading.Event) -> Predicted | Failed:
        job, told = jobs[number], False

        def progress(done: int, total: int) -> None:
            nonlocal told
            if not going.is_set():
                raise _Stopped
            if not told:
                on_case(number, len(jobs), job.image)
            told = True
            on_tile(done, total)

        try:
            started = time.perf_counter()
            volume = data.load_image(job.case)
            loading = time.perf_counter() - started
            if networks is None:
                found = model.predict(
                    volume, soft=soft, tta=tta, postprocess=postprocess, crop=crop,
                    progress=progress,
                )  # fmt: skip
            else:
                each = ask_each(
                    networks, volume, samples=samples, tta=tta, crop=crop, progress=progress
                )
                found = each.segmentation(networks, vote=vote, soft=soft, postprocess=postprocess)
                found = found if spread else dataclasses.replace(found, spread=None)
            return _write(job, found, model.name, about, qc, loading)
        except ScoreError as error:
            if isinstance(error, OutputError):
                raise  # the next one would not fit either
            return Failed(job.image, error)

    return _in_order(one, len(jobs))


def check_outputs(inputs: PathLike | Sequence[PathLike], out: PathLike | None = None) -> None:
    """Refuse inputs of which two would be written under one name.

    Raises:
      DatasetError: they would, or there is no image at all.
    """
    _jobs([Path(p) for p in _several(inputs)], None if out is None else Path(out))


class _Stopped(Exception):
    """An image's work ends early because the whole prediction does."""


def _in_order(
    work: Callable[[int, threading.Event], Predicted | Failed], count: int
) -> list[Predicted | Failed]:
    """`work` on 0 to `count` - 1, some at once; the first error, or Ctrl-C, ends them all.

    Args:
      work: told a number, and an event that is set until it should end.
      count: how many there are.
    """
    going = threading.Event()
    going.set()
    if count == 1:
        return [work(0, going)]
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        futures: list[Future[Predicted | Failed]] = [
            pool.submit(work, number, going) for number in range(count)
        ]
        return [future.result() for future in futures]
    finally:
        going.clear()
        pool.shutdown(cancel_futures=True)


def _networks(model: Segmenter) -> Predictor:
    if not isinstance(model, Predictor):
        raise ConfigError(
            f"{model.name}: got an ensemble of different networks; spread, vote and samples are "
            "for networks of one kind",
            hint="ask one of its models",
        )
    return model


def _several(paths: PathLike | Sequence[PathLike]) -> list[PathLike]:
    return [paths] if isinstance(paths, str | os.PathLike) else list(paths)


@dataclass(frozen=True, slots=True)
class _Job:
    case: data.Case
    folder: Path

    @property
    def image(self) -> Path:
        return self.case.images[0]


def _jobs(paths: Sequence[Path], out: Path | None) -> list[_Job]:
    jobs: list[_Job] = []
    for path in paths:
        if not path.is_dir():  # a missing file is reported like any other bad image
            case = data.Case(id=bids.stem(path), subject=bids.stem(path), images=(path,))
            jobs.append(_Job(case, out or path.parent))
            continue
        found = data.discover(path, labelled=False)
        for case in found.cases:
            if found.kind == "bids":
                root = out or path / "derivatives" / bids.PIPELINE
                jobs.append(_Job(case, _bids_folder(root, case.images[0])))
            else:
                jobs.append(_Job(case, out or path))
    seen: dict[Path, Path] = {}
    for job in jobs:
        target = job.folder / bids.derivative(job.image, "dseg")
        if target in seen:
            raise DatasetError(
                f"{seen[target]} and {job.image}: both would be written as {target.name}",
                hint="write them to different folders",
            )
        seen[target] = job.image
    return jobs


def _bids_folder(root: Path, image: Path) -> Path:
    entities = bids.parse(image).entities
    session = [f"ses-{entities['ses']}"] if "ses" in entities else []
    return root.joinpath(f"sub-{entities['sub']}", *session, "anat")


def _write(
    job: _Job,
    found: Segmentation,
    model: str,
    about: Mapping[str, Any],
    qc: PathLike | None,
    loading: float,
) -> Predicted:
    started = time.perf_counter()
    sidecar = {**about, "Sources": [image.name for image in job.case.images]}
    if found.crop is not None:
        sidecar["Crop"] = crop_record(found.crop)
    outputs = write_segmentation(found, job.folder, job.image, sidecar)
    if qc is not None:
        picture = Path(qc) / f"{bids.stem(job.image)}.png"
        title = f"{job.image.name} · {model}"
        draw_overview(picture, found.volume, dict(found.masks), title=title)
    seconds = {**found.seconds, "save": time.perf_counter() - started}
    seconds["load"] += loading
    seconds["total"] = sum(seconds.values())
    voxel_mm3 = found.volume.voxel_mm3
    volumes = {name: float(m.sum()) * voxel_mm3 for name, m in found.masks.items()}
    return Predicted(job.image, outputs, seconds, volumes, found.crop)


def crop_record(crop: Crop) -> dict[str, Any]:
    """What a sidecar says of a crop: voxels of the stored image, the last one included."""
    box = None if crop.box is None else [[side.start, side.stop - 1] for side in crop.box]
    return {"Note": crop.note, "MarginMM": crop.margin_mm, "Voxels": box}


def write_segmentation(
    found: Segmentation, folder: Path, image: PathLike, sidecar: Mapping[str, Any]
) -> dict[str, Path]:
    """Write what was found in an image: a mask a region, their label map, probabilities.

    Args:
      found: the segmentation; its arrays lie as its image was stored.
      folder: where.
      image: name of the image; the files are named after it (`bids.derivative`).
      sidecar: JSON beside each of them.

    Returns:
      Region name -> mask; "labels" -> label map, if there are several regions;
      "<region>_soft" -> probability, "<region>_spread" -> its standard deviation, if there are any.

    Raises:
      OutputError: disk full, no permission.
    """
    volume = found.volume
    stored = dataclasses.replace(
        volume,
        data=volume.to_stored(volume.data),
        affine=volume.stored_affine,
    )
    arrays: dict[str, tuple[str, np.ndarray]] = {}
    for name, mask in found.masks.items():
        arrays[name] = (bids.derivative(image, "mask", label=name), mask)
    if len(found.masks) > 1:
        arrays["labels"] = (bids.derivative(image, "dseg"), found.labels)
    for name, share in (found.probabilities or {}).items():
        arrays[f"{name}_soft"] = (bids.derivative(image, "probseg", label=name), share)
    desc = f"{bids.parse(image).suffix}std" if bids.parse(image).is_bids else "std"
    for name, deviation in (found.spread or {}).items():
        file = bids.derivative(image, "probseg", label=name, desc=desc)
        arrays[f"{name}_spread"] = (file, deviation)
    outputs = {key: folder / name for key, (name, _) in arrays.items()}

    def write(key: str) -> None:
        save(outputs[key], arrays[key][1], stored)
        write_json(outputs[key].with_name(bids.stem(outputs[key]) + ".json"), sidecar)

    with ThreadPoolExecutor(len(outputs)) as pool:  # compression leaves other threads running
        list(pool.map(write, outputs))
    return outputs


def provenance(
    model: Segmenter, arguments: Sequence[str] = (), *, postprocess: bool
) -> dict[str, Any]:
    """What a sidecar says of where a mask comes from, but for the image.

    Args:
      model: what segmented.
      arguments: the command line; paths are cut to their last part.
      postprocess: whether the model's rules were applied.
    """
    rules = model.postprocessing.rules if postprocess else ()
    return {
        "GeneratedBy": [
            {
                "Name": "score-jax",
                "Version": __version__,
                "Command": " ".join(Path(a).name if "/" in a else a for a in arguments),
            }
        ],
        "Model": {
            "Name": model.name,
            "Kind": model.kind,
            "WeightsSHA256": model.sha256,
            "Postprocessing": [str(rule) for rule in rules],
        },
        "Regions": [
            {"Name": r.name, "Labels": list(r.labels), "Value": r.value} for r in model.regions
        ],
    }
