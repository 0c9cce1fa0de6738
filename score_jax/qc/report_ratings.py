"""What people said of scans: the table that the report exports and that tables take in again."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from score_jax.errors import DatasetError
from score_jax.imaging import read_table

RATINGS = ("pass", "fail", "artefact")


@final
@dataclass(frozen=True, slots=True)
class Rating:
    """A person's word on a scan.

    Args:
      rating: one of `RATINGS`, or empty for a comment alone.
      comment: free text.
      rater: who; may be empty.
      time: when, as ISO 8601; may be empty.
    """

    rating: str
    comment: str = ""
    rater: str = ""
    time: str = ""


def join_ratings(paths: Iterable[Path]) -> dict[str, Rating]:
    """The ratings in several tables, by scan; of two of one scan the later one counts.

    Raises:
      DatasetError: as `read_ratings`.
    """
    joined: dict[str, Rating] = {}
    for path in paths:
        for scan, rating in read_ratings(path).items():
            if scan not in joined or rating.time >= joined[scan].time:
                joined[scan] = rating
    return joined


def read_ratings(path: Path) -> dict[str, Rating]:
    """The ratings in a table that the report exported, by scan.

    Raises:
      DatasetError: unreadable, columns missing, an unknown rating, a scan rated twice.
    """
    found: dict[str, Rating] = {}
    for row in read_table(path):
        if not {"scan", "rating"} <= set(row):
            raise DatasetError(
                f"{path}: got the columns {', '.join(row)}; expected scan, rating, comment, rater "
                "and time",
                hint="export it from the report",
            )
        scan, rating = row["scan"] or "", row["rating"] or ""
        if rating and rating not in RATINGS:
            raise DatasetError(
                f"{path}: got the rating {rating!r} of {scan}; expected {', '.join(RATINGS)} or n/a"
            )
        if scan in found:
            raise DatasetError(f"{path}: got {scan} twice; expected a row a scan")
        rest = (row.get(name) or "" for name in ("comment", "rater", "time"))
        found[scan] = Rating(rating, *rest)
    return found
