"""A block that is embedded once more, because a worker was lost, comes in the very pieces that it came in first."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.config.embeddings import EmbeddingConfig
from pipelines.rows import RowError, add_errors
from pipelines.run.packing import cut, join
from pipelines.run.placement.pools import Pool
from pipelines.run.stages.embed import EmbedStage
from pipelines.run.stages.stage import Resources
from pipelines.run.tally import Tally
from tests.pipelines.run.stages.tables import rows

FOLDED = {"k_sim": 2, "dim_proj": 4, "r_reps": 2}
LONG = "a harbour and its boats, seen from the hill above the town " * 5


@given(
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 90), st.binary(max_size=99), st.binary(max_size=99))),
    st.integers(1, 100),
)
def test_where_pieces_are_joined_is_a_matter_of_estimates_whatever_has_become_of_the_rows(
    values: list[tuple[int, int, bytes, bytes]], block_bytes: int
) -> None:
    needed, sizes = (np.array([value[n] for value in values], np.int64) for n in (0, 1))
    table = pa.table({"row": pa.array(range(len(values)), pa.int64())})

    def pieces(attempt: int) -> list[list[int]]:
        made = pa.array([value[attempt] for value in values], pa.binary())
        parts = cut(table.append_column("made", made), needed, block_bytes)
        return [piece["row"].to_pylist() for piece in join(parts, sizes, block_bytes)]

    first = pieces(2)
    assert first == pieces(3)
    assert [row for piece in first for row in piece] == list(range(len(values)))
    apart = [part["row"].to_pylist() for part in cut(table, needed, block_bytes)]
    for piece, after in pairwise(first):
        # A piece is no larger than it may be, unless it was not joined, and no smaller than it must be.
        assert piece in apart or sizes[piece].sum() <= block_bytes
        joined = next(part for part in apart if part[0] == after[0])
        assert sizes[[*piece, *joined]].sum() > block_bytes


@pytest.mark.parametrize("muvera", [None, FOLDED, FOLDED | {"keep_multivector": True}])
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.integers(0, 290), min_size=1, max_size=12), failed=st.sets(st.integers(0, 11)))
def test_real_minilms_pieces_are_cut_alike_when_rows_fail_that_did_not_fail_before(
    minilm: Path, muvera: dict[str, Any] | None, texts: list[int], failed: set[int]
) -> None:
    model = {"path": str(minilm), "family": "late_interaction"}
    embedding = EmbeddingConfig(name="tokens", model=model, muvera=muvera)
    stage = EmbedStage(Pool("p", (embedding,), Resources(threads=2)), Tally(), block_bytes=100_000)
    table = rows([LONG[:length] for length in texts])
    errors = {row: RowError("p", "Test", "fails this time") for row in failed if row < len(texts)}
    with stage.open() as work:
        first, again = (list(work(iter([given_rows]))) for given_rows in (table, add_errors(table, errors)))
    assert [piece["id"].to_pylist() for piece in first] == [piece["id"].to_pylist() for piece in again]
