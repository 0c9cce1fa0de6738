"""A dataset on the network's grid, on disk: prepared once, read patch by patch.

Memory holds one case a worker while preparing, and a cache of bounded size afterwards, so a
dataset may be larger than it.
"""

import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
import os
import secrets
import shutil
import signal
import threading
import urllib.parse
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import tensorstore as ts
from jaxtyping import Bool

from score_jax._types import PathLike
from score_jax.arrays.regions import Region
from score_jax.config import Preprocessing
from score_jax.data.cases import Case, Dataset
from score_jax.data.loading import LoadedCase, load_case, load_raters
from score_jax.data.stored import ABOUT, FORMAT, StoredSample, read_about, write_sample
from score_jax.errors import DatasetError, ImageError, errors_of_disk
from score_jax.imaging import write_json
from score_jax.planning.preprocess import prepare

try:
    import fcntl
except ImportError:  # Windows has no such locks: two processes then must not share a folder
    fcntl = None

CACHE_BYTES = 2**30  # decoded chunks kept in memory by each process that reads
_LEFTOVER = ".partial-"  # begins the name of a case that is being written

Outcome = Literal["kept", "made", "redone"]


@final
class PreparedDataset:
    """Cases on the network's grid, on disk; small to send to another process.

    Args:
      folder: that `prepare_dataset` filled.
      cases: ids.
      regions: what the channels of the masks are.
      raters: names; empty if each case was drawn on once.
      has_ignore: whether the masks' last channel marks voxels that take no part in training.
      outcomes: what became of each case when it was last prepared.
      cache_bytes: decoded chunks that each process keeps in memory.
    """

    def __init__(
        self,
        folder: Path,
        cases: Sequence[str],
        regions: Sequence[Region],
        *,
        raters: Sequence[str] = (),
        has_ignore: bool = False,
        outcomes: Mapping[str, Outcome] | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.folder = folder
        self.cases = tuple(cases)
        self.regions = tuple(regions)
        self.raters = tuple(raters)
        self.has_ignore = has_ignore
        self.outcomes = dict(outcomes or {})
        self.cache_bytes = cache_bytes
        self._context: ts.Context | None = None
        self._samples: dict[str, StoredSample] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_context": None, "_samples": {}}

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, case: str) -> StoredSample:
        """The prepared case of this id.

        Raises:
          DatasetError: it is not one of `cases`, or its files are damaged.
        """
        if case not in self._samples:
            if case not in self.cases:
                raise DatasetError(f"{self.folder}: got the case {case!r}; expected a prepared one")
            if self._context is None:
                pool = {"total_bytes_limit": self.cache_bytes}
                self._context = ts.Context({"cache_pool": pool})
            self._samples[case] = StoredSample(case, self.folder / _name(case), self._context)
        return self._samples[case]

    @property
    def sha256(self) -> dict[str, str]:
        """For each case, one checksum over all that it was made from."""
        return {case: self[case].about["sha256"] for case in self.cases}

    def count(self, outcome: Outcome) -> int:
        """How many cases were kept, made or redone when the dataset was prepared."""
        return list(self.outcomes.values()).count(outcome)


def prepare_dataset(
    dataset: Dataset,
    cases: Sequence[str],
    preprocessing: Preprocessing,
    folder: PathLike,
    *,
    workers: int = 0,
    raters: Mapping[str, Dataset] | None = None,
    thin_axis: int | None = None,
    cache_bytes: int = CACHE_BYTES,
    verify: bool = False,
    on_case: Callable[[int, int], None] | None = None,
) -> PreparedDataset:
    """Bring cases to the network's grid and store them in `folder`, one folder a case.

    A case that is there already is kept if nothing it was made from has changed: the bytes of its
    files, `preprocessing`, the regions, the raters. A file whose size, times and place on the disk
    (`_stamp`) are those of the last time is taken to hold the same bytes; any other is read. A
    case is written beside its place and then moved there, so whatever ends this early leaves
    whole cases only. A second call for the same `folder` waits until the first is done.

    Args:
      dataset: says channels, regions and files.
      cases: ids of those wanted; others in `folder` are left alone.
      preprocessing: with every spacing filled in that is to be the same for all cases.
      folder: made if it is not there.
      workers: processes beside this one; 0 works in this one. A script that asks for some must
        guard what it runs by ``if __name__ == "__main__":``.
      raters: from `discover_raters`, the masks of each; by default the dataset's own masks.
      thin_axis: the axis of the network's grid whose single slices will be read (2-D patches).
      cache_bytes: decoded chunks that each reading process keeps in memory.
      verify: read every file, whatever its size and times say.
      on_case: called after each case with how many are done, and with their total.

    Raises:
      ImageError, GeometryError, DatasetError: a case that cannot be used, with its file's name.
      ConfigError: `preprocessing` that does not fit the images.
      OutputError: disk full or no permission; the case at hand is removed.
    """
    root = Path(folder)
    jobs = [
        _job(dataset, name, raters or {}, preprocessing, root, thin_axis, verify) for name in cases
    ]
    outcomes: dict[str, Outcome] = {}
    with errors_of_disk(root):
        root.mkdir(parents=True, exist_ok=True)
    with _alone(root), contextlib.closing(_run(jobs, workers)) as results:
        for name, outcome in results:
            outcomes[name] = outcome
            if on_case is not None:
                on_case(len(outcomes), len(jobs))
    return PreparedDataset(
        root,
        tuple(cases),
        dataset.regions,
        raters=tuple(raters or ()),
        has_ignore=dataset.ignore is not None,
        outcomes=outcomes,
        cache_bytes=cache_bytes,
    )


@dataclass(frozen=True, slots=True)
class _Job:
    case: Case
    dataset: Dataset  # without its list of cases
    raters: tuple[tuple[str, Case, Dataset], ...]
    preprocessing: Preprocessing
    root: Path
    thin_axis: int | None
    verify: bool

    @property
    def folder(self) -> Path:
        return self.root / _name(self.case.id)


def _job(
    dataset: Dataset,
    name: str,
    raters: Mapping[str, Dataset],
    preprocessing: Preprocessing,
    root: Path,
    thin_axis: int | None,
    verify: bool,
) -> _Job:
    drawn = tuple((rater, one.case(name), _bare(one)) for rater, one in raters.items())
    return _Job(dataset.case(name), _bare(dataset), drawn, preprocessing, root, thin_axis, verify)


def _bare(dataset: Dataset) -> Dataset:
    return dataclasses.replace(dataset, cases=(), test_cases=(), unlabelled=())


def _name(case: str) -> str:
    """A folder's name for any id: it neither leaves the folder nor hides in it."""
    name = urllib.parse.quote(case, safe=" ")
    return name.replace(".", "%2E", 1) if name.startswith(".") else name


def _run(jobs: Sequence[_Job], workers: int) -> Generator[tuple[str, Outcome], None, None]:
    if workers == 0:
        for job in jobs:
            yield job.case.id, _prepare_case(job)
        return
    # spawned, not forked: threads of JAX and tensorstore do not survive a fork
    context = multiprocessing.get_context("spawn")
    ours, leash = context.Pipe()
    pool = ProcessPoolExecutor(
        min(workers, len(jobs) or 1), context, initializer=_worker, initargs=(leash,)
    )
    waiting = {pool.submit(_prepare_case, job): job.case.id for job in jobs}
    try:
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    except BrokenProcessPool:
        raise DatasetError(
            "a worker process ended while it prepared a case; expected it to finish (the system "
            "ends processes where memory runs out)",
            hint="use fewer workers",
        ) from None
    finally:
        ours.close()  # ends the workers in the midst of their cases
        leash.close()
        pool.shutdown(cancel_futures=True)


def _worker(leash: Any) -> None:  # a Connection, under another name on Windows
    """Leave signals to the parent, and end when it lets go of the leash or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def watch() -> None:
        with contextlib.suppress(OSError):
            leash.poll(None)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _prepare_case(job: _Job) -> Outcome:
    try:
        there = read_about(job.folder)
        made_from = _made_from(job, {} if there is None or job.verify else _known_sums(there))
        if there is not None and there.get("sha256") == made_from["sha256"]:
            if there.get("files_stamps") != made_from["files_stamps"]:
                with errors_of_disk(job.root):  # the next start need not read the files
                    write_json(job.folder / ABOUT, {**there, **made_from})
            return "kept"
        outcome: Outcome = "redone" if job.folder.exists() else "made"
        _write(job, made_from)
        return outcome
    except Exception as error:
        error.add_note(f"while preparing the case {job.case.id}")
        raise


def _write(job: _Job, made_from: Mapping[str, Any]) -> None:
    loaded, truth = _load(job)
    prepared = prepare(loaded.image, loaded.volume.spacing, job.preprocessing)
    temporary = job.root / f"{_LEFTOVER}{secrets.token_hex(6)}"  # `_alone` removes what is left
    with errors_of_disk(job.root):
        temporary.mkdir()
        write_sample(
            temporary,
            prepared,
            truth,
            made_from,
            ignore=job.dataset.ignore is not None,
            thin_axis=job.thin_axis,
        )
        if job.folder.exists():
            shutil.rmtree(job.folder)
        temporary.rename(job.folder)


def _load(job: _Job) -> tuple[LoadedCase, Bool[np.ndarray, "k x y z c"]]:
    """The case, and its masks with the raters first and the voxels to ignore last."""
    axcodes = job.preprocessing.axcodes or None
    if job.raters:
        bare = dataclasses.replace(job.case, labels=None, region_masks={})
        loaded = load_case(bare, job.dataset, axcodes=axcodes)
        return loaded, load_raters([(case, one) for _, case, one in job.raters], loaded.volume)
    loaded = load_case(job.case, job.dataset, axcodes=axcodes)
    if loaded.targets is None:
        raise DatasetError(f"{job.case.id}: got no mask; expected one of each region")
    truth = loaded.targets
    if loaded.ignore is not None:
        truth = np.concatenate([truth, loaded.ignore[..., None]], axis=-1)
    return loaded, truth[None]


def _made_from(job: _Job, known: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """What a prepared case depends on, and one checksum over all of it.

    Args:
      job: the case.
      known: checksums by name and stamp, of files that need not be read.
    """
    files, stamps = [], []
    for path in (path for case in _cases(job) for path in _files(case)):
        name, stamp = _relative(path, job.dataset.root), _stamp(path)
        files.append([name, known.get((name, stamp)) or _file_sum(path)])
        stamps.append(stamp)
    rules = {
        "format": FORMAT,
        "preprocessing": dataclasses.asdict(job.preprocessing),
        "channels": list(job.dataset.channel_names),
        "regions": [str(region) for region in job.dataset.regions],
        "ignore": job.dataset.ignore,
        "raters": [name for name, _, _ in job.raters],
    }
    rules_sum = hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()
    everything = json.dumps([job.case.id, rules_sum, [checksum for _, checksum in files]])
    return {
        "id": job.case.id,
        "sha256": hashlib.sha256(everything.encode()).hexdigest(),
        "files_sha256": files,
        "files_stamps": stamps,
        "rules_sha256": rules_sum,
    }


def _cases(job: _Job) -> tuple[Case, ...]:
    if not job.raters:
        return (job.case,)
    bare = dataclasses.replace(job.case, labels=None, region_masks={})
    return (bare, *(dataclasses.replace(case, images=()) for _, case, _ in job.raters))


def _files(case: Case) -> tuple[Path, ...]:
    labels = () if case.labels is None else (case.labels,)
    return (*case.images, *labels, *(case.region_masks[name] for name in sorted(case.region_masks)))


def _relative(path: Path, root: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else Path(path.name)).as_posix()


def _stamp(path: Path) -> str:
    """Size, times of the last change of content and of the entry, inode: new if a file is written.

    Times are set back by nobody but on purpose: `cp -p`, `tar` and `touch` move the second one.
    """
    with _readable(path):
        found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"


def _known_sums(about: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """The checksums in a ``case.json``, by name and stamp."""
    files, stamps = about.get("files_sha256", []), about.get("files_stamps", [])
    return {(name, stamp): known for (name, known), stamp in zip(files, stamps, strict=False)}


def _file_sum(path: Path) -> str:
    with _readable(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from None


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold the folder against other processes, without unfinished cases before and after.

    The system lets go of the lock when the process ends, however it ends.
    """

    def clean() -> None:
        for leftover in root.glob(f"{_LEFTOVER}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    with (root / ".lock").open("w") as stream:
        if fcntl is not None:
            fcntl.flock(stream, fcntl.LOCK_EX)
        clean()
        try:
            yield
        finally:
            clean()
