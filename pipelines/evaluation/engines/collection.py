"""The collection that is evaluated: where it is, and what is known of it once the job has filled it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.config.job import JobConfig
from pipelines.evaluation.engines.points import bytes_a_point, count_points
from pipelines.evaluation.ways import Searchable
from pipelines.search import Searcher
from pipelines.sinks.qdrant.config import QdrantSinkConfig


def evaluation_sink(config: JobConfig, name: str, out: Path) -> QdrantSinkConfig:
    """Return the job's first Qdrant sink with a collection for evaluation alone: in ``out``, or on the job's server.

    The text is kept, as a reranker reads it.
    """
    collection = "_".join(name.split()) or "beir"
    theirs = next((sink for sink in config.sink if isinstance(sink, QdrantSinkConfig)), None)
    if theirs is None:
        return QdrantSinkConfig(type="qdrant", path=str(out / "qdrant"), collection=collection)
    address: dict[str, str | None]
    if theirs.url is None:
        address = {"path": str(out / "qdrant"), "collection": collection}
    else:
        address = {"collection": f"{theirs.searched}-evaluate-{collection}", "alias": None}
    return theirs.model_copy(update={**address, "store_text": True, "payload_indexes": {}})


@dataclass(frozen=True)
class EvaluatedCollection:
    """A collection that an evaluation's job has filled, with its number of points.

    ``provenance`` says what made it: where that differs, an earlier copy of the collection is a copy of another.
    """

    searcher: Searcher
    sink: QdrantSinkConfig
    searchable: Searchable
    points: int
    provenance: Mapping[str, str]

    @classmethod
    def of(
        cls, job: JobConfig, searcher: Searcher, *, documents: int, provenance: Mapping[str, str]
    ) -> EvaluatedCollection:
        """Look at the collection that a job with an ``evaluation_sink`` has filled with so many documents."""
        sink = job.sink[0]
        assert isinstance(sink, QdrantSinkConfig)
        searchable = Searchable(
            vectors=searcher.vectors,
            finders=searcher.default_vectors,
            rescoring=searcher.description.rescoring,
            folded={one.name: one.multivector_name for one in job.embeddings if one.keeps_multivector},
            documents=documents,
        )
        points = count_points(searcher.client, sink.collection)
        return cls(searcher, sink, searchable, points, provenance)

    @property
    def place(self) -> str:
        """The collection and where it is, for people to read."""
        return self.sink.place

    def bytes_a_point(self) -> dict[str, float]:
        """Return the mean bytes of each vector, before any index or quantization."""
        return bytes_a_point(self.searcher.client, self.sink.collection, self.searcher.vectors)
