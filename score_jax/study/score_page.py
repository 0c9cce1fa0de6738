"""The report of a SCORE study: its tables, figures, and where they come from."""

import importlib.metadata
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd

from score_jax.api import about
from score_jax.api.training import SUMMARY
from score_jax.imaging import load, read_json
from score_jax.phantom import amira, covariates, kspace
from score_jax.phantom.tables import tables as phantom_tables
from score_jax.study import score_measures
from score_jax.study.report import Report
from score_jax.study.results import Figure
from score_jax.study.score_cases import Worked
from score_jax.study.score_figures import score_figures
from score_jax.study.score_input import GROUPS, Issue, issues_frame
from score_jax.study.score_montage import montage
from score_jax.study.score_options import StudyOptions, choices
from score_jax.study.score_tables import score_tables
from score_jax.study.score_tables_options import TableOptions, table_choices
from score_jax.study.score_training import RUN, Network, read_networks
from score_jax.study.stages import Stage

_PACKAGES = ("scipy", "pandas", "statsmodels", "matplotlib")


@final
@dataclass(frozen=True, eq=False, slots=True)
class Done:
    """A study whose stages are through.

    Args:
      name: of the dataset.
      simulated: whether its people are.
      scale: of the study.
      seed: of it.
      options: of it.
      scans: all, on the grid.
      root: of their folders.
      trained: one stage a kind of network.
      segmented: likewise.
      stages: all of them.
      frames: subjects, slices, areas, pairs.
      issues: what was wrong with the input.
    """

    name: str
    simulated: bool
    scale: str
    seed: int
    options: StudyOptions
    scans: Sequence[Worked]
    root: Path
    trained: Sequence[Stage]
    segmented: Sequence[Stage]
    stages: Sequence[Stage]
    frames: Mapping[str, pd.DataFrame]
    issues: Sequence[Issue]

    @property
    def networks(self) -> list[Network]:
        """All that were trained."""
        return [network for stage in self.trained for network in read_networks(stage.folder)]


def make_report(done: Done, arguments: Sequence[str]) -> Report:
    """Tables 1 to 13, the figures, and the rest of the page.

    Args:
      done: the study.
      arguments: the command line.

    Raises:
      ConfigError: an unknown option of the tables.
    """
    options = table_options(done)
    subjects, slices, areas, pairs = (done.frames[name] for name in score_measures.FRAMES)
    given: dict[str, Any] = {"options": options, "seed": done.seed}
    with warnings.catch_warnings():
        # of few people or of networks that find nothing: values all equal, no variance. The tables
        # say n.a. where that leaves nothing to tell.
        warnings.simplefilter("ignore", RuntimeWarning)
        tables = score_tables(subjects, slices, areas, pairs, **given)
        figures = score_figures(subjects, slices, areas, pairs, **given)
    return Report(
        title="SCORE study",
        lead=_lead(done),
        problems=issues_frame(done.issues),
        tables=tables,
        figures=[*montages(done), *figures],
        choices=[*choices(done.options), *table_choices(options)],
        made_by=_made_by(done, arguments),
    )


def table_options(done: Done) -> TableOptions:
    """What the tables are told: the study's choices, its design, what was planted."""
    first, second = (int(number) for number in done.options.inter.split("-"))
    return TableOptions.of(
        {
            "inter_scans": (first, second),
            "planted": planted() if done.simulated else {},
            "design": design(done),
            **done.options.tables,
        }
    )


def planted() -> dict[str, float]:
    """The effects of the disease that the phantom plants: percent of the controls' areas, EDSS.

    Of white and grey matter they follow from cord and horns and are the phantom's stated aims
    (docs/phantom.md).
    """
    relapsing, progressive = covariates.AH_RELAPSING, covariates.AH_PROGRESSIVE
    return {
        "SC MS-HC": 100 * covariates.MS_CORD, "WM MS-HC": -10.0, "GM MS-HC": -8.0,
        "AH MS-HC": 100 * (15 * relapsing + 9 * progressive) / 24, "PH MS-HC": 0.0,
        "GC MS-HC": 0.0,
        "AH progressive-RR": 100 * ((1 + progressive) / (1 + relapsing) - 1),
        "EDSS beta WM": covariates.EDSS_WM, "EDSS beta lesion": covariates.EDSS_LESION,
        "EDSS R2": 0.81,
    }  # fmt: skip


def design(done: Done) -> dict[str, Any]:
    """How scans were made and networks trained; of simulated scans also the acquisition."""
    known: dict[str, Any] = {
        "raters": len(done.options.raters), "raters parts": 1, "folds": done.options.folds,
        "folds parts": done.options.folds_parts,
        "slices a scan": max(scan.slices for scan in done.scans),
    }  # fmt: skip
    for group in GROUPS:
        numbers = [scan.number for scan in done.scans if scan.group == group]
        if numbers:
            known[f"scans {group}"] = max(numbers)
    if done.simulated:
        timing, thick = phantom_tables()["amira"], amira.THICKNESS_MM
        known |= {
            "field of view, mm": kspace.FOV_MM,
            "pixel, mm": round(kspace.FOV_MM / kspace.MATRIX, 3),
            "thickness, mm": thick, "overlap, mm": thick - amira.SPACING_MM,
            "coverage, mm": (amira.SLICES - 1) * amira.SPACING_MM + thick,
            "TI, ms": " ".join(f"{value:.1f}" for value in timing["TI_ms"]), "TE, ms": 2.14,
            "TR, ms": 5.13,
        }  # fmt: skip
    return known


def montages(done: Done) -> list[Figure]:
    """Figure 1: a slice of a control, and of the patient with the largest lesion drawn.

    Looked for among the first six people of each group.
    """
    found = []
    folders = [stage.folder for stage in done.segmented]
    for group in GROUPS:
        own = [scan for scan in done.scans if scan.group == group and scan.number == 1]
        if not own:
            continue
        read = [
            score_measures.read_scan(scan, done.root, folders, done.options) for scan in own[:6]
        ]
        place = max(
            ((n, z) for n, one in enumerate(read) for z in range(one.scan.slices)
             if z not in one.scan.excluded),
            key=lambda at: (_lesion(read[at[0]], at[1]), -at[0], -abs(at[1] - 6)),
            default=(0, 0),
        )  # fmt: skip
        one, z = read[place[0]], place[1]
        image = load(done.root / one.scan.folder / "image.nii.gz").channels_last[:, :, z]
        drawn = {
            label: {k[0]: m[..., z] for k, m in reading.masks.items() if k[1] == "total"}
            for label, reading in (
                ("manual", one.of("manual")), ("SCORE", one.of("score")), ("truth", one.of("truth"))
            )
            if reading is not None
        }  # fmt: skip
        if drawn:
            title = f"{one.scan.subject} ({group}), slice {one.scan.label(z)}"
            name = f"Figure 1{'A' if group == 'HC' else 'B'}"
            found.append(montage(image, drawn, one.scan.spacing, name=name, title=title))
    return found


def _lesion(read: score_measures.Read, z: int) -> int:
    reading = read.of("manual")
    mask = None if reading is None else reading.masks.get(("lesion", "total"))
    return 0 if mask is None else int(np.count_nonzero(mask[..., z]))


def _lead(done: Done) -> list[str]:
    o = done.options
    counts = ", ".join(
        f"{len({scan.subject for scan in done.scans if scan.group == group})} {group}"
        for group in GROUPS
    )
    source = (
        "simulated people (no human was scanned)" if done.simulated else f"the dataset {done.name}"
    )
    lines = [
        f"{counts} of {source}; {len(done.scans)} scans; {len(done.networks)} networks: "
        f"{len(o.raters)} raters and {o.folds} folds of the first stage, 1 rater and "
        f"{o.folds_parts} folds of the second, controls and patients apart. Every scan was "
        "segmented by networks that never saw any slice of its subject.",
        "The study is that of Tsagkas et al., AJNR 2023;44:218. n.a. is not available; the notes "
        "below a table say why. Distances are in mm on the grid of "
        f"{o.grid_mm:.3g} mm.",
    ]
    if done.scale != "full":
        lines.append(
            f"Scale {done.scale}: few people and small networks, trained briefly. The numbers "
            "show that every step works; they are no result about AMIRA, SCORE or the paper."
        )
    return lines


def _made_by(done: Done, arguments: Sequence[str]) -> dict[str, str]:
    start = about.describe_start(arguments)
    rows = {
        "command": start["command"], "score-jax": start["score_jax"],
        "commit": str(start["git_commit"] or "not a checkout"), "python": start["python"],
        **{name: str(version) for name, version in start["packages"].items()},
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
        "platform": start["platform"], "devices": ", ".join(start["devices"]),
        "written": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "scale": done.scale,
        "seed": f"{done.seed}; of the split {done.options.split_seed}",
        "seeds of networks": f"{done.seed} + number, in the order of weights below",
    }  # fmt: skip
    for stage in done.trained:
        sums = read_json(stage.folder / RUN / SUMMARY)["weights_sha256"]
        rows[f"weights, {stage.name}"] = ", ".join(value[:12] for value in sums)
    for stage in done.stages:
        kept = ", by an earlier run" if stage.kept else ""
        rows[f"seconds, {stage.name}"] = f"{stage.seconds:.1f}{kept}"
    return rows
