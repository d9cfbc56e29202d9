"""What a job would do, as ``EmbeddingPipeline.plan`` finds it without doing it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipelines.sources import SourcePlan


@dataclass(frozen=True, repr=False)
class JobPlan:
    """What a run would do: files it would read, vectors it would make, places it would write to.

    ``skipped_files`` counts files of a kind that no reader knows. ``fingerprint`` is None where the run would first
    measure an average length, which is part of it. ``placement`` tells in lines how the pools would be placed on the
    cluster that the job joins; empty where it joins none; ``deletions`` what would be deleted. ``report`` and
    ``dead_letters`` are places, without credentials. Where a ``collection`` is read in the place of files, ``points``
    are those read of it; of ``data`` in memory, or that Ray reads, ``rows`` and ``columns``, None where only reading
    tells them.
    """

    files: int
    skipped_files: int
    bytes: int
    fingerprint: str | None
    models: dict[str, dict[str, Any]]
    sinks: list[dict[str, Any]]
    report: str
    dead_letters: str
    notices: list[str] = field(default_factory=list)
    placement: list[str] = field(default_factory=list)
    collection: str | None = None
    points: int | None = None
    data: str | None = None
    rows: int | None = None
    columns: list[str] | None = None
    deletions: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        from pipelines.notebook.plan import plan_view
        from pipelines.notebook.text import to_text

        return to_text(plan_view(self))

    def _repr_html_(self) -> str:
        from pipelines.notebook.html import to_html
        from pipelines.notebook.plan import plan_view

        return to_html(plan_view(self))


def figures_of_source(source: SourcePlan) -> dict[str, Any]:
    """Take what a plan tells of its source, by the names of its fields."""
    collection, data = source.collection, source.data
    in_memory = 0 if data is None else data.bytes or 0
    return {
        "files": source.files,
        "skipped_files": source.skipped_files,
        "bytes": source.bytes or in_memory,
        "collection": None if collection is None else collection.title,
        "points": None if collection is None else collection.points,
        "data": None if data is None else data.title,
        "rows": None if data is None else data.rows,
        "columns": None if data is None or data.columns is None else list(data.columns),
    }
