from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.config.file import load_config
from pipelines.errors import WorkerError
from pipelines.run.scan import scan
from pipelines.run.stages.read import TASK_COLUMN, ReadStage
from pipelines.run.tally import Tally
from pipelines.sources import plan_source
from tests.pipelines.run.stages.tables import through


def test_a_task_whose_workers_die_ends_the_job_and_names_what_it_reads(tmp_path: Path) -> None:
    (tmp_path / "docs.jsonl").write_text('{"text": "one"}\n')
    config = load_config(
        {
            "source": {"path": str(tmp_path / "docs.jsonl")},
            "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
            "sink": {"type": "parquet", "path": str(tmp_path / "out")},
            "compute": {"max_retries": 2},
        }
    )
    tasks = scan(plan_source(config.source).splits, config.source, map).tasks
    stage = ReadStage(config, Tally())
    for _ in range(3):
        assert through(stage, pa.table({TASK_COLUMN: tasks})).num_rows == 1
    with pytest.raises(
        WorkerError,
        match=r"docs\.jsonl and 0 other splits were read 3 times.*worker died.*lost with a node.*run the job",
    ):
        through(stage, pa.table({TASK_COLUMN: tasks}))
