"""The order of point ids, and ranges of them.

Qdrant orders ids as Rust orders the variants of its enum (lib/segment/src/types.rs, ExtendedPointId): all unsigned
64-bit integers come before all UUIDs, which are ordered by their 128-bit values. Here each id has a place on one line:
an integer its value, a UUID its value behind the last integer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

# An id as a client gives it.
Id = int | str | UUID
# From which id on (None: from the first one), and before which one (None: to the last one); ids as text.
Bounds = tuple[str | None, str | None]

# UUIDs as servers write them.
_WRITTEN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

FIRST_UUID = 1 << 64
UUIDS = 1 << 128
# Ids of a sample may be as far from even as those of even ids are in 99 samples of 100 (Kolmogorov's distribution).
CRITICAL = 1.628
# Fewer do not tell whether ids are even.
LEAST_SAMPLE = 32


def place_of(name: Id) -> int:
    """Tell an id's place on the line; a text is an integer in decimal, or a UUID in any spelling."""
    if isinstance(name, int):
        return name
    if isinstance(name, str) and name.isdigit() and len(name) <= 20:
        return int(name)
    return FIRST_UUID + (name if isinstance(name, UUID) else UUID(name)).int


def id_at(place: int) -> str:
    """Name the id at a place of the line."""
    return str(place) if place < FIRST_UUID else str(UUID(int=place - FIRST_UUID))


def as_text(name: Id) -> str:
    """Write an id as the id column has it: an integer in decimal, a UUID in small letters with hyphens."""
    if isinstance(name, str) and _WRITTEN.fullmatch(name):
        return name
    return str(name) if isinstance(name, int) else id_at(place_of(name))


def texts_of(names: Sequence[Id]) -> pa.Array:
    """Write ids as ``as_text`` does."""
    if set(map(type, names)) == {str}:
        texts = pa.array(names, pa.string())
        if pc.all(pc.match_substring_regex(texts, f"^{_WRITTEN.pattern}$")).as_py():
            return texts
    return pa.array(map(as_text, names), pa.string())


def cut(sample: Sequence[Id], ranges: int) -> list[Bounds]:
    """Cut the line into at most so many ranges of about as many points each, from a random sample of ids.

    The ranges cover every id that there may be, each of them once. Where the ids look like even UUIDs, as those of
    versions 4 and 5 do, they are cut by arithmetic, the same in each run; else at quantiles of the sample.
    """
    places = sorted(map(place_of, sample))
    if are_even(places):
        cuts = [FIRST_UUID + UUIDS * number // ranges for number in range(1, ranges)]
    else:
        cuts = [places[len(places) * number // ranges] for number in range(1, ranges)] if places else []
    # The first range is open below, so that a cut at the least id would leave it without a point.
    bounds = [None, *(id_at(place) for place in sorted(set(cuts) - set(places[:1]))), None]
    return list(pairwise(bounds))


def are_even(places: Sequence[int]) -> bool:
    """Tell whether sorted places are spread evenly over all UUIDs (the test of Kolmogorov and Smirnov)."""
    count = len(places)
    if count < LEAST_SAMPLE or places[0] < FIRST_UUID:
        return False
    shares = [(place - FIRST_UUID) / UUIDS for place in places]
    distance = max(max((at + 1) / count - share, share - at / count) for at, share in enumerate(shares))
    return bool(distance * count**0.5 < CRITICAL)
