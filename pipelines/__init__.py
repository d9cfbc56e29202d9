"""The job: a source is read, embedded and written, by Ray or in this process; and what it filled is searched."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedders.errors import FleetembedError
    from pipelines.config.file import load_config
    from pipelines.config.job import JobConfig
    from pipelines.embed.batches import Embed
    from pipelines.errors import (
        ConfigError,
        PreflightError,
        SinkError,
        SourceError,
        TooManyErrorsError,
        WorkerError,
    )
    from pipelines.experiment.compare import compare
    from pipelines.experiment.experiment import Experiment
    from pipelines.pipeline import EmbeddingPipeline
    from pipelines.ray_data.parquet_datasink import ParquetDatasink
    from pipelines.ray_data.qdrant_datasink import QdrantDatasink
    from pipelines.ray_data.read_qdrant import read_qdrant
    from pipelines.run.report.report import RunReport
    from pipelines.search import Hit, Hits, Searcher

__all__ = [
    "ConfigError",
    "Embed",
    "EmbeddingPipeline",
    "Experiment",
    "FleetembedError",
    "Hit",
    "Hits",
    "JobConfig",
    "JobPlan",
    "ParquetDatasink",
    "PreflightError",
    "QdrantDatasink",
    "RunReport",
    "Searcher",
    "SinkError",
    "SourceError",
    "TooManyErrorsError",
    "WorkerError",
    "compare",
    "load_config",
    "read_qdrant",
]

# Imported by need: a worker imports this package for one stage, and need not load what only a driver or a search does.
_MODULES = {
    "embedders.errors": ("FleetembedError",),
    "pipelines.config.file": ("load_config",),
    "pipelines.config.job": ("JobConfig",),
    "pipelines.embed.batches": ("Embed",),
    "pipelines.errors": (
        "ConfigError",
        "PreflightError",
        "SinkError",
        "SourceError",
        "TooManyErrorsError",
        "WorkerError",
    ),
    "pipelines.experiment.compare": ("compare",),
    "pipelines.experiment.experiment": ("Experiment",),
    "pipelines.job_plan": ("JobPlan",),
    "pipelines.pipeline": ("EmbeddingPipeline",),
    "pipelines.ray_data.parquet_datasink": ("ParquetDatasink",),
    "pipelines.ray_data.qdrant_datasink": ("QdrantDatasink",),
    "pipelines.ray_data.read_qdrant": ("read_qdrant",),
    "pipelines.run.report.report": ("RunReport",),
    "pipelines.search": ("Hit", "Hits", "Searcher"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
