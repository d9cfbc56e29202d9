"""Places for the labels of a scatter plot: beside their points, and not upon each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

# Of the font that the chart draws labels in, in pixels.
CHARACTER, LINE = 6.1, 13.0
POINT = 7.0
RINGS = 14


@dataclass(frozen=True)
class Label:
    """Where a label goes, in pixels from the plot's left and top: the end that faces the point, at half its height.

    ``led`` says that it is further away, and a line leads to it.
    """

    x: float
    y: float
    align: Literal["left", "center", "right"]
    led: bool


@dataclass(frozen=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: _Box) -> float:
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)


def place_labels(
    points: Sequence[tuple[float, float]], texts: Sequence[str | None], width: float, height: float
) -> list[Label | None]:
    """Place each text near its point, within the plot, over no point and no other label where that can be had.

    Points and the answer are in pixels from the left and the top; a text of None gets no label. Labels are placed one
    by one, at the nearest free place.
    """
    taken = [_Box(x - POINT, y - POINT, x + POINT, y + POINT) for x, y in points]
    labels: list[Label | None] = []
    for (x, y), text in zip(points, texts, strict=True):
        if text is None:
            labels.append(None)
            continue
        size = len(text) * CHARACTER
        best: tuple[float, _Box, Label] | None = None
        for box, label in _places(x, y, size):
            outside = box.left < 0 or box.right > width or box.top < 0 or box.bottom > height
            cost = sum(box.overlap(other) for other in taken) + (1e6 if outside else 0)
            if best is None or cost < best[0]:
                best = (cost, box, label)
            if cost == 0:
                break
        assert best is not None
        taken.append(best[1])
        labels.append(best[2])
    return labels


def _places(x: float, y: float, size: float) -> Iterator[tuple[_Box, Label]]:
    """Right, left, above and below, then further up and down on both sides."""
    gap = POINT + 3
    yield _beside(x, y, size, gap, led=False)
    yield _beside(x, y, size, -gap, led=False)
    for down in (-gap - LINE / 2, gap + LINE / 2):
        box = _Box(x - size / 2, y + down - LINE / 2, x + size / 2, y + down + LINE / 2)
        yield box, Label(x, y + down, "center", led=False)
    for ring in range(1, RINGS):
        for down in (-ring * LINE, ring * LINE):
            for away in (gap + 8, -gap - 8, gap + 60, -gap - 60):
                yield _beside(x, y + down, size, away, led=True)


def _beside(x: float, y: float, size: float, away: float, *, led: bool) -> tuple[_Box, Label]:
    """Right of x by ``away``, or left of it where that is negative."""
    end = x + away
    left, right = (end, end + size) if away > 0 else (end - size, end)
    return _Box(left, y - LINE / 2, right, y + LINE / 2), Label(end, y, "left" if away > 0 else "right", led)
