"""A job's figures as Ray's metrics: Ray serves them to Prometheus on each node's metrics port, as ``ray_<name>``.

A metric is never worth a job: what goes wrong with one is passed over, and the report stays the record of a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pipelines.run.tally import DEAD_LETTERS, Figures

# Counters end in _total, and seconds are the unit of time: https://prometheus.io/docs/practices/naming/
COUNTERS = {
    "fleetembed_documents_total": "Documents read from the source",
    "fleetembed_chunks_total": "Rows made of the documents that were read",
    "fleetembed_skipped_rows_total": "Rows that every sink held unchanged",
    "fleetembed_embedded_rows_total": "Rows that went through a model, by embedding",
    "fleetembed_tokens_total": "Tokens that went through a model, by embedding",
    "fleetembed_padded_tokens_total": "Tokens that went through a model with their padding, by embedding",
    "fleetembed_written_rows_total": "Rows that a sink acknowledged, by sink",
    "fleetembed_copied_rows_total": "Rows that a sink was given with the vectors of another sink, by sink",
    "fleetembed_payload_only_rows_total": "Rows that were written to the vectors that a sink had, by sink",
    "fleetembed_dead_rows_total": "Rows written to the dead letters",
    "fleetembed_retries_total": "Requests that a sink was sent again, by sink",
    "fleetembed_stage_seconds_total": "Seconds of work, summed over workers, by stage, embedding and sink",
}
GAUGES = {
    "fleetembed_source_documents": "Documents that the source holds",
    "fleetembed_sink_queue_rows": "Rows that are embedded and that no sink has been offered yet",
}
TAGS = ("corpus", "stage", "embedding", "sink")

# The counter of each figure, by the kind of stage that reports it.
COUNTED = {
    "read": {"rows": "documents", "chunks": "chunks"},
    "skip": {"rows": "skipped_rows"},
    "embed": {"rows": "embedded_rows", "tokens": "tokens", "padded_tokens": "padded_tokens"},
    "write": {
        "rows": "written_rows",
        "copied": "copied_rows",
        "payload_only": "payload_only_rows",
        "retries": "retries",
    },
    "dead letters": {"rows": "dead_rows"},
}


@dataclass(frozen=True)
class Source:
    """Which stage reports: its kind, and the embedding or sink that it works for."""

    kind: str
    embedding: str = ""
    sink: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """The values of all tags but the corpus."""
        return {"stage": self.kind, "embedding": self.embedding, "sink": self.sink}


def source_of(stage: str) -> Source:
    """Tell from the name of a stage's figures which one reports; see `pipelines.run.tally.figures_of`."""
    if stage in ("read", "skip"):
        return Source(stage)
    if stage == DEAD_LETTERS:
        return Source("dead letters")
    if stage.startswith("write "):
        return Source("write", sink=stage.removeprefix("write "))
    return Source("embed", embedding=stage.removeprefix("embed "))


def increments(source: Source, figures: Figures) -> Iterator[tuple[str, float]]:
    """List the counters that a stage's figures add to; none is ever added less than nothing."""
    counted = COUNTED[source.kind]
    for name, value in figures.items():
        if value > 0 and name == "seconds":
            yield "fleetembed_stage_seconds_total", value
        elif value > 0 and name in counted:
            yield f"fleetembed_{counted[name]}_total", value


@dataclass
class SinkQueue:
    """Rows between the last embedding and the sinks, from the figures of both.

    It is too long by the rows that were embedded twice because their worker died.
    """

    embedded: Figures = field(default_factory=dict)
    offered: float = 0.0

    def add(self, source: Source, figures: Figures) -> None:
        """Take a stage's figures in; an embedding is known from when it begins, without figures."""
        if source.kind == "embed":
            self.embedded[source.embedding] = self.embedded.get(source.embedding, 0) + figures.get("rows", 0)
        self.offered += figures.get("offered", 0)

    @property
    def rows(self) -> float:
        """How many rows are in it."""
        return max(0.0, min(self.embedded.values(), default=0) - self.offered)


class JobMetrics:
    """Gives a job's figures to Ray's metrics; call it in a process of Ray, as one calls a Counter."""

    def __init__(self, corpus: str) -> None:
        self._corpus = corpus
        self._queue = SinkQueue()

    def __call__(self, stage: str, figures: Figures) -> None:
        """Add a stage's figures to the metrics."""
        # Whatever it is: figures are not worth the rows that they count.
        with suppress(Exception):
            self._add(source_of(stage), figures)

    def _add(self, source: Source, figures: Figures) -> None:
        for name, value in increments(source, figures):
            self._metrics[name].inc(value, source.tags)
        if "documents" in figures and source.kind == "read":
            self._metrics["fleetembed_source_documents"].set(figures["documents"])
        self._queue.add(source, figures)
        self._metrics["fleetembed_sink_queue_rows"].set(self._queue.rows)

    @cached_property
    def _metrics(self) -> dict[str, Any]:
        from ray.util.metrics import Counter, Gauge

        counters = {name: Counter(name, text, TAGS) for name, text in COUNTERS.items()}
        gauges = {name: Gauge(name, text, TAGS) for name, text in GAUGES.items()}
        made: dict[str, Any] = {**counters, **gauges}
        for metric in made.values():
            metric.set_default_tags({"corpus": self._corpus, "stage": "", "embedding": "", "sink": ""})
        return made
