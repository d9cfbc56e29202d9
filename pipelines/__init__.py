"""The job: Ray reads, embeds and writes a corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.pipeline import EmbeddingPipeline

__all__ = ["EmbeddingPipeline"]


def __getattr__(name: str) -> Any:
    # Workers import this package for a stage or a sink; they need not load what only a driver does.
    if name == "EmbeddingPipeline":
        from pipelines.pipeline import EmbeddingPipeline

        return EmbeddingPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
