"""How a collection is searched: one vector, several fused, in stages."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from embedders.session_settings import ModelPrecision
from pipelines.config.section import NonEmpty, Section

# Candidates of each stage for each hit that is wanted, and the least of them.
CANDIDATES_A_HIT, LEAST_CANDIDATES = 5, 100
# k of reciprocal rank fusion where a search says none: of the k measured (see docs/about/quality.md) none was
# clearly better, and larger ones turn the effect of weights round.
DEFAULT_RRF_K = 2
# Far above what makes a difference: the first two ranks' shares differ by less than a millionth.
MOST_RRF_K = 1_000_000


class RerankConfig(Section):
    """A cross encoder that reads the query and the texts found, and orders them anew."""

    model: NonEmpty = Field(description="A reranker of the catalog")
    path: NonEmpty | None = Field(None, description="Folder with the model's files, instead of a download")
    cache_dir: NonEmpty | None = Field(None, description="Where downloaded models are kept")
    max_length: int | None = Field(None, ge=1, description="Token limit below the model's own")
    precision: ModelPrecision = Field("float32", description="What the network computes with; see embeddings")
    candidates: int = Field(50, ge=1, description="Hits that are ordered anew; those behind them keep their order")
    text_key: NonEmpty = Field("text", description="Key of the payload that holds the text")


class SearchConfig(Section):
    """One way to search a collection.

    The vectors in ``using`` each find candidates; of several, the results are fused. ``rescore`` orders the candidates
    by another vector (a multivector by MaxSim), ``rerank`` by a cross encoder.
    """

    using: list[str] = Field(
        default_factory=list, description="Vectors to search; several are fused; left out: all that find candidates"
    )
    fusion: Literal["rrf", "dbsf"] = Field(
        "rrf", description="rrf: reciprocal rank fusion; dbsf: distribution-based score fusion"
    )
    weights: list[float] | None = Field(
        None,
        description="Weight of each vector in rrf, in the order of using; Qdrant divides ranks by it, and with a large "
        "rrf_k it loses its sense",
    )
    rrf_k: int | None = Field(
        None,
        ge=1,
        le=MOST_RRF_K,
        description="k of rrf: a vector's hit of rank r, the first being 0, gets 1 / (k + r); the larger k is, "
        f"the less the first ranks outweigh the later ones; left out: {DEFAULT_RRF_K}",
    )
    rescore: str | None = Field(None, description="Vector that orders the candidates anew, as ColBERT's MaxSim")
    candidates: int | None = Field(
        None,
        ge=1,
        description=f"Candidates a stage passes on; left out: {CANDIDATES_A_HIT} for each hit wanted, and at least "
        f"{LEAST_CANDIDATES}",
    )
    rerank: RerankConfig | None = None
    exact: bool = Field(False, description="Compare with every point instead of using the index")
    hnsw_ef: int | None = Field(None, ge=1, description="Size of the index's beam: larger finds more, and takes longer")

    @field_validator("using", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _keys_agree(self) -> SearchConfig:
        twice = sorted({name for name in self.using if self.using.count(name) > 1})
        if twice:
            raise ValueError(f"using: {twice[0]!r} is named twice")
        if self.weights is not None:
            if self.fusion != "rrf":
                raise ValueError("weights belong to rrf; dbsf has none")
            if not self.using:
                raise ValueError("weights need using: the vectors that they belong to")
            if len(self.weights) != len(self.using):
                raise ValueError(f"weights: give one for each vector in using, {len(self.using)}; got {self.weights}")
            if not all(0 <= weight < float("inf") for weight in self.weights) or not any(self.weights):
                raise ValueError(f"weights must be 0 or more, and one above 0; got {self.weights}")
        if self.rrf_k is not None and self.fusion != "rrf":
            raise ValueError("rrf_k belongs to rrf; dbsf has none")
        return self

    @property
    def settled_rrf_k(self) -> int:
        """k of rrf: what the search says, or else the default."""
        return DEFAULT_RRF_K if self.rrf_k is None else self.rrf_k

    def depth(self, hits: int) -> int:
        """Count the candidates that each stage passes on, where so many hits are wanted."""
        return max(hits, self.candidates or max(hits * CANDIDATES_A_HIT, LEAST_CANDIDATES))
