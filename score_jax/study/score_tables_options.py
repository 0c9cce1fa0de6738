"""What the SCORE paper leaves open or says twice: the choice of each, by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, final, get_args, get_origin, get_type_hints

from score_jax.errors import ConfigError
from score_jax.study.report import Choice

FACTORS = ("tiv", "canal", "age", "sex")


@final
@dataclass(frozen=True, slots=True)
class TableOptions:
    """Options of the tables; each choice that changes a number is printed below its table.

    Args:
      planted: the truth of a simulated cohort for tables 9 to 11 and 13: percent as
        ``"WM MS-HC"``, ``"AH progressive-RR"``; ``"EDSS beta WM"``, ``"EDSS beta lesion"``,
        ``"EDSS R2"``; or any key of `score_tables_anchors` (``"dsc accuracy HC GM total"``).
      design: what the frames cannot tell, by the anchors' keys (``"folds"``).
      inter_scans: the scans of an inter-session pair (the paper: third against "scans").
      session_metric: which metric decides "inter worse than intra" (the paper does not say).
      dsc_scale: the ladder takes DSC, or 1 - DSC turned round, which it bends less.
      factors: covariates that areas are normalised by; sex counts F 0, M 1.
      canal: the factor canal is the subject's mean or the slice's own area.
      group_covariates: held fixed in tables 9 and 10.
      normalisation: table 9's normalised areas use the combination table 8 chose, or the paper's
        (TIV for SC and WM, none for the others).
      edss_areas: grey matter enters the EDSS model whole or as its three parts.
      p_remove: a predictor of EDSS stays below it (.05; SPSS removes above .10).
      women_hc: 15 here, 14 in the group's earlier report of the same controls.
      failures_hc: 34 as listed, or 38 = 855 analysed - 817 successful.
      failures_ms: 17 as listed, or 16 = 287 - 271.
      ms_dsc: lowest DSC in MS outside GC and lesions: .85 (results) or .84 (abstract, for GM).
      wm_p: the loss of WM in MS at P < .001 or < .05 (both are printed; the abstract has .05).
      draws: of the bootstrap.
    """

    planted: Mapping[str, float] = field(default_factory=dict)
    design: Mapping[str, Any] = field(default_factory=dict)
    inter_scans: tuple[int, int] = (1, 3)
    session_metric: Literal["dsc", "rsd", "hd"] = "dsc"
    dsc_scale: Literal["DSC", "1-DSC"] = "DSC"
    factors: tuple[str, ...] = FACTORS
    canal: Literal["subject", "slice"] = "subject"
    group_covariates: tuple[str, ...] = ("sex",)
    normalisation: Literal["chosen", "paper"] = "chosen"
    edss_areas: Literal["whole", "parts"] = "whole"
    p_remove: float = 0.05
    women_hc: Literal[15, 14] = 15
    failures_hc: Literal[34, 38] = 34
    failures_ms: Literal[17, 16] = 17
    ms_dsc: float = 0.85
    wm_p: float = 0.05
    draws: int = 2000

    @classmethod
    def of(cls, options: "TableOptions | Mapping[str, Any] | None") -> "TableOptions":
        """Options from a mapping (``--set``) or none.

        Raises:
          ConfigError: an unknown name or value.
        """
        if isinstance(options, cls):
            return options
        known = [one.name for one in fields(cls)]
        given: dict[str, Any] = dict(options) if isinstance(options, Mapping) else {}
        hints = get_type_hints(cls)
        for name, value in given.items():
            if name not in known:
                raise ConfigError(
                    f"options of the tables: got {name!r}; expected one of {', '.join(known)}"
                )
            allowed = get_args(hints[name]) if get_origin(hints[name]) is Literal else (value,)
            if value not in allowed:
                listed = ", ".join(map(str, allowed))
                raise ConfigError(f"{name}: got {value!r}; expected one of {listed}")
        for name in ("factors", "group_covariates", "inter_scans"):
            if name in given:
                given[name] = tuple(given[name])
        for name in ("factors", "group_covariates"):
            wrong = [one for one in given.get(name, ()) if one not in FACTORS]
            if wrong:
                raise ConfigError(
                    f"{name}: got {', '.join(map(repr, wrong))}; expected {', '.join(FACTORS)}"
                )
        return cls(**given)


def table_choices(options: TableOptions) -> list[Choice]:
    """What the paper leaves open or says twice in its statistics, and what these options say."""
    o = options
    return [
        Choice("session_metric", o.session_metric, "Inter-session is \"slightly lower\" for some "
               "compartments; of which metric is not said."),
        Choice("dsc_scale", o.dsc_scale, "Tukey's ladder takes DSC to its bound (power 10), as "
               "most values are near 1; 1-DSC bends it less. The order of values is kept."),
        Choice("canal", o.canal, "Whether areas are normalised by the subject's mean canal area or "
               "by that of the slice is not said."),
        Choice("group_covariates", ", ".join(o.group_covariates) or "none",
               "The groups' models are \"linear mixed-effects\"; their covariates are not listed."),
        Choice("normalisation", o.normalisation, "The paper ended with TIV for SC and WM and raw "
               "areas elsewhere; chosen: what the same rule chooses here (table 8)."),
        Choice("edss_areas", o.edss_areas, "Whether the grey matter entered the EDSS model whole "
               "or in parts is not said; both at once are collinear."),
        Choice("p_remove", f"{o.p_remove:g}", "The limit of the backward elimination is not said; "
               "SPSS removes above .10."),
        Choice("women_hc", str(o.women_hc), "15 women among the controls; 14 in the group's "
               "earlier report of the same people."),
        Choice("failures_hc", str(o.failures_hc), "34 failures are listed, 855 - 817 is 38."),
        Choice("failures_ms", str(o.failures_ms), "17 failures are listed, 287 - 271 is 16."),
        Choice("ms_dsc", f"{o.ms_dsc:g}", "In MS all but GC and lesions have a DSC of .85 or more "
               "in the results, but the abstract gives .84 for GM."),
        Choice("wm_p", f"{o.wm_p:g}", "The loss of WM is given with P < .001 and with P < .05."),
    ]  # fmt: skip
