"""The tissues: their order in every fraction map, and what they weigh in each contrast."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from score_jax.phantom.tables import tables

TISSUES = (
    "WM", "GM", "CSF", "MS lesion", "muscle", "fat", "marrow", "bone", "disc", "blood", "air",
    "oedema", "haemorrhage", "cyst",
)  # fmt: skip
WM, GM, CSF, MS, MUSCLE, FAT, MARROW, BONE, DISC, BLOOD, AIR, OEDEMA, HAEMORRHAGE, CYST = range(14)
CORD_TISSUES = (WM, GM, MS, OEDEMA, HAEMORRHAGE, CYST)

# Fields of multiplicative texture, and which one each tissue follows
TEXTURES = ("muscle", "fat", "marrow", "csf", "cord")
TEXTURE_OF = np.array([4, 4, 3, 4, 0, 1, 2, 2, 2, 3, 3, 4, 4, 4])


class Relaxation(NamedTuple):
    """Relaxation times in ms and proton density relative to CSF, at 3 T; one entry a tissue."""

    t1: Float[np.ndarray, " t"]
    t2: Float[np.ndarray, " t"]
    pd: Float[np.ndarray, " t"]


def _column(name: str, default: float = np.nan) -> Float[np.ndarray, " t"]:
    table = tables()["tissues"]
    position = table["columns"].index(name)
    values = [row[position] for row in table["rows"]]
    return np.array([default if v is None else v for v in values], np.float32)


def relaxation() -> Relaxation:
    """Literature values at 3 T (each row's source is in the table)."""
    return Relaxation(_column("T1_ms"), _column("T2_ms"), _column("PD"))


def t2w_weights() -> Float[np.ndarray, " t"]:
    """Turbo-spin-echo signals: TR 3500, TE 100 ms, and measured values for fat, flow and CSF."""
    return _column("T2w_TSE_signal")


def t2starw_weights() -> Float[np.ndarray, " t"]:
    """Gradient-echo (MEDIC) signals; lesion tissues, which the table leaves open, are set here.

    WM 1 : GM 1.19 : CSF 1.69 from a real scan; lesions between GM and CSF, blood products dark
    (assumption).
    """
    weights = _column("T2starw_weight")
    weights[MS], weights[OEDEMA], weights[HAEMORRHAGE], weights[CYST] = 0.58, 0.60, 0.12, 0.74
    return weights


def texture_amplitude(kind: str) -> Float[np.ndarray, " t"]:
    """Relative texture of each tissue; `kind` is ``AMIRA`` or ``T2w``."""
    own = _column(f"texture_amplitude_{kind}", 0.0)
    cord, bone = own[WM], 0.0
    own[list(CORD_TISSUES)] = cord
    own[BONE], own[DISC], own[AIR] = bone, 0.5 * own[MARROW], 0.0
    return own
