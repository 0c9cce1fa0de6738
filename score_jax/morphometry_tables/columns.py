"""What the columns of the tables hold, for the JSON sidecars (BIDS)."""

import re
from collections.abc import Iterable

_LESION = "of the lesion, cut at the cord"
_PLANE = "on the interpolated midsagittal plane"
_KNOWN = {
    "case": "name of the scan",
    "region": "structure that was measured",
    "label": "number of the lesion in the label map; 0: no lesion",
    "volume [mm3]": f"voxels {_LESION}, times the volume of a voxel",
    "length [mm]": "sum over its axial slices of slice thickness / cosine of the cord's tilt",
    "width [mm]": "greatest front-to-back reach in an axial slice, corrected for tilt",
    "max_equivalent_diameter [mm]": "of the circle with the largest tilt-corrected axial area",
    "max_axial_damage_ratio []": "largest share of the cord's axial area that is lesion",
    "interpolated_midsagittal_slice": "position of the midsagittal plane, as stored, from 0",
    "length_interpolated_midsagittal_slice [mm]": f"length {_PLANE}",
    "width_interpolated_midsagittal_slice [mm]": f"front-to-back width {_PLANE}",
    "interpolated_dorsal_bridge_width [mm]": f"narrowest tissue behind the lesion, {_PLANE}",
    "interpolated_ventral_bridge_width [mm]": f"narrowest tissue before the lesion, {_PLANE}",
    "interpolated_total_bridge_width [mm]": "sum of the two",
    "dorsal_bridge_ratio [%]": "dorsal bridge as a share of both",
    "ventral_bridge_ratio [%]": "ventral bridge as a share of both",
    "bridges": "midsagittal: measured; parasagittal: the lesion is beside the plane, half of the "
    "cord's diameter stands for either bridge; none: unknown",
    "outside_cord [mm3]": "volume of the lesion outside the cord, which no measure counts",
    "mean_probability": "mean value of a soft lesion mask over the lesion",
    "slice": "axial slice, as stored, from 0",
    "level": "vertebral level; 0 or n/a: none",
    "lesion_area [mm2]": "area of the lesion, corrected for the cord's tilt",
    "cord_area [mm2]": "area of the cord (lesion included), corrected for its tilt",
    "axial_damage_ratio []": "share of the cord's area that is lesion",
    "equivalent_diameter [mm]": "of the circle with the lesion's area",
    "dorsal_bridge_width [mm]": f"tissue behind the lesion, {_PLANE}",
    "ventral_bridge_width [mm]": f"tissue before the lesion, {_PLANE}",
    "tilt [deg]": "angle between the cord and the normal of the slice",
    "share_of_lesion [%]": "share of the lesion's volume",
    "cord_volume [mm3]": "volume of the cord in the level",
    "share_of_cord [%]": "share of the cord's volume in the level that is lesion",
    "slice_IS_RPI": "axial slice or slices, counted from below whatever the file's orientation",
    "VertLevel": "vertebral level or levels",
    "DistancePMJ": "distance from the pontomedullary junction (not measured)",
    "sheet": "sheet of the workbook",
    "row": "vertebral level or axial slice (as stored)",
    "column": "tract, group of tracts, or total",
    "value": "percentage; in the sheet 'coverage' as its column says",
    "message": "what is wrong",
    "hint": "what mends it",
}
_METRICS = {
    "area": ("cross-section, at a right angle to the cord", "mm2"),
    "angle_AP": ("tilt to the left or right, about the front-back axis", "deg"),
    "angle_RL": ("tilt to the front or back, about the right-left axis", "deg"),
    "diameter_AP": ("front-to-back diameter through the middle, mean over 3 mm", "mm"),
    "diameter_AP_ellipse": ("front-to-back axis of the ellipse of the same moments", "mm"),
    "diameter_RL": ("right-to-left axis of the ellipse of the same moments", "mm"),
    "length_anterior": ("part of diameter_AP before the centre", "mm"),
    "length_posterior": ("part of diameter_AP behind the centre", "mm"),
    "eccentricity": ("of the ellipse of the same moments; 0: a circle", ""),
    "orientation": ("turn of that ellipse from right-left", "deg"),
    "solidity": ("area / area of the convex hull", ""),
    "length": ("of the centerline in the slices", "mm"),
}
_STATISTIC = {"MEAN": "mean of", "STD": "population standard deviation of", "SUM": "sum of"}
_UNIT = re.compile(r"\[(.+)\]$")


def describe(columns: Iterable[str]) -> dict[str, dict[str, str]]:
    """A BIDS description of each column: what it holds, and its unit if it has one."""
    return {name: _describe(name) for name in columns}


def _describe(name: str) -> dict[str, str]:
    statistic = re.fullmatch(r"(MEAN|STD|SUM)\((\w+)\)", name)
    if statistic:
        text, unit = _METRICS[statistic[2]]
        described = {"Description": f"{_STATISTIC[statistic[1]]} {text}"}
        return described | ({"Units": unit} if unit else {})
    sagittal = re.fullmatch(r"slice_(\d+)_(\w+)_bridge_width \[mm\]", name)
    if sagittal:
        text = f"narrowest {sagittal[2]} bridge on sagittal slice {sagittal[1]} (as stored, from 0)"
    elif name.startswith(("mean_", "std_")) and name not in _KNOWN:
        kind = "mean" if name.startswith("mean_") else "population standard deviation"
        text = f"{kind} of the image over the lesion, without voxels that are exactly 0"
    else:
        text = _KNOWN[name]
    unit = _UNIT.search(name)
    return {"Description": text} | ({"Units": unit[1]} if unit else {})
