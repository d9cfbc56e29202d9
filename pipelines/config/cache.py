"""The cache of embeddings: vectors of texts that some run embedded before."""

from __future__ import annotations

from pydantic import Field

from pipelines.config.section import Place, Section


class CacheConfig(Section):
    """Where vectors are kept by model and text, for corpora with repeats and for experiments.

    Rows whose text was embedded before with the same fingerprint take their vectors from there, and go through no
    neural network; BM25 and static models are faster than any cache, and have none.
    """

    path: Place = Field(description="Folder or URL; many jobs and workers may share it, at the same time")
