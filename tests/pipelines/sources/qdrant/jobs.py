"""Collections that a job filled, and jobs that embed them anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines import EmbeddingPipeline
from pipelines.config.source import SourceConfig
from pipelines.rows import IDENTIFIED_SCHEMA
from pipelines.run.report.report import RunReport
from pipelines.sources import plan_source
from pipelines.sources.formats import format_named
from tests.pipelines.sources.reading import write_lines


def job(folder: Path, name: str, source: dict[str, Any], sink: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A job of BM25, whose vectors depend on the language alone."""
    language = more.pop("language", "english")
    return {
        "corpus": "books",
        "source": source,
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25", "options": {"language": language}}],
        "sink": {"type": "qdrant", **sink},
        "compute": {"engine": "local"},
        "report": str(folder / f"{name}.json"),
        **more,
    }


def run(*arguments: Any, **more: Any) -> RunReport:
    return EmbeddingPipeline.from_config(job(*arguments, **more)).run()


def documents(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A source of files."""
    return {"path": str(write_lines(folder / "documents.jsonl", rows)), "id": "id"}


def read(collection: dict[str, Any], *, block_rows: int = 1000, **source: Any) -> list[dict[str, Any]]:
    """All rows of a collection, in the order of the plan."""
    config = SourceConfig(qdrant={"collection": "books", "retry_seconds": 5, **collection}, **source)
    tables = [
        table
        for split in plan_source(config).splits
        for table in format_named(split.format).identified(split, config, block_rows=block_rows)
    ]
    assert all(table.schema.equals(IDENTIFIED_SCHEMA) and table.num_rows <= block_rows for table in tables)
    return [row for table in tables for row in table.to_pylist()]
