"""The people and scans of an SCI study, from a BIDS dataset: who, where, in which plane."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd

from score_jax import data
from score_jax._types import PathLike
from score_jax.errors import DatasetError, ScoreError
from score_jax.imaging import load_header, read_table
from score_jax.imaging.bids import parse

CORD, LESION = "cord", "lesion"
AXIAL, SAGITTAL, CORONAL, ISOTROPIC = "axial", "sagittal", "coronal", "isotropic"
_THICK = 1.5  # an axis this many times as coarse as the finest says the plane

# column of the study -> columns of participants.tsv that hold it, the first one there counts
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "site": ("site", "centre", "center"),
    "group": ("group", "pathology"),
    "age": ("age",),
    "sex": ("sex",),
    "origin": ("origin",),
    "level": ("level",),
    "implant": ("implant",),
    "field": ("field", "field_t"),
    "days_to_mri": ("days_to_mri",),
    **{
        f"{score}_{when}": (f"{score}_{when}", *([score] if when == "initial" else []))
        for score in ("pinprick", "light_touch", "lems")
        for when in ("initial", "discharge")
    },
}
_NUMBERS = {"age", "field", "days_to_mri", *(name for name in COLUMNS if name.count("_") and
            name.endswith(("_initial", "_discharge")))}  # fmt: skip
_OPTIONAL = {name for name in COLUMNS if name.endswith("_discharge")} | {"group"}


@final
@dataclass(frozen=True, slots=True)
class Scan:
    """One scan that takes part.

    Args:
      case: its files; the masks are the manual ones.
      session: unique for the participant.
      site: where it was made.
      plane: ``axial``, ``sagittal``, ``coronal`` or ``isotropic``, by its voxels.
      truth: true masks by region, where the dataset has them beside the manual ones.
    """

    case: data.Case
    session: str
    site: str
    plane: str
    truth: Mapping[str, Path]

    @property
    def participant(self) -> str:
        return self.case.subject

    @property
    def files(self) -> list[Path]:
        """Everything that is read of it."""
        return [*self.case.images, *self.case.region_masks.values(), *self.truth.values()]


@final
@dataclass(frozen=True, eq=False, slots=True)
class SciCohort:
    """What is studied.

    Args:
      dataset: channels and regions of all scans.
      scans: sorted by case.
      sessions: a row a scan: participant, session, site, plane and the columns of `COLUMNS`.
      problems: what is wrong with the input and what became of it: where, problem, done.
    """

    dataset: data.Dataset
    scans: tuple[Scan, ...]
    sessions: pd.DataFrame
    problems: tuple[Mapping[str, str], ...]

    @property
    def regions(self) -> tuple[str, ...]:
        return tuple(region.name for region in self.dataset.regions)


def problem(where: object, what: str, done: str) -> dict[str, str]:
    """A row of the report's list of problems."""
    return {"where": str(where), "problem": what, "done": done}


def read_cohort(
    root: PathLike,
    *,
    masks: str | None = None,
    truth: str | None = None,
    contrast: str | None = None,
) -> SciCohort:
    """The scans of a BIDS dataset that have masks, with the people's covariates.

    What is wrong with single scans or people is listed, what concerns them is left out, and the
    rest goes on. Images are not read here, only their headers (`check_scans` reads them).

    Args:
      root: the dataset, with ``participants.tsv``.
      masks: folder below ``derivatives`` with the manual masks; ``truth`` or ``labels`` if None.
      truth: folder with the true masks (phantoms), if there are any beside the manual ones.
      contrast: suffix of the images, if there are several.

    Raises:
      DatasetError: no BIDS dataset, no masks of cord or lesion, no scan left.
    """
    where = {"derivative": masks, "contrast": contrast}
    found, _ = data.survey(root, labelled=None, regions=[CORD, LESION], **where)
    if found.kind != "bids":
        raise DatasetError(
            f"{root}: got a {found.kind}; expected a BIDS dataset with participants.tsv",
            hint="sub-01/anat/sub-01_T2w.nii.gz, with masks in derivatives/labels",
        )
    problems: list[dict[str, str]] = []
    names = _regions(found, problems)
    if not names:
        raise DatasetError(
            f"{root}: got no masks of cord or lesion; expected e.g. "
            "derivatives/labels/sub-01/anat/sub-01_desc-T2w_label-cord_mask.nii.gz",
            hint="name the folder of the masks with --masks",
        )
    dataset = dataclasses.replace(found, regions=data.regions_from_names(names))
    people = read_people(Path(root) / "participants.tsv", problems)
    true = {} if truth is None else _truth(root, truth, contrast)
    scans = list(_scans(dataset, names, people, true, problems))
    if not scans:
        raise DatasetError(
            f"{root}: got no scan with masks of {' and '.join(names)} of a listed participant; "
            "expected some",
            hint=problems[0]["where"] + ": " + problems[0]["problem"] if problems else "",
        )
    kept = {scan.case.id for scan in scans}
    dataset = dataclasses.replace(
        dataset, cases=tuple(case for case in dataset.cases if case.id in kept), unlabelled=()
    )
    sessions = pd.DataFrame([_session(scan, people[scan.participant]) for scan in scans])
    problems += _lacking(sessions)
    return SciCohort(dataset, tuple(scans), sessions, tuple(problems))


def check_scans(
    cohort: SciCohort, *, on_scan: Callable[[int, int], None] = lambda done, total: None
) -> list[dict[str, str]]:
    """Read every scan with its masks; a problem for each that cannot be used (`without`)."""
    problems = []
    for number, scan in enumerate(cohort.scans, 1):
        try:
            data.load_case(scan.case, cohort.dataset)
        except ScoreError as error:
            problems.append(problem(scan.case.id, str(error), "the scan is left out"))
        on_scan(number, len(cohort.scans))
    return problems


def without(cohort: SciCohort, problems: Sequence[Mapping[str, str]]) -> SciCohort:
    """The cohort without the scans that `check_scans` found unusable.

    Raises:
      DatasetError: nothing is left.
    """
    bad = {row["where"] for row in problems}
    scans = tuple(scan for scan in cohort.scans if scan.case.id not in bad)
    if not scans:
        raise DatasetError(
            f"{cohort.dataset.root}: none of the {len(cohort.scans)} scans can be used; the first: "
            f"{problems[0]['problem']}"
        )
    keep = [scan.case.id not in bad for scan in cohort.scans]
    sessions: Any = cohort.sessions[keep].reset_index(drop=True)
    cases = tuple(case for case in cohort.dataset.cases if case.id not in bad)
    return SciCohort(
        dataclasses.replace(cohort.dataset, cases=cases),
        scans,
        sessions,
        (*cohort.problems, *problems),
    )


def read_people(path: Path, problems: list[dict[str, str]]) -> dict[str, dict[str, Any]]:
    """The rows of ``participants.tsv`` by participant, in the study's columns.

    A person listed twice with different site or group is left out; other repeats are ignored.

    Raises:
      DatasetError: no such table, or none with ``participant_id``.
    """
    rows = read_table(path)
    if not rows or "participant_id" not in rows[0]:
        raise DatasetError(f"{path}: got no participant; expected rows with participant_id")
    there = {
        column: next((name for name in names if name in rows[0]), None)
        for column, names in COLUMNS.items()
    }
    for column, name in there.items():
        if name is None and column not in _OPTIONAL:
            done = "all people are taken for one site, site1" if column == "site" else "n.a."
            problems.append(problem(path.name, f"has no column {column}", done))
    people: dict[str, dict[str, Any]] = {}
    torn: set[str] = set()
    for row in rows:
        raw = row["participant_id"]
        if raw is None:
            continue
        name = raw if raw.startswith("sub-") else f"sub-{raw}"
        person = {
            column: _value(column, None if key is None else row[key], name, problems)
            for column, key in there.items()
        }
        if there["site"] is None:
            person["site"] = "site1"
        if person["group"] == "DCM":
            person["site"] = "dcm"
        first = people.setdefault(name, person)
        if (first["site"], first["group"]) != (person["site"], person["group"]):
            torn.add(name)
    for name in sorted(torn):
        problems.append(problem(name, "is listed with two groups or sites", "left out"))
        people[name]["site"] = None
    return people


def plane_of(image: PathLike) -> str:
    """The plane of an image by its voxels: the axis that is coarsest is across the slices."""
    header = load_header(image).reoriented("RAS")
    coarse = int(np.argmax(header.spacing))
    if max(header.spacing) < _THICK * min(header.spacing):
        return ISOTROPIC
    return (SAGITTAL, CORONAL, AXIAL)[coarse]


def _regions(found: data.Dataset, problems: list[dict[str, str]]) -> list[str]:
    drawn = Counter(name for case in found.cases for name in case.region_masks)
    for name in (CORD, LESION):
        if not drawn[name]:
            what = "nobody drew it in any scan"
            problems.append(problem(name, what, f"its numbers are n.a.; no network learns {name}"))
    return [name for name in (CORD, LESION) if drawn[name]]


def _truth(root: PathLike, folder: str, contrast: str | None) -> dict[str, Mapping[str, Path]]:
    found, _ = data.survey(
        root, labelled=True, regions=[CORD, LESION], derivative=folder, contrast=contrast
    )
    return {case.id: case.region_masks for case in found.cases}


def _scans(
    dataset: data.Dataset,
    names: Sequence[str],
    people: Mapping[str, Mapping[str, Any]],
    true: Mapping[str, Mapping[str, Path]],
    problems: list[dict[str, str]],
) -> Iterable[Scan]:
    cases = sorted((*dataset.cases, *dataset.unlabelled), key=lambda case: case.id)
    labels = _sessions(cases)
    for case in cases:
        lacking = [name for name in names if name not in case.region_masks]
        person = people.get(case.subject)
        wrong = ""
        if lacking:
            wrong = f"has no mask of {' and '.join(lacking)}"
        elif person is None:
            wrong = f"{case.subject} is not in participants.tsv"
        elif person["site"] is None:
            wrong = f"{case.subject} has no site"
        if wrong or person is None:
            problems.append(problem(case.id, wrong, "the scan is left out"))
            continue
        try:
            plane = plane_of(case.images[0])
        except ScoreError as error:
            problems.append(problem(case.id, str(error), "the scan is left out"))
            continue
        yield Scan(case, labels[case.id], str(person["site"]), plane, true.get(case.id, {}))


def _sessions(cases: Sequence[data.Case]) -> dict[str, str]:
    """A name for each scan that its participant has once: the session, and the rest if needed."""
    names = {case.id: parse(case.images[0]) for case in cases}
    short = {key: name.entities.get("ses", "01") for key, name in names.items()}
    count = Counter((case.subject, short[case.id]) for case in cases)
    return {
        case.id: short[case.id]
        if count[case.subject, short[case.id]] == 1
        else case.id.removeprefix(f"{case.subject}_")
        for case in cases
    }


def _session(scan: Scan, person: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "participant": scan.participant,
        "session": scan.session,
        "site": scan.site,
        "plane": scan.plane,
        **{name: person[name] for name in COLUMNS if name != "site"},
    }


def _lacking(sessions: pd.DataFrame) -> list[dict[str, str]]:
    """A problem for each covariate that some, not all, of the people lack."""
    people = sessions.drop_duplicates("participant")
    found = []
    for name in COLUMNS:
        lacking = people.loc[people[name].isna(), "participant"].tolist()
        if name in _OPTIONAL or not lacking or len(lacking) == len(people):
            continue
        some = ", ".join(lacking[:5]) + (" ..." if lacking[5:] else "")
        what = f"is missing for {len(lacking)} of {len(people)} people ({some})"
        found.append(problem(name, what, "left out where it is needed"))
    return found


def _value(column: str, text: str | None, name: str, problems: list[dict[str, str]]) -> Any:
    if column not in _NUMBERS:
        return text
    if text is None:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        problems.append(problem(name, f"{column}: got {text!r}; expected a number", "n.a."))
        return math.nan
    return value
