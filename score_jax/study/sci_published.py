"""What the SCIseg paper reports: the numbers that the study's last table sets ours beside.

Source: Naga Karthik, Valosek et al., 2024, Tables 1 to 4, Figures 4 to 7 and the text on them.
"""

from dataclasses import dataclass
from typing import Literal, final

TEST_SCANS = {"site1": 79, "site2": 51, "average": 130, "dcm": 14}  # over all five test sets
ALPHA = 0.05

# (structure, method, metric) -> column -> mean, SD. RVE in percent, distances in mm.
SCORES: dict[tuple[str, str, str], dict[str, tuple[float, float]]] = {
    ("cord", "3d", "Dice"): {
        "site1": (0.90, 0.08), "site2": (0.94, 0.04), "average": (0.92, 0.07), "dcm": (0.95, 0.01),
    },
    ("cord", "3d", "RVE"): {
        "site1": (0.25, 15.19), "site2": (0.51, 10.33), "average": (0.35, 13.45),
        "dcm": (3.51, 4.63),
    },
    ("cord", "3d", "SurfaceDistance"): {
        "site1": (0.14, 0.66), "site2": (0.00, 0.00), "average": (0.09, 0.52), "dcm": (0.00, 0.00),
    },
    ("lesion", "3d", "Dice"): {
        "site1": (0.51, 0.30), "site2": (0.74, 0.15), "average": (0.61, 0.27), "dcm": (0.46, 0.26),
    },
    ("lesion", "3d", "SurfaceDistance"): {
        "site1": (3.51, 9.61), "site2": (0.30, 1.34), "average": (2.17, 7.54), "dcm": (1.51, 4.64),
    },
    ("lesion", "3d", "PPV_L"): {
        "site1": (0.53, 0.43), "site2": (0.88, 0.26), "average": (0.67, 0.41), "dcm": (0.71, 0.38),
    },
    ("lesion", "3d", "Sens_L"): {
        "site1": (0.79, 0.36), "site2": (0.91, 0.22), "average": (0.84, 0.32), "dcm": (0.50, 0.45),
    },
    ("lesion", "3d", "F1_L"): {
        "site1": (0.55, 0.43), "site2": (0.86, 0.24), "average": (0.68, 0.39), "dcm": (0.49, 0.44),
    },
    ("lesion", "2d", "Dice"): {"site1": (0.36, 0.31), "site2": (0.65, 0.21)},
    ("lesion", "2d", "SurfaceDistance"): {"site1": (9.14, 32.43), "site2": (0.54, 1.48)},
    ("lesion", "2d", "PPV_L"): {"site1": (0.33, 0.43), "site2": (0.73, 0.35)},
    ("lesion", "2d", "Sens_L"): {"site1": (0.63, 0.46), "site2": (0.89, 0.27)},
    ("lesion", "2d", "F1_L"): {"site1": (0.35, 0.43), "site2": (0.74, 0.33)},
}  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class Claim:
    """A test whose outcome the paper states.

    Args:
      what: one line.
      key: where the study keeps its own P of the same test.
      bound: P below it; with `above`, P at or above it ("n.s.").
      above: the paper found nothing.
    """

    what: str
    key: tuple[str, ...]
    bound: float = ALPHA
    above: bool = False

    @property
    def stated(self) -> str:
        """As the paper writes it."""
        return "n.s." if self.above else f"P<{self.bound:g}".replace("0.", ".")


def _planes() -> list[Claim]:
    stated: dict[str, dict[str, float | None]] = {
        "site1": {"Dice": 1e-3, "SurfaceDistance": 0.05, "PPV_L": 1e-3, "Sens_L": 1e-3,
                  "F1_L": 1e-3},
        "site2": {"Dice": 1e-3, "SurfaceDistance": 1e-3, "PPV_L": 0.05, "Sens_L": None,
                  "F1_L": 0.05},
    }  # fmt: skip
    return [
        Claim(
            f"2-D against 3-D, lesion {metric}, {site}",
            ("planes", site, metric),
            ALPHA if bound is None else bound,
            bound is None,
        )
        for site, metrics in stated.items()
        for metric, bound in metrics.items()
    ]


CLINICAL = ("pinprick", "light_touch", "lems")
BIOMARKERS: dict[str, str] = {"volume": "mm³", "length": "mm", "adr": "ratio"}
TIMES: tuple[Literal["initial", "discharge", "difference"], ...] = (
    "initial", "discharge", "difference",
)  # fmt: skip

CLAIMS: tuple[Claim, ...] = (
    *_planes(),
    Claim("manual against predicted, volume", ("manual", "all", "volume")),
    Claim("manual against predicted, length", ("manual", "all", "length"), above=True),
    Claim("manual against predicted, damage ratio", ("manual", "all", "adr"), above=True),
    Claim("phase 1 against 3, volume, site1", ("phases", "site1", "volume")),
    Claim("phase 1 against 3, volume, site2", ("phases", "site2", "volume")),
    Claim("phase 1 against 3, length, site1", ("phases", "site1", "length")),
    Claim("phase 1 against 3, length, site2", ("phases", "site2", "length"), above=True),
    *(
        Claim(f"Spearman, {score} with {name}, {method}", ("spearman", method, score, name))
        for method in ("manual", "predicted")
        for score in CLINICAL
        for name in BIOMARKERS
    ),
    Claim("cord Dice, 3-D against every baseline (largest corrected P)", ("baselines", "Dice")),
)

# Table 1 of the paper: what -> site1, site2, site3
COHORT: dict[str, tuple[float, float, float]] = {
    "patients": (97, 80, 14),
    "scans": (137, 80, 14),
    "implants": (61, 80, 8),
    "age, mean": (51.0, 45.8, 42.9),
    "age, SD": (19.1, 16.4, 16.7),
    "days to MRI, mean": (376.2, 84.0, 579.1),
    "days to MRI, median": (41.5, 21.0, 407.0),
}
# rank correlation that the phantom plants between damage ratio and each clinical score: an
# assumption of ours, about the middle of -.4 to -.6
PLANTED_RHO = -0.5
