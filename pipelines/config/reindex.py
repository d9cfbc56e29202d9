"""How a collection that takes another's place catches up and is verified, and how long the ones before it are kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipelines.config.section import Place, Section


class VerifyConfig(Section):
    """What ``fleetembed reindex verify`` looks at, and what it wants to see."""

    sample: int = Field(1000, ge=1, description="Points, drawn at random, whose payload and vectors are read back")
    reembed: int = Field(200, ge=1, description="Of these, points whose texts are embedded again and compared")
    searches: int = Field(200, ge=1, description="Of these, points that are looked for: by vector, and by a query")
    queries: Place | None = Field(
        None,
        description="File of queries for old against new: JSON lines {_id, text}, or a query a line; left out: titles "
        "and first sentences of the points sampled",
    )
    qrels: Place | None = Field(
        None, description="File of judgements of these queries, as BEIR has them (query-id, corpus-id, score)"
    )
    margin: float = Field(0.02, ge=0, le=1, description="MRR@10 and nDCG@10 may be so much lower than before")
    min_recall: float = Field(0.95, ge=0, le=1, description="Recall@10 of the index against an exact search")
    min_cosine: float | None = Field(
        None, ge=-1, le=1, description="Of vectors embedded again; left out: 0.999, and 0.99 of quantized models"
    )
    max_differences: int | None = Field(
        None,
        ge=0,
        description="Points that may be missing, left over or changed; left out: reindex.until where a collection is "
        "copied that lives on, since the switch catches up with so many, else 0",
    )
    wait_seconds: float = Field(600, ge=0, description="How long the server's indexing is waited for")

    @model_validator(mode="after")
    def _judged_are_asked(self) -> VerifyConfig:
        if self.qrels is not None and self.queries is None:
            raise ValueError("qrels need queries: the file with the queries that were judged")
        return self


class ReindexConfig(Section):
    """The collections of an alias: how a new one catches up, what it must show, and how long old ones stay."""

    until: int = Field(
        100, ge=1, description="run goes over the old collection until a pass finds fewer changes than this"
    )
    passes: int = Field(10, ge=0, description="Passes at most, after the first")
    mode: Literal["new_collection", "add_vector"] = Field(
        "new_collection",
        description="add_vector adds the vectors of embeddings that the collection lacks to its points, in place: "
        "source.qdrant and the sink are that collection, on a server of Qdrant 1.18 or later, and the job lists the "
        "embeddings that it has too",
    )
    verify: VerifyConfig = VerifyConfig()
    keep: int = Field(1, ge=0, description="Collections that the alias named before and that clean leaves for rollback")
    keep_days: float = Field(7, ge=0, description="clean drops no collection younger than this")
    snapshot: bool = Field(False, description="clean makes a snapshot on the server before it drops a collection")
