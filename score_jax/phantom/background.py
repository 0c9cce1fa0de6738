"""Everything around the canal, in painter's order: later structures cover earlier ones.

Shapes and sizes: `background_painters_order` of the tables (assumptions, judged by eye against real
T2*w and T2w scans).
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from score_jax.phantom import tissues as ts
from score_jax.phantom.shapes import capsule, ellipse, polar_ellipse, smooth_min, turned_ellipse

Row = Mapping[str, Float[Array, ""]]
Grid = Float[Array, "x y"]
Labels = Int[Array, "x y"]
# right half, mm from the canal's middle: centre, semi-axes, turn; deep to shallow (assumptions)
_NECK_MUSCLES = (
    ((27.0, -11.0), 8.0, 10.0, 0.0),  # longissimus
    ((40.0, -8.0), 8.0, 15.0, 0.25),  # levator, scalenes
    ((9.5, -16.5), 13.5, 5.5, 0.60),  # multifidus: layers run along the laminae
    ((12.0, -26.0), 16.0, 5.0, 0.55),  # semispinalis
    ((19.0, -35.0), 19.0, 4.2, 0.55),  # splenius
    ((22.0, -45.0), 23.0, 3.5, 0.30),  # trapezius
)
_TRUNK = 7.2  # continuous level below which the body is a trunk: just under the top of T1
_MERGE = 0.6  # of a level, either side


def canal_wall(x: Grid, y: Grid, row: Row, widen: float) -> Grid:
    """Distance to the canal's wall, `widen` mm outside the contour of the level tables."""
    return polar_ellipse(x, y, row["na"] + widen, row["nb"] + widen, row["tau"], 0.0)


def surroundings(
    x: Grid, y: Grid, s: Grid, row: Row, s0: Float[Array, ""], noise: Mapping[str, Grid]
) -> Labels:
    """Tissue index outside and on the wall of the canal.

    Args:
      x: mm from the middle of the canal, + right.
      y: mm, + anterior.
      s: mm along the cord.
      row: the subject's curves at `s0`.
      s0: where the plane meets the cord, mm.
      noise: the fields ``warp_x warp_y septa septa_width vessels`` on the grid.
    """
    ramp = jnp.clip(jnp.hypot(x, y) / 9 - 0.7, 0.0, 2.2)
    x = x + 0.55 * ramp * noise["warp_x"]
    y = y + 0.55 * ramp * noise["warp_y"]
    level = row["lv"] + row["dlv"] * (s - s0)
    wall = canal_wall(x, y, row, 0.3)
    labels = _body_wall(x, y, level, row, noise)
    labels = _vertebra(x, y, level, wall, row, labels)
    return _canal_content(x, y, wall, row, labels)


def _paint(labels: Labels, where: Array, tissue: int) -> Labels:
    return jnp.where(where, tissue, labels)


def _marrow(labels: Labels, distance: Grid, cortex: float) -> Labels:
    labels = _paint(labels, distance < 0, ts.BONE)
    return _paint(labels, distance < -cortex, ts.MARROW)


def _body_wall(x: Grid, y: Grid, level: Grid, row: Row, noise: Mapping[str, Grid]) -> Labels:
    """Neck above, trunk below; over about a vertebra they run into each other unevenly."""

    def both() -> Labels:
        above = level + 0.25 * noise["septa"] < _TRUNK
        return jnp.where(above, _neck(x, y, row, noise), _trunk(x, y, row, noise))

    away = row["lv"] - _TRUNK
    place = jnp.where(away < -_MERGE, 0, jnp.where(away > _MERGE, 2, 1))
    return jax.lax.switch(
        place, [lambda: _neck(x, y, row, noise), both, lambda: _trunk(x, y, row, noise)]
    )


def _neck(x: Grid, y: Grid, row: Row, noise: Mapping[str, Grid]) -> Labels:
    return _throat(x, y, row, _nape(x, y, noise))


def _nape(x: Grid, y: Grid, noise: Mapping[str, Grid]) -> Labels:
    """Skin, fat and the muscles of the neck."""
    skin = ellipse(x, y + 10.0, 58.0, 56.0)
    depth = 3 + 4 * jnp.clip((-20.0 - y) / 30, 0.0, 1.0)
    septa = 0.4 * (0.045 + 0.10 * jnp.clip(noise["septa_width"], 0.0, 2.0))
    labels = jnp.full(x.shape, ts.MUSCLE, jnp.int32)
    labels = _paint(labels, y < -12, ts.FAT)
    for centre, wide, high, angle in _NECK_MUSCLES:
        # the next muscle covers the last but for the fat between them
        d = turned_ellipse(jnp.abs(x), y, centre, wide, high, angle)
        labels = _paint(labels, d < 0.8, ts.FAT)
        labels = _paint(labels, d < 0, ts.MUSCLE)
    labels = _paint(labels, (y < -6) & (jnp.abs(noise["septa"]) < septa), ts.FAT)
    labels = _paint(labels, noise["vessels"] > 2.1, ts.BLOOD)
    ligament = jnp.abs(x + 0.5 * jnp.sin(y / 6)) < 0.8
    labels = _paint(labels, ligament & (y < -26), ts.FAT)
    labels = _paint(labels, skin > -depth, ts.FAT)
    return _paint(labels, skin > 0, ts.AIR)


def _throat(x: Grid, y: Grid, row: Row, labels: Labels) -> Labels:
    """Visceral fat, airway, the muscles before the spine and the great vessels."""
    u, nb = jnp.abs(x), row["nb"] * jnp.ones(())
    inside = labels != ts.AIR
    labels = _paint(labels, inside & (y > nb + 28), ts.FAT)
    # neck muscles are symmetric: distances are taken on the right half
    zero = jnp.zeros(())
    labels = _paint(labels, turned_ellipse(u, y, (30.0, 12.0), 8.0, 13.0, 0.4) < 0, ts.MUSCLE)
    labels = _paint(labels, turned_ellipse(u, y, (7.0, nb + 18), 6.0, 3.2, 0.0) < 0, ts.MUSCLE)
    labels = _paint(labels, turned_ellipse(x, y, (zero, nb + 33), 16.0, 10.0, 0.0) < 0, ts.MUSCLE)
    labels = _paint(labels, turned_ellipse(x, y, (zero, nb + 32), 9.0, 6.0, 0.0) < 0, ts.AIR)
    labels = _paint(labels, jnp.hypot(u - 23.0, y - nb - 9) < 3.2, ts.BLOOD)
    return _paint(labels, turned_ellipse(u, y, (28.0, nb + 6), 4.6, 3.2, 0.0) < 0, ts.BLOOD)


def _trunk(x: Grid, y: Grid, row: Row, noise: Mapping[str, Grid]) -> Labels:
    """Chest and upper belly as far as a spine's field of view reaches (shapes: assumptions).

    Muscles of the back in their fat, ribs, lungs down to T11, crura and psoas below; aorta from T4,
    trachea to T4, gullet, azygos vein, inferior vena cava from T12.
    """
    u, lv, big, nb = jnp.abs(x), row["lv"], row["body"], row["nb"] * jnp.ones(())
    front = nb + 16.4 * big  # of the vertebral body
    grown = jnp.clip((lv - _TRUNK) / 1.5, 0.0, 1.0)  # from neck to shoulders
    skin = ellipse(x, y - 45.0, 60 + 100 * grown, 115.0)
    labels = jnp.full(x.shape, ts.FAT, jnp.int32)
    labels = _paint(labels, y > front - 4, ts.FAT)
    back = turned_ellipse(u, y, (19.0, -nb - 17), 17.0, 15.0 + 2 * big, -0.25)
    labels = _paint(labels, back < 0, ts.MUSCLE)
    outer = turned_ellipse(u, y, (24.0, -nb - 39), 40.0, 4.5, 0.22)  # trapezius, latissimus
    labels = _paint(labels, outer < 0, ts.MUSCLE)
    septa = 0.9 * (0.03 + 0.06 * jnp.clip(noise["septa_width"], 0.0, 2.0))
    labels = _paint(labels, (y < -6) & (jnp.abs(noise["septa"]) < septa), ts.FAT)
    chest = jnp.clip((18.6 - lv) / 1.5, 0.0, 1.0)  # lungs end at T11
    lung = turned_ellipse(u, y, (80.0, 28.0), 58.0, 62.0, 0.0) + 70 * (1 - chest)
    labels = _paint(labels, lung < 3.0, ts.MUSCLE)  # the wall of the chest
    labels = _paint(labels, lung < 0, ts.AIR)
    labels = _paint(labels, (lung < -2.0) & (noise["vessels"] > 1.9), ts.BLOOD)
    belly = lv > 17.8
    psoas = turned_ellipse(u, y, (24.0 + 2 * big, nb + 7 * big), 9.0, 10.0, 0.0)
    labels = _paint(labels, belly & (psoas < 0), ts.MUSCLE)
    organ = turned_ellipse(u, y, (58.0, 24.0), 27.0, 46.0, 0.0)  # liver and spleen, kidneys
    labels = _paint(labels, belly & (organ < 0), ts.MUSCLE)
    crus = turned_ellipse(u, y, (11.0, front + 3), 4.5, 9.0, 0.3)
    labels = _paint(labels, belly & (crus < 0), ts.MUSCLE)
    heart = turned_ellipse(x, y, (jnp.asarray(-14.0), front + 48), 42.0, 30.0, 0.3)
    labels = _paint(labels, (lv > 11.5) & (lv < 17.0) & (heart < 0), ts.MUSCLE)
    return _vessels_of_trunk(x, y, row, front, jnp.where(skin > 0, ts.AIR, labels))


def _vessels_of_trunk(x: Grid, y: Grid, row: Row, front: Array, labels: Labels) -> Labels:
    lv, centre = row["lv"], jnp.zeros(())
    trachea = jnp.hypot(x - 2.0, y - front - 12)
    labels = _paint(labels, (lv < 11.0) & (trachea < 10.5), ts.BONE)
    labels = _paint(labels, (lv < 11.0) & (trachea < 9.0), ts.AIR)
    gullet = turned_ellipse(x, y, (centre - 6, front + 6), 7.0, 4.5, 0.0)
    labels = _paint(labels, (lv < 17.5) & (gullet < 0), ts.MUSCLE)
    azygos = jnp.hypot(x - 7.0, y - front - 4)
    labels = _paint(labels, (lv > 11.0) & (lv < 18.5) & (azygos < 3.5), ts.BLOOD)
    inward = jnp.clip((lv - 11.0) / 8.0, 0.0, 1.0)  # from the left side to the front
    aorta = jnp.hypot(x + 24.0 - 17 * inward, y - front + 7 - 17 * inward)
    labels = _paint(labels, (lv > 10.6) & (aorta < 12.5), ts.BONE)
    labels = _paint(labels, (lv > 10.6) & (aorta < 11.0), ts.BLOOD)
    cava = turned_ellipse(x, y, (centre + 17, front + 11), 11.0, 8.0, 0.0)
    return _paint(labels, (lv > 18.2) & (cava < 0), ts.BLOOD)


def _profile(fraction: Grid, centre: float, gain: float) -> Grid:
    """1 beside the middle of a vertebra, 0 between two of them."""
    return jnp.clip(gain * (1 - jnp.abs(fraction - centre) / 0.42), 0.0, 1.0)


def _vertebra(x: Grid, y: Grid, level: Grid, wall: Grid, row: Row, labels: Labels) -> Labels:
    u, na, nb = jnp.abs(x), row["na"], row["nb"]
    fraction = level - jnp.floor(level)
    thorax = jnp.clip(row["lv"] - 6.5, 0.0, 1.0) * jnp.clip(18.5 - row["lv"], 0.0, 1.0)
    slope = 0.45 + 0.45 * thorax  # arches slope caudally, those of the thorax steeply
    behind = level + slope * row["dlv"] * jnp.clip(-y, 0.0, 22.0 + 8 * thorax)
    behind = behind - jnp.floor(behind)
    beside = _profile(fraction, 0.45, 1.0)
    arch = _profile(behind, 0.55, 1.0)
    labels = _paint(labels, (wall < 5.5) & (y < -0.3 * nb) & (arch < 0.45), ts.FAT)
    flavum = (jnp.abs(wall - 0.9) < 0.9) & (y < -0.25 * nb)
    labels = _paint(labels, flavum, ts.BONE)
    labels = _body(x, y, fraction, level, wall, row, labels)
    pillar = turned_ellipse(u, y, (na + 7.0, -2.0), 6.2, 5.6, 0.0) + 2.5 * (1 - beside)
    labels = _marrow(labels, jnp.maximum(pillar, 0.3 - wall), 1.4)
    pedicle = capsule(u, y, (na + 1.5, 2.5), (9.0, nb + 5), (2.6, 3.2)) + 1.2 * (1 - beside)
    labels = _marrow(labels, jnp.maximum(pedicle, 0.2 - wall), 1.2)
    half = 2.9 * 0.95 * jnp.clip(2.2 * arch, 0.0, 1.0)
    lamina = jnp.maximum(jnp.abs(wall - 0.3 - half) - half, y + 0.15 * nb)
    labels = _marrow(labels, lamina, 1.5)
    spine = capsule(u, y, (0.0, -nb - 4), (0.0, -nb - 22 - 8 * thorax), (2.9, 3.4))
    spine = spine + 3.6 * (1 - jnp.clip(1.6 * arch, 0.0, 1.0))
    labels = _marrow(labels, jnp.maximum(spine, 0.3 - wall), 1.4)
    across = capsule(u, y, (na + 6.0, -5.0), (na + 20.0, -12.0), (3.6, 4.0)) + 4.5 * (1 - beside)
    labels = _marrow(labels, jnp.where(row["lv"] > _TRUNK, across, 9.0), 1.2)
    # ribs meet the bodies at the discs, and slope caudally on their way out
    away = level - 0.012 * jnp.clip(u - 12.0, 0.0, 60.0)
    rib = capsule(u, y, (na + 8.0, 3.0), (na + 40.0, -20.0), (3.5, 5.0))
    rib = rib + 6.0 * (1 - _profile(away - jnp.floor(away + 0.5), 0.0, 1.3))
    labels = _marrow(labels, jnp.where((level > 7.0) & (level < 19.0), rib, 9.0), 1.2)
    artery = jnp.hypot(u - na - 5.2, y - nb - 1.5)
    cervical = level < 6.0  # the artery enters the foramina at C6
    labels = _paint(labels, cervical & (artery < 2.5), ts.BONE)
    return _paint(labels, cervical & (artery < 2.0), ts.BLOOD)


def _body(
    x: Grid, y: Grid, fraction: Grid, level: Grid, wall: Grid, row: Row, labels: Labels
) -> Labels:
    big, wide = row["body"], row["na"] / 10.4  # the tables' sizes belong to a canal 20.8 mm wide
    front = ellipse(x, y - row["nb"] - 8.4 * big, 9.2 * wide * big, 8.0 * big)
    back = ellipse(x, y - row["nb"] - 4.2 * big, 11.2 * wide * big, 4.4 * big)
    body = jnp.maximum(smooth_min(front, back, 2.0), 0.2 - wall)
    labels = _marrow(labels, body, 0.8)
    disc = (fraction > 0.8) & (level > 1.8)
    labels = _paint(labels, disc & (body < 0), ts.BONE)
    labels = _paint(labels, disc & (body < -1.0), ts.DISC)
    plate = (jnp.abs(fraction - 0.8) < 0.03) | (fraction > 0.975) | (fraction < 0.02)
    return _paint(labels, plate & (level > 1.7) & (body < 0), ts.BONE)


def _canal_content(x: Grid, y: Grid, wall: Grid, row: Row, labels: Labels) -> Labels:
    labels = _paint(labels, wall < 0, ts.FAT)
    labels = _paint(labels, (wall < 0) & (y > 0.5 * row["nb"]), ts.BLOOD)
    labels = _paint(labels, (wall < 0) & (wall > -0.5), ts.BONE)
    return _paint(labels, sac(x, y, wall, row) < 0, ts.BONE)


def sac(x: Grid, y: Grid, wall: Grid, row: Row) -> Grid:
    """Distance to the outside of the dura; CSF begins .25 mm deeper."""
    fat = row["epi"] * jnp.clip(-y / row["nb"] + 0.2, 0.15, 1.2)
    fat = fat * (0.6 * jnp.abs(x) / row["na"] + 0.4) + 0.3
    return wall + jnp.maximum(fat, 0.5)
