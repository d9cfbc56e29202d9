"""A task that reads is killed when the sink holds some of what it read: it is run again, and no row is lost by that."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from embedders import TextEmbedding
from pipelines.sinks.qdrant.client import open_folder
from tests.cluster.running_job import dense, start_job, write_corpus

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROWS = 450
# Bytes of payload a row: all rows together are more than the object store holds, so that the task that reads them waits
# for those that write, however slow the machine is.
FILLER = 240_000
OBJECT_STORE_MB = 80


def is_reader(process: psutil.Process) -> bool:
    # Some end in the meantime.
    with suppress(psutil.Error):
        return "ray::MapBatches(read" in " ".join(process.cmdline())
    return False


def test_a_read_task_that_is_run_again_gives_the_blocks_it_gave_before(minilm: Path, tmp_path: Path) -> None:
    text, filler = "Document {} tells of this and that. " * 10, "x" * FILLER
    rows = [{"id": f"d{n}", "text": text.format(*[n] * 10), "filler": filler} for n in range(ROWS)]
    compute = {"cpus": 4, "block_rows": 16, "object_store_mb": OBJECT_STORE_MB, "stages": {"dense": {"workers": 1}}}
    config = {
        "source": {"path": str(write_corpus(tmp_path, rows, files=1)), "id": "id"},
        "embeddings": dense(minilm),
        # Unlike the Parquet sink's, its answer to what is held changes while the run writes.
        "sink": {"type": "qdrant", "path": str(tmp_path / "qdrant"), "collection": "docs"},
        "compute": {"engine": "ray", **compute},
    }
    with start_job(tmp_path, config) as job:
        job.wait_for_rows(ROWS // 9)
        family = psutil.Process(job.process.pid).children(recursive=True)
        (reader,) = [one for one in family if is_reader(one)]
        assert job.report["rows"]["read"] < ROWS
        reader.kill()
        assert job.end() == 0, job.output
        report = job.report
    assert (report["rows"]["read"], report["rows"]["written"], report["rows"]["skipped"]) == (ROWS, ROWS, 0)
    assert report["rows"]["embedded"] < 1.2 * ROWS
    client = open_folder(str(tmp_path / "qdrant"))
    try:
        points, _ = client.scroll("docs", limit=2 * ROWS, with_payload=True, with_vectors=True)
    finally:
        client.close()
    held = [(point.payload["document_id"], point.payload["text"], point.payload["filler"]) for point in points]
    assert sorted(held) == sorted((row["id"], row["text"], row["filler"]) for row in rows)
    some = points[:: ROWS // 15]
    model = TextEmbedding("sentence-transformers/all-MiniLM-L6-v2", specific_model_path=str(minilm))
    wanted = np.stack(list(model.embed([point.payload["text"] for point in some])))
    np.testing.assert_allclose([point.vector["dense"] for point in some], wanted, atol=1e-5)
