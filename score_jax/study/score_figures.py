"""The SCORE study's figures of numbers: area profiles, agreement, accuracy, Bland-Altman."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from score_jax.study.results import Figure
from score_jax.study.score_tables_frames import (
    COMPARTMENTS,
    PARTS,
    Frame,
    Study,
    read_study,
    select,
)
from score_jax.study.score_tables_options import TableOptions

GROUP_COLOURS = {"HC": "#0072b2", "MS": "#d55e00"}
METHOD_COLOURS = {"manual": "#0072b2", "score": "#d62728"}  # manual blue, SCORE red, as published
ACCURACY_COLOURS = {"HC": "#d62728", "MS": "#1f77b4", "MS, normal-appearing": "#e6c229",
                    "lesion": "#2ca02c"}  # fmt: skip
METHOD_NAMES = {"manual": "manual", "score": "SCORE", "truth": "truth"}


def score_figures(
    subjects: pd.DataFrame, slices: pd.DataFrame, areas: pd.DataFrame, pairs: pd.DataFrame, *,
    options: TableOptions | Mapping[str, Any] | None = None, seed: int = 0,
) -> list[Figure]:  # fmt: skip
    """Figures 2, 3B and 4B of the paper, and Bland-Altman plots; frames as in `score_tables`.

    A panel without values says so. The contours and the montage need images and are the pipeline's.

    Raises:
      ConfigError: an unknown option.
    """
    study = read_study(subjects, slices, areas, pairs, options=TableOptions.of(options), seed=seed)
    return [_profiles(study), _reproducibility(study), _accuracy(study), _bland_altman(study)]


def _profiles(study: Study) -> Figure:
    canvas = Canvas(figsize=(10, 5.6), layout="constrained")
    rows = select(study.areas, method="score", scan=1.0, ok=True, tissue="total")
    for axis, name in zip(canvas.subplots(2, 3).flat, PARTS, strict=True):
        part = select(rows, compartment=name)
        for group, shift in (("HC", -0.12), ("MS", 0.12)):
            of = select(part, group=group).groupby("slice")["area"].agg(["mean", "std"])
            if len(of):
                axis.errorbar(
                    of.index.to_numpy(float) + shift, of["mean"], of["std"].fillna(0.0),
                    color=GROUP_COLOURS[group], marker="o", ms=3, lw=1, capsize=2, label=group,
                )  # fmt: skip
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        _finish(axis, name, "slice, cranial to caudal", "area, mm²", bool(len(part)))
    _legend(canvas)
    return Figure(
        "Figure 2", "Areas by slice, SCORE, controls and patients", canvas,
        ("Mean ± SD over subjects, first scan, failures excluded; total compartments.",),
    )  # fmt: skip


def _reproducibility(study: Study) -> Figure:
    canvas = Canvas(figsize=(10, 4), layout="constrained")
    rows = select(study.pairs, group="HC", tissue="total", ok=True)
    names = [name for name in COMPARTMENTS if name != "lesion"]  # controls have none
    for axis, comparison in zip(canvas.subplots(1, 2, sharey=True), ("intra", "inter"),
                                strict=True):  # fmt: skip
        part = select(rows, comparison=comparison)
        series = {
            METHOD_NAMES[method]: (
                METHOD_COLOURS[method],
                [_values(part, "dsc", compartment=name, method=method) for name in names],
            )
            for method in ("manual", "score")
        }
        drawn = _boxes(axis, series, names)
        _finish(axis, f"{comparison}-session", "", "DSC", drawn)
    _legend(canvas)
    return Figure(
        "Figure 3B", "Reproducibility in controls", canvas,
        ("Each box: slices of all controls, quartiles; whiskers to 1.5 interquartile ranges.",),
    )  # fmt: skip


def _accuracy(study: Study) -> Figure:
    canvas = Canvas(figsize=(10, 4), layout="constrained")
    axis = canvas.subplots()
    rows = select(study.pairs, comparison="accuracy", ok=True)
    total, apart = select(rows, tissue="total"), select(rows, tissue="NA")
    tissue = [name for name in COMPARTMENTS if name != "lesion"]
    empty = np.zeros(0)
    series = {
        "HC": [_values(total, "dsc", compartment=n, group="HC") for n in tissue] + [empty],
        "MS": [_values(total, "dsc", compartment=n, group="MS") for n in tissue] + [empty],
        "MS, normal-appearing": [_values(apart, "dsc", compartment=n, group="MS")
                                 for n in tissue] + [empty],
        "lesion": [empty] * len(tissue)
        + [_values(total, "dsc", compartment="lesion", group="MS")],
    }  # fmt: skip
    coloured = {name: (ACCURACY_COLOURS[name], values) for name, values in series.items()}
    drawn = _boxes(axis, coloured, COMPARTMENTS)
    _finish(axis, "SCORE against the manual consensus", "", "DSC", drawn)
    _legend(canvas)
    return Figure("Figure 4B", "Accuracy in controls and patients", canvas,
                  ("Boxes as in figure 3B; failures excluded.",))  # fmt: skip


def _bland_altman(study: Study) -> Figure:
    canvas = Canvas(figsize=(10, 8), layout="constrained")
    rows = select(study.areas, scan=1.0, ok=True, tissue="total")
    versus = [("score", "manual"), ("score", "truth"), ("manual", "truth")]
    shown = ("SC", "WM", "GM")
    axes = canvas.subplots(len(versus), len(shown))
    for i, (a, b) in enumerate(versus):
        for j, name in enumerate(shown):
            part = select(rows, compartment=name)
            on = ["subject", "slice", "group"]
            both = select(part, method=a)[[*on, "area"]].merge(
                select(part, method=b)[[*on, "area"]], on=on, suffixes=("_a", "_b")
            )
            _difference(axes[i, j], both, f"{METHOD_NAMES[a]} - {METHOD_NAMES[b]}", name)
    _legend(canvas)
    return Figure(
        "Figure S1", "Bland-Altman: areas by SCORE, by hand and in truth", canvas,
        ("First scan, a dot a slice. Lines: mean difference and 1.96 SD on either side; the limits "
         "take slices for independent.",),
    )  # fmt: skip


def _difference(axis: Axes, both: Frame, label: str, name: str) -> None:
    difference = (both["area_a"] - both["area_b"]).to_numpy(np.float64)
    for group, colour in GROUP_COLOURS.items():
        of = (both["group"] == group).to_numpy(bool)
        if of.any():
            middle = (both["area_a"] + both["area_b"]).to_numpy(np.float64)[of] / 2
            axis.plot(middle, difference[of], ".", ms=2.5, color=colour, label=group)
    if difference.size > 1:
        mean, sd = float(difference.mean()), float(difference.std(ddof=1))
        for value, style in ((mean, "-"), (mean - 1.96 * sd, "--"), (mean + 1.96 * sd, "--")):
            axis.axhline(value, color="#444444", lw=0.8, ls=style)
    _finish(axis, name, "mean, mm²", f"{label}, mm²", difference.size > 0)


def _boxes(
    axis: Axes, series: Mapping[str, tuple[str, list[np.ndarray]]], names: Sequence[str]
) -> bool:
    """Boxes side by side at each name; whether anything was there to draw."""
    width = 0.8 / len(series)
    drawn = False
    for i, (label, (colour, groups)) in enumerate(series.items()):
        places = [(j, values) for j, values in enumerate(groups) if values.size]
        if not places:
            continue
        drawn = True
        axis.boxplot(
            [values for _, values in places],
            positions=[j + (i - (len(series) - 1) / 2) * width for j, _ in places],
            widths=0.85 * width, patch_artist=True, manage_ticks=False,
            flierprops={"marker": ".", "ms": 2, "mec": colour, "mfc": colour},
            medianprops={"color": "black", "lw": 1},
            boxprops={"facecolor": colour, "lw": 0.5},
        )  # fmt: skip
        axis.plot([], [], "s", color=colour, label=label)
    axis.set_xticks(range(len(names)), names)
    return drawn


def _values(rows: Frame, column: str, **wanted: str) -> np.ndarray:
    values = select(rows, **wanted)[column].to_numpy(np.float64)
    return values[~np.isnan(values)]


def _finish(axis: Axes, title: str, x: str, y: str, drawn: bool) -> None:
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.spines[["top", "right"]].set_visible(False)
    if not drawn:
        axis.text(0.5, 0.5, "no values", transform=axis.transAxes, ha="center", color="#666666")


def _legend(canvas: Canvas) -> None:
    """One legend of all panels."""
    found: dict[str, Any] = {}
    for axis in canvas.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        canvas.legend(found.values(), found.keys(), loc="outside upper right", ncols=len(found),
                      frameon=False)  # fmt: skip
