from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.qdrant.ids import Id, as_text, cut, id_at, place_of

IDS = st.one_of(
    st.integers(0, 2**64 - 1), st.integers(0, 50), st.uuids(), st.uuids().map(str), st.uuids().map(lambda one: one.hex)
)


def is_in(name: Id, start: str | None, stop: str | None) -> bool:
    return (start is None or place_of(start) <= place_of(name)) and (stop is None or place_of(name) < place_of(stop))


@given(st.lists(IDS, max_size=80), st.lists(IDS, max_size=20), st.integers(1, 40))
def test_every_id_that_may_come_is_in_exactly_one_range(sample: list[Id], others: list[Id], ranges: int) -> None:
    bounds = cut(sample, ranges)
    assert 1 <= len(bounds) <= ranges
    ends = [0, 2**64 - 1, uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)]
    at_cuts = [start for start, _ in bounds if start is not None]
    for name in [*sample, *others, *ends, *at_cuts]:
        assert sum(is_in(name, start, stop) for start, stop in bounds) == 1


@given(IDS)
def test_an_id_is_at_its_place_whatever_its_spelling(name: Id) -> None:
    text = as_text(name)
    assert id_at(place_of(name)) == text == as_text(text)
    assert text == (str(name) if isinstance(name, int) else str(uuid.UUID(str(name))))


def test_all_integers_come_before_all_uuids() -> None:
    names: list[Id] = [
        0,
        9,
        10,
        2**64 - 1,
        uuid.UUID(int=0),
        "00000000-0000-0000-0000-0000000000ff",
        uuid.UUID(int=256),
    ]
    assert sorted(names, key=place_of) == names


def test_even_uuids_are_cut_by_arithmetic_and_all_others_at_quantiles() -> None:
    even: list[Id] = [uuid.uuid5(uuid.NAMESPACE_URL, str(n)) for n in range(300)]
    cuts = [start for start, _ in cut(even, 4)]
    assert cuts == [None, *(f"{part}0000000-0000-0000-0000-000000000000" for part in "48c")]
    assert cut(even[:100], 4) == cut(even[100:], 4)
    # Of version 7, whose first bits are the time: of one day, all are in the same quarter.
    timed: list[Id] = [uuid.UUID(int=(0x0190_0000_0000 + n * 300_000) << 80 | 7 << 76) for n in range(300)]
    numbers: list[Id] = [n * n for n in range(300)]
    for sample in (timed, numbers, [*numbers, *even]):
        sizes = [sum(is_in(name, *bounds) for name in sample) for bounds in cut(sample, 4)]
        assert sizes == [len(sample) // 4] * 4
