"""Puts the labels of a scatter plot beside their points, and not upon each other.

Vega has a transform for that, but Vega-Lite does not offer it, and vl-convert, which makes the PNG, cannot run it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Of the font that the chart draws labels in, in pixels.
CHARACTER, LINE = 6.1, 13.0
# Half a point's size, and how far from its middle a label beside it begins, in pixels.
POINT, BESIDE = 7.0, 10.0
# Where the nearer end of a label may be (its middle where the first is 0), in pixels to the right of its point and down
# from it: beside the point, above, below, and then further up and down on both sides.
OFFSETS = np.array(
    [(BESIDE, 0), (-BESIDE, 0), (0, -BESIDE - LINE / 2), (0, BESIDE + LINE / 2)]
    + [
        (right, down * LINE)
        for lines in range(1, 14)
        for down in (-lines, lines)
        for right in (BESIDE + 8, -BESIDE - 8, BESIDE + 60, -BESIDE - 60)
    ]
)


def place_labels(
    points: Sequence[tuple[float, float]], texts: Sequence[str | None], width: float, height: float
) -> list[tuple[float, float] | None]:
    """Choose one of OFFSETS for each text, within the plot, and upon no point and no other label if there is room.

    Points are in pixels from the plot's left and top; a text of None gets no label. Labels are placed one by one, each
    at the first that is free, or where it covers the least.
    """
    taken = [(np.array(point), np.array([POINT, POINT])) for point in points]
    chosen: list[tuple[float, float] | None] = []
    for point, text in zip(points, texts, strict=True):
        if text is None:
            chosen.append(None)
            continue
        half = np.array([len(text) * CHARACTER / 2, LINE / 2])
        middles = point + OFFSETS + np.sign(OFFSETS) * [half[0], 0]
        inside = ((middles >= half) & (middles + half <= [width, height])).all(axis=1)
        covered = sum(np.maximum(half + size - abs(middles - middle), 0).prod(axis=1) for middle, size in taken)
        best = int(np.argmin(np.round(covered, 6) + np.where(inside, 0, 1e6)))
        taken.append((middles[best], half))
        chosen.append((float(OFFSETS[best, 0]), float(OFFSETS[best, 1])))
    return chosen
