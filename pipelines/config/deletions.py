"""The keys by which a sink follows deletions in the source."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

MAX_DELETE = 0.15

Deletions: TypeAlias = Annotated[
    Literal["keep", "sweep"],
    Field(
        description="What becomes of documents that left the source. keep: their points stay. sweep: at the end of a "
        "complete run, points of the job's corpus whose document the source no longer has are deleted, all chunks; not "
        "with source.limit, an unreadable file, a dead row without an id, or an empty source, which ends the run with "
        "3. For a source that is the whole corpus: two jobs that sweep need a corpus of their own each. Where ids are "
        "made from the content, a changed document has a new id, and its old one is swept"
    ),
]
MaxDelete: TypeAlias = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="Share of the corpus' points that one sweep may delete. Past it nothing is deleted here, and the "
        "run ends with 3; to allow it once: --set sink.0.max_delete=0.5 (sinks count from 0). Rows that source.deleted "
        "marks do not count",
    ),
]
