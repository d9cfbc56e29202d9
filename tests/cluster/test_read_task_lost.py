"""A task that reads is killed when the sink holds some of what it read: it is run again, and no row is lost by that."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from qdrant_client import QdrantClient

from tests.cluster.running_job import dense, start_job, write_corpus

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROWS = 900


def test_a_read_task_that_is_run_again_gives_the_blocks_it_gave_before(minilm: Path, tmp_path: Path) -> None:
    rows = [{"id": f"d{n}", "text": f"Document {n} tells of this and that. " * 10} for n in range(ROWS)]
    config = {
        "source": {"path": str(write_corpus(tmp_path, rows, files=1)), "id": "id"},
        "embeddings": dense(minilm),
        # Unlike the Parquet sink's, its answer to what is held changes while the run writes.
        "sink": {"type": "qdrant", "path": str(tmp_path / "qdrant"), "collection": "docs"},
        "compute": {"engine": "ray", "cpus": 4, "block_rows": 16, "stages": {"dense": {"workers": 1}}},
    }
    with start_job(tmp_path, config) as job:
        job.wait_for_rows(ROWS // 9)
        family = psutil.Process(job.process.pid).children(recursive=True)
        (reader,) = [one for one in family if "ray::MapBatches(read" in " ".join(one.cmdline())]
        reader.kill()
        assert job.end() == 0, job.output
        report = job.report
    assert (report["rows"]["read"], report["rows"]["written"], report["rows"]["skipped"]) == (ROWS, ROWS, 0)
    assert report["rows"]["embedded"] < 1.2 * ROWS
    client = QdrantClient(path=str(tmp_path / "qdrant"))
    try:
        points, _ = client.scroll("docs", limit=2 * ROWS, with_payload=True)
    finally:
        client.close()
    assert sorted(point.payload["document_id"] for point in points) == sorted(row["id"] for row in rows)
