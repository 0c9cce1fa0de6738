"""Tables 2, 3, 4 and 8 of the SCI study: how well the networks segment, and which does better."""

from collections.abc import Iterator

import pandas as pd

from score_jax.statistics.outcome import Outcome
from score_jax.statistics.ranks import friedman, kruskal, mann_whitney, normality
from score_jax.statistics.significance import bonferroni, format_p
from score_jax.study.results import Table
from score_jax.study.sci_cohort import CORD, LESION
from score_jax.study.sci_numbers import (
    MANUAL,
    METRICS,
    THREE_D,
    TWO_D,
    Numbers,
    column_title,
    compare,
    count,
    mean_sd,
    method_title,
    number,
    p_text,
)
from score_jax.study.sci_published import ALPHA

CORD_METRICS = ("Dice", "RVE", "SurfaceDistance", "ASSD")
LESION_METRICS = ("Dice", "SurfaceDistance", "ASSD", "PPV_L", "Sens_L", "F1_L")
OF = {CORD: CORD_METRICS, LESION: LESION_METRICS}
TITLES = {
    "RVE": "RVE [%]",
    "SurfaceDistance": "surface distance, ANIMA's own [mm]",
    "ASSD": "surface distance, correct (ASSD) [mm]",
    "PPV_L": "lesion-wise PPV",
    "Sens_L": "lesion-wise sensitivity",
    "F1_L": "lesion-wise F1",
}
_DISTANCES = (
    "ANIMA's SurfaceDistance is not an average surface distance (its running minimum is never "
    "reset); ASSD is what it was meant to be."
)
_EMPTY = (
    "Nothing predicted: Dice, sensitivity and F1 are 0 and the distances unknown (left out), as in "
    "ANIMA. Nothing drawn: the scan has no scores."
)


def metrics_of(numbers: Numbers, structure: str) -> tuple[str, ...]:
    """The metrics of a structure, the chosen surface distance before the other one."""
    order = OF[structure]
    if numbers.options.surface == "anima":
        return order
    swap = {"SurfaceDistance": "ASSD", "ASSD": "SurfaceDistance"}
    return tuple(str(swap.get(metric, metric)) for metric in order)


def accuracy_table(numbers: Numbers) -> Table:
    """Table 2: the 3-D network on each site, all of them, and site against site."""
    rows = []
    for structure in (CORD, LESION):
        for metric in metrics_of(numbers, structure):
            row = {"structure": structure, "metric": title(metric)}
            for column in (*numbers.sites, "average"):
                values = numbers.score(structure, THREE_D, metric, column)
                row[f"{column_title(column)} (n)"] = f"{mean_sd(values)} ({count(values)})"
            for a, b in _pairs(numbers.sites):
                both = [numbers.score(structure, THREE_D, metric, s) for s in (a, b)]
                head = f"P {column_title(a)} against {column_title(b).removeprefix('site ')}"
                row[head] = p_text(mann_whitney(*both))
            rows.append(row)
    drawn = numbers.biomarker(MANUAL, "volume", "average")
    notes = (
        f"Network of phase {numbers.last}; mean ± SD over scans, each averaged over the seeds in "
        "whose test set it is.",
        "Site against site: Mann-Whitney.",
        f"No lesion is drawn in {int((drawn == 0).sum())} of {count(drawn)} tested scans.",
        _DISTANCES,
        _EMPTY,
    )
    title_ = "The 3-D network, by site"
    return Table("Table 2", title_, pd.DataFrame(rows), notes)


def planes_table(numbers: Numbers) -> Table:
    """Table 3: lesions, the 2-D against the 3-D network."""
    rows = []
    for metric in metrics_of(numbers, LESION):
        row = {"metric": title(metric)}
        for site in numbers.sites:
            name = column_title(site)
            row[f"{name}, 3-D"] = mean_sd(numbers.score(LESION, THREE_D, metric, site))
            row[f"{name}, 2-D"] = mean_sd(numbers.score(LESION, TWO_D, metric, site))
            row[f"{name}, P"] = p_text(planes_test(numbers, site, metric))
            row[f"{name}, n"] = str(planes_test(numbers, site, metric).n)
        rows.append(row)
    notes = (
        "Wilcoxon's signed-rank test of the scans that both networks have, two-sided (exact up to "
        "50 pairs without ties); unknown values leave their test alone.",
        _DISTANCES,
    )
    return Table("Table 3", "Lesions: 3-D against 2-D", pd.DataFrame(rows), notes)


def planes_test(numbers: Numbers, site: str, metric: str) -> Outcome:
    """3-D against 2-D, lesions of one site."""
    both = [numbers.score(LESION, method, metric, site) for method in (THREE_D, TWO_D)]
    return compare(*both)


def new_site_table(numbers: Numbers) -> Table:
    """Table 4: scans of a kind that nothing was trained on (DCM)."""
    rows = []
    for structure in (CORD, LESION):
        for metric in metrics_of(numbers, structure):
            row = {"structure": structure, "metric": title(metric)}
            for site in numbers.new:
                for method in numbers.methods:
                    values = numbers.score(structure, method, metric, site)
                    row[f"{site}, {method_title(method)} (n)"] = (
                        f"{mean_sd(values)} ({count(values)})"
                    )
            rows.append(row)
    notes = [f"Networks of phase {numbers.last}, every seed's; each scan averaged over the seeds."]
    if not numbers.new:
        wanted = ", ".join(numbers.options.generalise) or "none named"
        notes.append(f"n.a.: no scan of a site that is kept from training ({wanted})")
    return Table("Table 4", "Generalisation to DCM", pd.DataFrame(rows), (*notes, _EMPTY))


def baselines_table(numbers: Numbers) -> Table:
    """Table 8: the cord by every method, the gate's P, and 3-D against each other one."""
    rows = []
    for site in numbers.sites:
        for metric in CORD_METRICS:
            gates = gate_tests(numbers, site, metric)
            corrected = baseline_tests(numbers, site, metric)
            for method in numbers.methods:
                values = numbers.score(CORD, method, metric, site)
                own = corrected.get(method)
                rows.append(
                    {
                        "site": column_title(site),
                        "metric": title(metric),
                        "method": method_title(method),
                        "mean ± SD": mean_sd(values),
                        "n": count(values),
                        "P Kruskal-Wallis": format_p(gates["kruskal"].p),
                        "P Friedman": format_p(gates["friedman"].p),
                        "P 3-D against it": ("" if method == THREE_D else "not tested")
                        if own is None
                        else f"{format_p(own[0])} (uncorrected {format_p(own[1])})",
                    }
                )
    notes = [
        "Wilcoxon's signed-rank test of 3-D against each other method, Bonferroni-corrected for "
        f"their number, made where {numbers.options.gate} gives P<.05.",
        "Kruskal-Wallis ignores that the scans are the same for every method; Friedman does not "
        "(it needs three methods).",
    ]
    if set(numbers.methods) <= {THREE_D, TWO_D}:
        notes.append("No baseline was given (--baseline NAME=FOLDER): only our own networks.")
    title_ = "Cord: the networks and the baselines"
    return Table("Table 8", title_, pd.DataFrame(rows), tuple(notes))


def gate_tests(numbers: Numbers, site: str, metric: str) -> dict[str, Outcome]:
    """Whether the methods differ at all, both ways."""
    values = [numbers.score(CORD, method, metric, site) for method in numbers.methods]
    if not values:
        return {"kruskal": kruskal(), "friedman": friedman()}
    rows = pd.concat(values, axis=1, keys=range(len(values)))
    return {"kruskal": kruskal(*values), "friedman": friedman(*(rows[k] for k in rows))}


def baseline_tests(numbers: Numbers, site: str, metric: str) -> dict[str, tuple[float, float]]:
    """Corrected and uncorrected P of 3-D against each other method; empty if the gate is shut."""
    others = [method for method in numbers.methods if method != THREE_D]
    gate = gate_tests(numbers, site, metric)[numbers.options.gate].p
    if not others or THREE_D not in numbers.methods or not gate < ALPHA:
        return {}
    own = numbers.score(CORD, THREE_D, metric, site)
    raw = [compare(own, numbers.score(CORD, other, metric, site)).p for other in others]
    pairs = zip(bonferroni(raw).tolist(), raw, strict=True)
    return dict(zip(others, pairs, strict=True))


def normality_table(numbers: Numbers) -> Table:
    """Table S1: D'Agostino and Pearson's test of every arm of Tables 2, 3 and 8."""
    rows = []
    for structure in (CORD, LESION):
        for method in numbers.methods:
            for site in (*numbers.sites, *numbers.new):
                for metric in METRICS:
                    values = numbers.score(structure, method, metric, site)
                    if metric not in OF[structure] or not count(values):
                        continue
                    found = normality(values)
                    rows.append(
                        {
                            "structure": structure,
                            "method": method_title(method),
                            "site": column_title(site),
                            "metric": title(metric),
                            "n": found.n,
                            "K²": number(found.statistic),
                            "P": p_text(found),
                            "remark": found.note,
                        }
                    )
    notes = (
        "D'Agostino and Pearson. Printed as in the paper; the tests of the tables need no "
        "normality, whatever it says.",
    )
    columns = ["structure", "method", "site", "metric", "n", "K²", "P", "remark"]
    frame = pd.DataFrame(rows, columns=columns)
    return Table("Table S1", "Normality of what is compared", frame, notes)


def title(metric: str) -> str:
    """A metric as the tables name it."""
    return TITLES.get(metric, metric)


def _pairs(sites: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for n, a in enumerate(sites):
        for b in sites[n + 1 :]:
            yield a, b
