"""One scan from the image to its record: masks, tables, pictures."""

import dataclasses
import importlib.metadata
import math
import os
import platform
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from score_jax import api, data, morphometry_tables
from score_jax.api.prediction import crop_record, provenance, write_segmentation
from score_jax.cohort import state
from score_jax.cohort.options import Options
from score_jax.cohort.scans import Scan
from score_jax.cohort.state import Job, Record
from score_jax.data import Case
from score_jax.errors import ConfigError, OutputError, ScoreError
from score_jax.imaging import Volume, write_json, write_tsv
from score_jax.imaging.bids import derivative, stem
from score_jax.imaging.tables import plain
from score_jax.inference import Predictor, Segmentation, Segmenter
from score_jax.inference.spread import spread as ask_each
from score_jax.morphometry_tables import Case as Measured
from score_jax.morphometry_tables import MaskFile
from score_jax.morphometry_tables.columns import describe
from score_jax.morphometry_tables.lesions import output_name
from score_jax.qc.report_flags import LESION, Flag, cord_of, find_flags
from score_jax.qc.report_pictures import montage, write_montage

Progress = Callable[[int, int], None]
_PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "nibabel")
_AREA, _SLICE = "MEAN(area)", "slice_IS_RPI"
_LEFT_OUT = "slice_"  # columns of single sagittal slices, another set for each scan
PICTURES = "qc/pictures"


def load(options: Options) -> Segmenter:
    """The model that `options` name, with the runtime they name.

    Raises:
      ModelNotFoundError, CheckpointError, ConfigError: as `api.load_models`; also for a spread of
        a model of one network, or of different ones.
    """
    model = api.load_models(options.models)
    if options.spread:
        _one_kind(model)
    api.use_runtime(model, options.runtime)
    return model


@final
class Worker:
    """A model kept ready, and all that is the same for every scan.

    Args:
      model: what segments.
      options: what is done.
      root: the dataset.
      out: the output folder.
    """

    def __init__(self, model: Segmenter, options: Options, root: Path, out: Path) -> None:
        self.model, self.options, self.root, self.out = model, options, root, out
        about = provenance(model, ("score-jax", "run"), postprocess=options.postprocess)
        self.about = about | {
            "Parameters": options.parameters(),
            "Versions": {
                "python": platform.python_version(),
                **{name: importlib.metadata.version(name) for name in _PACKAGES},
            },
        }

    def __call__(self, job: Job, *, progress: Progress | None = None) -> Record:
        """Do the scan and write its record; what goes wrong with it is told by the record.

        Args:
          job: the scan.
          progress: told tiles done and tiles in all; may raise to end the work.

        Raises:
          OutputError: disk full, no permission: it would be so for the next scan, too.
        """
        started = time.perf_counter()
        record: Record
        try:
            record = _Results(self, job.scan).made(progress)
        except OutputError:
            raise
        except ScoreError as error:
            record = _failure(str(error), error.message, error.hint)
        except MemoryError:
            record = _failure(f"{job.scan.images[0]}: too large for the memory there is")
        except Exception:  # a fault of ours takes no other scan with it
            record = _failure(f"{job.scan.id}: a fault of ours") | {"Bug": traceback.format_exc()}
        record["Seconds"]["elapsed"] = time.perf_counter() - started
        return _kept(self.out, job, record)


def failed_record(out: Path, job: Job, error: Exception) -> Record:
    """Write and return the record of a scan that could not be begun or ended, and why.

    Raises:
      OutputError: disk full, no permission.
    """
    if isinstance(error, ScoreError):
        return _kept(out, job, _failure(str(error), error.message, error.hint))
    bug = "".join(traceback.format_exception(error))
    return _kept(out, job, _failure(f"{job.scan.id}: a fault of ours") | {"Bug": bug})


def _kept(out: Path, job: Job, result: Record) -> Record:
    """The record of a result, written; files that only an earlier one had are removed."""
    record = {
        "Format": state.FORMAT,
        "Scan": job.scan.id,
        "Subject": job.scan.subject,
        "Session": job.scan.session,
        "Key": job.key,
        "Inputs": list(job.inputs),
        **result,
    }
    record = plain(record)  # as the next run will read it
    state.remove_outputs(out, state.read_record(out, job.scan), keep=record["Outputs"])
    state.write_record(out, job.scan, record)
    return record


def _failure(text: str, message: str = "", hint: str = "") -> Record:
    error = {"Text": text, "Message": message or text, "Hint": hint}
    return {"Status": state.FAILED, "Error": error, "Outputs": {}, "Seconds": {}, "Flags": []}


class _Results:
    """The results of one scan as they come to be."""

    def __init__(self, worker: Worker, scan: Scan) -> None:
        self.worker, self.scan, self.options = worker, scan, worker.options
        self.folder = worker.out / scan.folder
        self.seconds: dict[str, float] = {}
        self.paths: list[Path] = []

    def made(self, progress: Progress | None) -> Record:
        """Segment, measure and draw the scan; what is kept of it."""
        with self._timed("load"):
            case = Case(id=self.scan.id, subject=self.scan.subject, images=self.scan.images)
            volume = data.load_image(case)
        self.found = segment(self.worker.model, volume, self.options, progress)
        for stage, seconds in self.found.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        with self._timed("save"):
            self._save()
        record = self._areas() | self._lesions()
        record |= self._flags(record.get("AreasMM2", {}).get("cord")) | self._pictures()
        voxel = self.found.volume.voxel_mm3
        self.seconds["total"] = sum(self.seconds.values())
        return {
            "Status": state.DONE,
            "Outputs": state.sizes_of(self.worker.out, self.paths),
            "Masks": {n: self._below(self.masks[n]) for n in self.found.masks},
            "Voxels": int(np.prod(self.found.volume.shape)),
            "VolumesMM3": {n: float(m.sum()) * voxel for n, m in self.found.masks.items()},
            "Model": {
                "Name": self.worker.model.name,
                "WeightsSHA256": self.worker.about["Model"]["WeightsSHA256"],
            },
            **record,
            "Seconds": self.seconds,
        }

    def _below(self, path: Path) -> str:
        return path.relative_to(self.worker.out).as_posix()

    def _save(self) -> None:
        sidecar = self._sidecar()
        if self.found.crop is not None:
            sidecar["Crop"] = crop_record(self.found.crop)
        self.masks = write_segmentation(self.found, self.folder, self.scan.images[0], sidecar)
        for path in self.masks.values():
            self.paths += [path, path.with_name(stem(path) + ".json")]

    def _sidecar(self) -> Record:
        below = [os.path.relpath(image, self.worker.root) for image in self.scan.images]
        return {**self.worker.about, "Sources": [f"bids:raw:{Path(p).as_posix()}" for p in below]}

    def _areas(self) -> Record:
        """Each region's area and shape by slice, with the cord's angles; nothing without a cord."""
        cord = cord_of(list(self.found.masks))
        if cord is None or not self.options.areas:
            return {}
        with self._timed("areas"):
            rest = {n: self.masks[n] for n in self.found.masks if n != cord}
            case = Measured(self.scan.id, MaskFile(self.masks[cord]))
            options = morphometry_tables.AreaOptions(parts=rest)
            measured = morphometry_tables.measure_areas(case, options)
            rows = [{"region": row.get("region", "cord"), **row} for row in measured.rows]
            self._table("areas", rows, measured.warnings)
        by_region: dict[str, list[float]] = {}
        for row in rows:
            by_region.setdefault(row["region"], []).append(row[_AREA])
        return {"AreasMM2": by_region}

    def _lesions(self) -> Record:
        if LESION not in self.found.masks or not self.options.lesions:
            return {}
        with self._timed("lesions"):
            cord = cord_of(list(self.found.masks))
            case = Measured(
                self.scan.id,
                MaskFile(self.masks[LESION]),
                None if cord is None else MaskFile(self.masks[cord]),
                self.scan.images[0] if self.found.volume.channels == 1 else None,
            )
            options = morphometry_tables.LesionOptions(
                min_volume_mm3=self.options.min_lesion_mm3, image_name="image"
            )
            measured = morphometry_tables.measure_lesions(case, options)
            rows = [
                {k: v for k, v in row.items() if not k.startswith(_LEFT_OUT)}
                for row in morphometry_tables.with_status(measured.rows, measured.status)
            ]
            self._table("lesions", rows, measured.warnings)
        return {"Lesions": rows}

    def _table(self, name: str, rows: Sequence[Mapping[str, Any]], warnings: Sequence[str]) -> None:
        """Write ``..._NAME.tsv``, named after the image, with its sidecar."""
        path = self.folder / f"{table_stem(self.scan)}_{name}.tsv"
        columns = dict.fromkeys(column for row in rows for column in row)
        write_tsv(path, rows)
        about = {**describe(columns), **self._sidecar(), "Warnings": list(warnings)}
        write_json(path.with_suffix(".json"), about)
        self.paths += [path, path.with_suffix(".json")]

    def _flags(self, profile: Sequence[float] | None) -> Record:
        volume = self.found.volume
        areas = None if profile is None else np.array(profile)
        flags = find_flags(
            self.found.masks, volume.stored_affine, areas=areas, spread=self.found.spread
        )
        return {"Flags": [dataclasses.asdict(flag) for flag in flags]}

    def _pictures(self) -> Record:
        if not self.options.qc:
            return {}
        with self._timed("qc"):
            seen = montage(self.found.volume, self.found.masks)
            folder = self.worker.out / PICTURES / self.scan.subject
            image, contours = (folder / f"{self.scan.id}.{kind}" for kind in ("webp", "png"))
            write_montage(seen, image, contours)
        self.paths += [image, contours]
        drawn = {"Image": self._below(image), "Contours": self._below(contours)}
        return {"Pictures": drawn | {"Regions": seen.regions, "Slices": seen.slices}}

    def _timed(self, stage: str) -> "_Stage":
        return _Stage(self.seconds, stage)


class _Stage:
    """Adds the seconds of a ``with`` block to a stage."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self.seconds, self.name, self.started = seconds, name, math.nan

    def __enter__(self) -> None:
        self.started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        passed = time.perf_counter() - self.started
        self.seconds[self.name] = self.seconds.get(self.name, 0.0) + passed


def table_stem(scan: Scan) -> str:
    """What the names of a scan's tables begin with: that of its masks, without label and suffix."""
    return output_name(Path(derivative(scan.images[0], "mask"))).removesuffix("_mask")


def segment(
    model: Segmenter, volume: Volume, options: Options, progress: Progress | None = None
) -> Segmentation:
    """As `api.predict` segments an image; with `Options.spread`, network by network.

    Raises:
      ImageError: another number of channels than the model takes.
      ConfigError: spread of a model of one network, or of different ones.
    """
    tta, crop, post = options.tta, options.crop, options.postprocess
    if not options.spread:
        return model.predict(
            volume, soft=options.soft, tta=tta, postprocess=post, crop=crop, progress=progress
        )
    networks = _one_kind(model)
    each = ask_each(networks, volume, tta=tta, crop=crop, progress=progress)
    return each.segmentation(networks, vote=False, soft=options.soft, postprocess=post)


def _one_kind(model: Segmenter) -> Predictor:
    if not isinstance(model, Predictor):
        raise ConfigError(
            f"{model.name}: got an ensemble of different networks; spread is for networks of one "
            "kind",
            hint="run one of its models",
        )
    if len(model.members) < 2:
        raise ConfigError(
            f"{model.name}: got one network; expected an ensemble for its spread",
            hint="leave --spread out",
        )
    return model


def flags_of(record: Record) -> list[Flag]:
    """The flags of a record; a scan that failed has one that says why."""
    if record["Status"] == state.FAILED:
        return [Flag("failed", record["Error"]["Text"])]
    return [Flag(**flag) for flag in record["Flags"]]
