"""The figures of the SCI study: rainclouds, identity plots, clinical scores against biomarkers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from score_jax.statistics.significance import format_p
from score_jax.study.results import Figure
from score_jax.study.sci_cohort import CORD, LESION
from score_jax.study.sci_numbers import (
    FIRST_PHASE,
    MANUAL,
    MEASURES,
    PREDICTED,
    Numbers,
    column_title,
    method_title,
    number,
    numbers_of,
    paired,
)
from score_jax.study.sci_options import SciOptions
from score_jax.study.sci_published import CLINICAL
from score_jax.study.sci_tables_biomarkers import UNITS, spearman_test, spearman_values
from score_jax.study.sci_tables_scores import TITLES

SITE_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # told apart by the colour-blind
METHOD_COLOURS = {MANUAL: "#444444", PREDICTED: "#d55e00"}
_TITLES = {"pinprick": "pinprick", "light_touch": "light touch", "lems": "LEMS"}
_FEWEST = 5  # values below which no density and no line is drawn


def sci_figures(
    sessions: pd.DataFrame,
    scores: pd.DataFrame,
    biomarkers: pd.DataFrame,
    *,
    options: SciOptions | None = None,
) -> list[Figure]:
    """Rainclouds of cord and lesion, identity plots of the phases, scatter plots of the scores.

    A panel without values says so. Frames as in `sci_tables`.
    """
    numbers = numbers_of(sessions, scores, biomarkers, options or SciOptions())
    return [
        _raincloud_figure(numbers, "Figure 1", CORD, ("Dice", "RVE")),
        _raincloud_figure(numbers, "Figure 2", LESION, ("Dice", "RVE")),
        _identity_figure(numbers),
        _scatter_figure(numbers),
    ]


def raincloud(
    axis: Axes, groups: Sequence[np.ndarray], labels: Sequence[str], colours: Sequence[str]
) -> None:
    """Half a density above, every value below it, the box between; one row a group.

    Args:
      axis: drawn on; values along x.
      groups: values, NaN left out; a group without values keeps its row.
      labels: of the rows, from the top.
      colours: likewise.
    """
    rng = np.random.default_rng(0)  # jitter only; the same picture every time
    count = len(groups)
    for row, (values, colour) in enumerate(zip(groups, colours, strict=True)):
        known = np.asarray(values, float)
        known = known[np.isfinite(known)]
        y = count - 1 - row
        if not known.size:
            axis.text(0.5, y, "no values", transform=axis.get_yaxis_transform(), ha="center",
                      va="center", color="0.5", fontsize=8)  # fmt: skip
            continue
        _cloud(axis, known, y, colour)
        axis.boxplot(
            known, positions=[y], orientation="horizontal", widths=0.1, showfliers=False,
            manage_ticks=False, patch_artist=True,
            boxprops={"facecolor": "white", "edgecolor": colour},
            medianprops={"color": "black"}, whiskerprops={"color": colour},
            capprops={"color": colour},
        )  # fmt: skip
        drops = y - 0.22 + 0.08 * rng.uniform(-1, 1, known.size)
        axis.scatter(known, drops, s=9, color=colour, alpha=0.6, linewidths=0)
    axis.set_yticks(range(count), list(labels)[::-1])
    axis.set_ylim(-0.5, count - 0.35)
    axis.grid(axis="x", color="0.9")
    axis.set_axisbelow(True)


def _cloud(axis: Axes, known: np.ndarray, y: float, colour: str) -> None:
    from scipy.stats import gaussian_kde

    if known.size < _FEWEST or np.ptp(known) == 0:
        return
    grid = np.linspace(known.min(), known.max(), 200)
    density = gaussian_kde(known)(grid)
    axis.fill_between(grid, y + 0.08, y + 0.08 + 0.5 * density / density.max(), color=colour,
                      alpha=0.45, linewidth=0)  # fmt: skip


def _raincloud_figure(
    numbers: Numbers, name: str, structure: str, metrics: Sequence[str]
) -> Figure:
    sites = (*numbers.sites, *numbers.new)
    groups = [(site, method) for method in numbers.methods for site in sites]
    canvas = Canvas(figsize=(9.5, 1.6 + 0.62 * max(1, len(groups))), layout="constrained")
    axes = canvas.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    colours = {site: SITE_COLOURS[n % len(SITE_COLOURS)] for n, site in enumerate(sites)}
    for axis, metric in zip(axes, metrics, strict=True):
        values = [
            numbers.score(structure, method, metric, site).to_numpy(float)
            for site, method in groups
        ]
        labels = [f"{method_title(method)}, {column_title(site)}" for site, method in groups]
        raincloud(axis, values, labels, [colours[site] for site, _ in groups])
        axis.set_xlabel(TITLES.get(metric, metric))
        if metric == "RVE":
            axis.axvline(0, color="0.4", linewidth=0.8, linestyle="--")
            _far_out(axis, values)
    title = f"{structure.capitalize()}: Dice and relative volume error by method and site"
    notes = (
        "A dot a scan (mean over seeds), the box its quartiles with whiskers to 1.5 times their "
        "distance, the cloud a Gaussian kernel density.",
    )
    return Figure(name, title, canvas, notes)


def _far_out(axis: Axes, values: Sequence[np.ndarray]) -> None:
    """Keep a few wild volume errors from flattening the rest; how many are beyond is written."""
    known = np.concatenate([np.zeros(1), *(v[np.isfinite(v)] for v in values)])
    top = max(20.0, float(np.percentile(known, 95)) * 1.5)
    beyond = int((known > top).sum())
    if beyond:
        axis.set_xlim(right=top)
        axis.text(0.99, 0.01, f"{beyond} beyond", transform=axis.transAxes, ha="right",
                  va="bottom", fontsize=8, color="0.4")  # fmt: skip


def _identity_figure(numbers: Numbers) -> Figure:
    phases = list(dict.fromkeys((FIRST_PHASE, numbers.last)))
    canvas = Canvas(figsize=(9.5, 3.3 * len(phases)), layout="constrained")
    grid = canvas.subplots(len(phases), len(MEASURES), squeeze=False)
    for measure, column in zip(MEASURES, grid.T, strict=True):
        top = 0.0
        for phase, axis in zip(phases, column, strict=True):
            top = max(top, _identity(axis, numbers, measure, phase))
            axis.set_title(f"phase {phase}", fontsize=9)
            axis.set_ylabel("predicted")
            axis.set_xlabel(f"manual {UNITS[measure]}")
        for axis in column:
            axis.set(xlim=(-0.03 * top, top * 1.05), ylim=(-0.03 * top, top * 1.05))
            axis.set_aspect("equal")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    if handles:
        canvas.legend(handles, labels, loc="outside upper right", ncols=len(labels), fontsize=8)
    notes = (
        "A dot a scan (mean over seeds) on the line of identity; nothing predicted lies at 0 with "
        "no_lesion_phases = zero, and is left out with drop.",
    )
    return Figure("Figure 3", "Biomarkers before and after the active learning", canvas, notes)


def _identity(axis: Axes, numbers: Numbers, measure: str, phase: int) -> float:
    """The dots of one panel; the largest value."""
    top, found = 0.0, False
    for n, site in enumerate(numbers.sites):
        manual = numbers.biomarker(MANUAL, measure, site, phase=phase)
        x, y = paired(manual, numbers.biomarker(PREDICTED, measure, site, phase=phase))
        known = np.isfinite(x) & np.isfinite(y)
        if known.any():
            found = True
            top = max(top, float(x[known].max()), float(y[known].max()))
        colour = SITE_COLOURS[n % len(SITE_COLOURS)]
        axis.scatter(x[known], y[known], s=16, color=colour, alpha=0.7, linewidths=0,
                     label=column_title(site))  # fmt: skip
    if not found:
        _no_values(axis)
    top = top or 1.0
    axis.axline((0, 0), slope=1, color="0.5", linewidth=0.8, linestyle="--")
    return top


def _scatter_figure(numbers: Numbers) -> Figure:
    canvas = Canvas(figsize=(9.5, 8.6), layout="constrained")
    grid = canvas.subplots(len(CLINICAL), len(MEASURES), squeeze=False)
    for score, row in zip(CLINICAL, grid, strict=True):
        for measure, axis in zip(MEASURES, row, strict=True):
            _scatter(axis, numbers, score, measure)
    handles, labels = next(
        (a.get_legend_handles_labels() for a in grid.flat if a.get_legend_handles_labels()[0]),
        ([], []),
    )
    if handles:
        canvas.legend(handles, labels, loc="outside upper right", ncols=2, fontsize=8)
    notes = (
        "Initial scores; rho is Spearman's, P uncorrected as in the paper (Table 7 has corrected "
        "ones). The lines are least-squares, a guide to the eye.",
    )
    return Figure("Figure 4", "Clinical scores and lesion biomarkers", canvas, notes)


def _scatter(axis: Axes, numbers: Numbers, score: str, measure: str) -> None:
    told = []
    for method, marker in ((MANUAL, "o"), (PREDICTED, "^")):
        y, x = spearman_values(numbers, method, score, "initial", measure)
        known = np.isfinite(x) & np.isfinite(y)
        colour = METHOD_COLOURS[method]
        if not known.any():
            continue
        axis.scatter(x[known], y[known], s=18, marker=marker, color=colour, alpha=0.65,
                     linewidths=0, label=method)  # fmt: skip
        found = spearman_test(numbers, method, score, "initial", measure)
        told.append(f"{method}: rho {number(found.statistic)}, P {format_p(found.p)}")
        if known.sum() >= _FEWEST and np.ptp(x[known]) > 0:
            line = np.polynomial.Polynomial.fit(x[known], y[known], 1)
            ends = np.array([x[known].min(), x[known].max()])
            axis.plot(ends, line(ends), color=colour, linewidth=1)
    if not told:
        _no_values(axis)
    axis.set_title("\n".join(told), fontsize=8, loc="left")
    axis.set_xlabel(UNITS[measure])
    axis.set_ylabel(_TITLES[score])


def _no_values(axis: Any) -> None:
    axis.text(0.5, 0.5, "no values", transform=axis.transAxes, ha="center", va="center",
              color="0.5")  # fmt: skip
