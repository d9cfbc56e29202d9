"""A report of a run with two embeddings, and receipts for it."""

from __future__ import annotations

import pyarrow as pa

from pipelines.run.report.report import RunReport
from pipelines.run.stages.write import RECEIPT_SCHEMA


def filled_report() -> RunReport:
    report = RunReport("run", "corpus", status="complete", models={"dense": {"model": "m"}, "bm25": {"model": "b"}})
    report.take_stages(
        {
            "read": {"rows": 10.0, "chunks": 20.0, "seconds": 1.0},
            "skip": {"rows": 5.0, "seconds": 0.5},
            "dense": {"rows": 15.0, "tokens": 90.0, "padded_tokens": 100.0, "seconds": 3.0},
            "bm25": {"rows": 15.0, "tokens": 30.0, "padded_tokens": 30.0, "seconds": 0.1},
        }
    )
    return report


def receipts(written: int, dead: int, samples: int = 0) -> pa.Table:
    came = written + dead
    row = {"documents": came, "embedded": came, "written": written, "dead": dead, "samples": ["why"] * samples}
    row |= {"copied": 0, "payload_only": 0}
    return pa.Table.from_pylist([row], schema=RECEIPT_SCHEMA)
