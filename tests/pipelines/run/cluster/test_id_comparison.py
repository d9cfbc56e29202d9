"""Ray's tasks compare ids with the result that this process has, and the driver is given no more than it needs."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
import ray

from pipelines.run.cluster import id_comparison
from pipelines.sources import Split, SplitScan
from pipelines.sources.duplicates import document_keys
from pipelines.sources.id_comparison import IdKeys, compare_ids_here

TASKS, ROWS = 9, 3000


def look(number: int) -> tuple[int, IdKeys]:
    """Rows of a split, every tenth of which has the id of one in the split before."""
    ids = [str(row if row % 10 else row - ROWS + 1) for row in range(number * ROWS, (number + 1) * ROWS)]
    positions = np.arange(ROWS, dtype=np.uint64)
    scan = SplitScan(
        Split("r", "p", "n", "jsonl", bytes=1), ROWS, 0, None, document_keys(pa.array(ids, pa.string())), positions
    )
    return number, IdKeys.of(number, scan)


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize("piece_bytes", [id_comparison.PIECE_BYTES, 1 << 10])
def test_tasks_find_the_same_repeats_as_this_process(piece_bytes: int) -> None:
    waited = []

    def wait(result: ray.ObjectRef, left: int) -> object:
        waited.append(left)
        return ray.get(result)

    options = {"num_cpus": 0.1, "max_retries": 1}
    with mock.patch.object(id_comparison, "PIECE_BYTES", piece_bytes):
        numbers, found = id_comparison.compare_ids(look, range(TASKS), keep_keys=True, options=options, wait=wait)
    expected_numbers, expected = compare_ids_here(look, range(TASKS), keep_keys=True)
    assert numbers == expected_numbers == list(range(TASKS))
    assert waited == [*range(TASKS, 0, -1), *range(len(found), 0, -1)] and len(found) == len(expected) == 4
    for part, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(part.repeats, other.repeats)
        np.testing.assert_array_equal(part.keys, other.keys)
        assert (part.rows, part.deletions) == (other.rows, other.deletions)
    assert sum(part.rows for part in found) == TASKS * ROWS
    assert sum(len(part.repeats) for part in found) == (TASKS - 1) * ROWS // 10
