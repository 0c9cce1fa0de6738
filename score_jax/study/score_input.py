"""The people and scans of a SCORE study, from a BIDS dataset, and all that is wrong with them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import pandas as pd

from score_jax import data
from score_jax._types import PathLike
from score_jax.errors import DatasetError, ScoreError
from score_jax.imaging import Volume, load_header, read_json, read_table
from score_jax.imaging.bids import parse, stem
from score_jax.study.score_masks import COMPARTMENTS
from score_jax.study.score_options import StudyOptions

GROUPS = ("HC", "MS")
REGIONS = tuple(name for name in COMPARTMENTS.values() if name != "wm")  # wm: cord without gm
# our column: theirs in participants.tsv, whether controls have it, whether it is a number
COVARIATES = {
    "sex": ("sex", True, False),
    "age": ("age", True, True),
    "tiv": ("tiv_l", True, True),
    "type": ("disease_type", False, False),
    "duration": ("disease_duration", False, True),
    "edss": ("edss", False, True),
}
_ALLOWED = {"sex": ("F", "M"), "type": ("RR", "SP", "PP")}


@final
@dataclass(frozen=True, slots=True)
class Issue:
    """Something wrong with the input.

    Args:
      kind: a few words, the same for all of a kind.
      where: subject, scan, slices.
      became: what was done about it.
      count: of slices, people or files concerned.
    """

    kind: str
    where: str
    became: str
    count: int = 1


@final
@dataclass(frozen=True, slots=True)
class Scan:
    """One scan.

    Args:
      subject: ``sub-...``.
      number: 1, 2, 3 in the order of the sessions.
      image: the file.
      masks: files by derivative (a rater's folder, or the truth's) and region.
      excluded: slices with a severe artefact, counted from the feet, from 0.
    """

    subject: str
    number: int
    image: Path
    masks: Mapping[str, Mapping[str, Path]]
    excluded: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Unique in a study; names folders."""
        return f"{self.subject}_scan-{self.number}"


@final
@dataclass(frozen=True, slots=True)
class Input:
    """What a study works on.

    Args:
      root: the dataset.
      people: a row each by subject: group and covariates (`COVARIATES`); NaN or "" if unknown.
      scans: in order.
      issues: what was wrong.
    """

    root: Path
    people: Mapping[str, Mapping[str, Any]]
    scans: tuple[Scan, ...]
    issues: tuple[Issue, ...] = ()

    def of(self, group: str) -> list[str]:
        """The subjects of a group that have a scan, sorted."""
        there = {scan.subject for scan in self.scans}
        return sorted(s for s in there if self.people[s]["group"] == group)

    @property
    def files(self) -> list[Path]:
        """Every file that the study depends on."""
        masks = [p for s in self.scans for by in s.masks.values() for p in by.values()]
        sidecars = [p for s in self.scans if (p := _sidecar(s.image)).is_file()]
        return [self.root / "participants.tsv", *(s.image for s in self.scans), *masks, *sidecars]


@dataclass
class _Found:
    issues: list[Issue] = field(default_factory=list)

    def add(self, kind: str, where: str, became: str, count: int = 1) -> None:
        self.issues.append(Issue(kind, where, became, count))


def read_input(root: PathLike, options: StudyOptions) -> Input:
    """People and scans of a BIDS dataset; whoever cannot be used is left out and named.

    Args:
      root: with ``participants.tsv`` (participant_id, group HC or MS, sex F or M, age, tiv_l,
        disease_type, disease_duration, edss), images and masks (``label-cord`` ... ``label-gc``,
        ``label-canal``, ``label-lesion``) of each rater below ``derivatives/``. ``ExcludedSlices``
        in an image's sidecar lists slices with severe artefacts, in the file's order, from 0.
      options: raters, truth, contrast.

    Raises:
      DatasetError: no participants.tsv, no image, no rater: nothing to study.
    """
    folder, found = Path(root), _Found()
    people = _people(folder, found)
    cases = _images(folder, options.contrast)
    drawn = _masks(folder, options, found, cases)
    kept = _readable(_known(cases, people, found), found)
    scans = _numbered(kept, drawn, found)
    if not scans:
        raise DatasetError(
            f"{folder}: got no scan that can be used; expected images of people in "
            "participants.tsv with the group HC or MS"
        )
    _note_covariates(people, {scan.subject for scan in scans}, found)
    _note_undrawn(scans, options, found)
    return Input(folder, people, tuple(scans), tuple(found.issues))


def issues_frame(issues: Sequence[Issue]) -> pd.DataFrame:
    """The problems as the report prints them, those of a kind together."""
    ordered = sorted(issues, key=lambda i: i.kind)
    rows = [
        {"what": i.kind, "count": i.count, "where": i.where, "what became of it": i.became}
        for i in ordered
    ]
    return pd.DataFrame(rows, columns=["what", "count", "where", "what became of it"])


def _people(folder: Path, found: _Found) -> dict[str, dict[str, Any]]:
    path = folder / "participants.tsv"
    rows = read_table(path)
    if not rows or "participant_id" not in rows[0] or "group" not in rows[0]:
        raise DatasetError(
            f"{path}: got the columns {', '.join(rows[0]) if rows else '(no row)'}; expected "
            "participant_id and group (HC or MS), and sex, age, tiv_l, disease_type, "
            "disease_duration, edss"
        )
    groups: dict[str, set[str]] = {}
    for row in rows:
        groups.setdefault(row["participant_id"] or "", set()).add(row["group"] or "none")
    people: dict[str, dict[str, Any]] = {}
    for row in rows:
        subject = row["participant_id"] or ""
        if subject in people or not subject:
            continue
        given = groups[subject]
        if len(given) > 1:
            both = " and ".join(sorted(given))
            found.add("a subject with two groups", f"{subject}: {both}", "the subject is left out")
            groups[subject] = {"left out"}
        elif given != {"left out"} and not given <= set(GROUPS):
            found.add(
                "a subject of neither group", f"{subject}: {given.pop()}",
                "the subject is left out; expected HC or MS",
            )  # fmt: skip
            groups[subject] = {"left out"}
        elif given != {"left out"}:
            people[subject] = {"group": row["group"], **_covariates(subject, row, found)}
    return people


def _covariates(subject: str, row: Mapping[str, str | None], found: _Found) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, (column, controls, number) in COVARIATES.items():
        text = row.get(column)
        values[name] = math.nan if number else ""
        if text is None or (row["group"] == "HC" and not controls):
            continue
        try:
            values[name] = float(text) if number else text
        except ValueError:
            text = None
        if text is None or not (number or text in _ALLOWED[name]):
            found.add("a covariate that means nothing", f"{subject}: {column} {row[column]}",
                      "taken as missing")  # fmt: skip
            values[name] = math.nan if number else ""
    return values


def _images(folder: Path, contrast: str) -> list[data.Case]:
    every = data.survey(folder, labelled=False)[0].cases
    suffixes = sorted({parse(case.images[0]).suffix for case in every})
    if not contrast and len(suffixes) > 1:
        if "AMIRA" not in suffixes:
            raise DatasetError(
                f"{folder}: got images of the contrasts {', '.join(suffixes)}; expected one",
                hint="--set contrast=NAME",
            )
        contrast = "AMIRA"
    return [c for c in every if not contrast or parse(c.images[0]).suffix == contrast]


def _masks(
    folder: Path, options: StudyOptions, found: _Found, cases: Sequence[data.Case]
) -> dict[str, dict[str, dict[str, Path]]]:
    """Files of masks by case, derivative and region."""
    contrasts = {parse(case.images[0]).suffix for case in cases}
    by_case: dict[str, dict[str, dict[str, Path]]] = {}
    for name in (*options.raters, options.truth):
        if not (folder / "derivatives" / name).is_dir():
            if name != options.truth:
                found.add("a rater without a folder", f"derivatives/{name}", "done without")
            continue
        try:
            drawn, _ = data.survey(
                folder, regions=REGIONS, derivative=name, contrast=next(iter(contrasts), None)
            )
        except DatasetError as error:
            found.add("masks that cannot be used", f"derivatives/{name}", error.message)
            continue
        for case in drawn.cases:
            by_case.setdefault(case.id, {})[name] = dict(case.region_masks)
    if not any(set(by) & set(options.raters) for by in by_case.values()):
        raise DatasetError(
            f"{folder}: got no mask below derivatives/ of {', '.join(options.raters)}; expected "
            "the raters' masks",
            hint="""--set 'raters=["NAME", ...]' names their folders""",
        )
    return by_case


def _known(cases: Sequence[data.Case], people: Mapping[str, Any], found: _Found) -> list[data.Case]:
    strangers = sorted({c.subject for c in cases if c.subject not in people})
    told = {issue.where.partition(":")[0] for issue in found.issues}
    for subject in strangers:
        if subject not in told:
            found.add("an image of nobody", f"{subject}: not in participants.tsv", "it is left out")
    absent = sorted(set(people) - {c.subject for c in cases})
    for subject in absent:
        found.add("a participant without image", subject, "the subject is left out")
    return [c for c in cases if c.subject in people]


def _readable(cases: Sequence[data.Case], found: _Found) -> list[tuple[data.Case, Volume]]:
    """The cases whose header can be read and that have as many channels as most."""
    heads = []
    for case in cases:
        try:
            heads.append((case, load_header(case.images[0])))
        except ScoreError as error:
            found.add("an image that cannot be read", case.id, f"left out: {error.message}")
    counts = [head.channels for _, head in heads]
    usual = max(set(counts), key=counts.count) if counts else 0
    for case, head in heads:
        if head.channels != usual:
            found.add(
                "an image with other channels", f"{case.id}: {head.channels}",
                f"left out; the others have {usual}",
            )  # fmt: skip
    return [(case, head) for case, head in heads if head.channels == usual]


def _numbered(
    cases: Sequence[tuple[data.Case, Volume]], drawn: Mapping[str, Any], found: _Found
) -> list[Scan]:
    """Scans numbered by session; a control's fourth and a patient's second are kept as they are."""
    scans = []
    for subject in sorted({case.subject for case, _ in cases}):
        own = [(case, head) for case, head in cases if case.subject == subject]
        own.sort(key=lambda pair: (parse(pair[0].images[0]).entities.get("ses", ""), pair[0].id))
        for number, (case, head) in enumerate(own, 1):
            image = case.images[0]
            spoilt = _excluded(image, head, found)
            scans.append(Scan(subject, number, image, drawn.get(case.id, {}), spoilt))
    return scans


def _sidecar(image: Path) -> Path:
    return image.with_name(f"{stem(image)}.json")


def _excluded(image: Path, head: Volume, found: _Found) -> tuple[int, ...]:
    """Slices named in the sidecar, counted from the feet."""
    if not _sidecar(image).is_file():
        return ()
    try:
        listed = read_json(_sidecar(image)).get("ExcludedSlices", [])
        slices = [int(value) for value in listed]
    except (ScoreError, AttributeError, TypeError, ValueError):
        found.add("a sidecar that cannot be read", image.name, "no slice of it is excluded")
        return ()
    axis = next(k for k, letter in enumerate(head.axcodes) if letter in "SI")
    count = head.shape[axis]
    inside = sorted({k for k in slices if 0 <= k < count})
    if len(inside) < len(slices):
        found.add("excluded slices that are not there", image.name, f"{inside} are excluded")
    down = head.axcodes[axis] == "I"
    return tuple(sorted(count - 1 - k if down else k for k in inside))


def _note_covariates(people: Mapping[str, Any], there: set[str], found: _Found) -> None:
    for name, (column, controls, number) in COVARIATES.items():
        missing = [
            s for s in sorted(there)
            if (controls or people[s]["group"] == "MS")
            and (math.isnan(people[s][name]) if number else not people[s][name])
        ]  # fmt: skip
        if missing:
            found.add(
                f"a missing covariate: {column}", _some(missing),
                "left out of the models that use it", len(missing),
            )  # fmt: skip


def _note_undrawn(scans: Sequence[Scan], options: StudyOptions, found: _Found) -> None:
    """Compartments that nobody drew, and scans on which a rater is missing."""
    for region in REGIONS:
        if not any(region in s.masks.get(r, {}) for s in scans for r in options.raters):
            found.add("a compartment nobody drew", region, "no network, no rows in the tables")
    for rater in options.raters:
        if not any(rater in scan.masks for scan in scans):
            continue  # said already
        lacking = [
            s.name for s in scans
            if "cord" not in s.masks.get(rater, {})
            and (s.number == 1 or rater == options.raters[0])
        ]  # fmt: skip
        if lacking:
            found.add(
                "a scan without a rater's masks", f"{rater}: {_some(lacking)}",
                "consensus and training without them", len(lacking),
            )  # fmt: skip


def _some(names: Sequence[str], most: int = 6) -> str:
    more = f" ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + more
