from __future__ import annotations

from collections.abc import Iterator

import pytest

from embedders.ordered_map import ordered_map


def test_ordered_map_keeps_order_bounds_and_errors() -> None:
    ahead = 0
    given_out = 0

    def items() -> Iterator[int]:
        nonlocal ahead
        for number in range(100):
            ahead = max(ahead, number - given_out)
            yield number

    for number in ordered_map(lambda item: item * 2, items(), threads=4):
        assert number == 2 * given_out
        given_out += 1
    assert given_out == 100
    assert ahead <= 8

    def fail(item: int) -> int:
        if item == 5:
            raise KeyError(item)
        return item

    seen = []
    with pytest.raises(KeyError, match="5"):
        for number in ordered_map(fail, iter(range(100)), threads=3):
            seen.append(number)
    assert seen == [0, 1, 2, 3, 4]
