"""Tables of rows, and what a stage makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from embedders.arrow import dense_type
from embedders.base import VectorSpec
from pipelines.identity import identify
from pipelines.rows import CHUNK_SCHEMA
from pipelines.run.stages.held import with_codes
from pipelines.run.stages.stage import Stage

DENSE = VectorSpec("dense", dense_type(2), dim=2)


def through(stage: Stage, table: pa.Table) -> pa.Table:
    """What a stage makes of one table."""
    with stage.open() as work:
        return pa.concat_tables(work(iter([table])))


def rows(texts: Sequence[str], **changes: Any) -> pa.Table:
    """Rows that the one sink of a job lacks."""
    blank = {"chunk_no": 0, "chunk_start": 0, "chunk_end": 1, "chunk_count": 1, "payload": "{}", "origin": "here"}
    named = [{**blank, "document_id": f"d{n}", "text": text, **changes} for n, text in enumerate(texts)]
    table = identify(pa.Table.from_pylist(named, schema=CHUNK_SCHEMA), "corpus", chunked=False)
    return with_codes(table, np.zeros((table.num_rows, 1), np.uint8))
