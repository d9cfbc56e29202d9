"""``reindex.mode: add_vector``: a collection gets vectors of further embeddings in place, and no other collection.

The job lists all embeddings that the collection is to have. Those that it lacks are embedded and added to its points.
Points of a job of this tool are marked as made by the job with all of them, so that one adds documents from then on.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from qdrant_client import QdrantClient, models
from rich.console import Console
from rich.text import Text

from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.job import JobConfig
from pipelines.embed.average_length import measuring
from pipelines.embed.checked import JobEmbedders
from pipelines.errors import ConfigError, SinkError
from pipelines.run.report.report import RunReport
from pipelines.run.run import STOPPING, Run
from pipelines.sinks.base import JobFacts
from pipelines.sinks.provenance import differences
from pipelines.sinks.qdrant.added_vectors import AddedVectorsSink, lacking
from pipelines.sinks.qdrant.client import open_client
from pipelines.sinks.qdrant.collection import Collection
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.description import ADDED, PROVENANCE, held_provenance
from pipelines.sinks.qdrant.points import OURS
from pipelines.sinks.qdrant.vectors import stored_vectors
from pipelines.sinks.qdrant.versions import dotted, release_of
from pipelines.sources.qdrant.plan import source_collection
from pipelines.stopping import stoppable
from pipelines.urls import is_url

# The first that adds a named vector to a collection.
LEAST_SERVER = (1, 18)
# Passes that look for texts which changed meanwhile, at most.
CHECKS = 3


@dataclass(frozen=True)
class Addition:
    """What a job adds to which collection.

    ``config`` is that of the run that adds: its embeddings are those that the collection lacks, its sink is the
    collection. ``whole`` are the facts of the job with all of them, ``before`` is the provenance of the collection as
    it was, empty where no job of this tool filled it.
    """

    config: JobConfig
    sink: QdrantSinkConfig
    whole: JobFacts
    before: dict[str, Any]

    @property
    def collection(self) -> str:
        """Name of the collection, which no alias is."""
        return self.sink.collection

    @property
    def vectors(self) -> list[str]:
        """Names of the vectors that are added."""
        return self.config.vector_names

    @property
    def left(self) -> models.Filter:
        """Select the points that lack the vectors."""
        return lacking(self.vectors, self.whole.fingerprint if self.before else None)

    @property
    def to_embed(self) -> models.Filter:
        """Select the points that lack the vectors and have a text."""
        qdrant = self.config.source.qdrant
        key = "text" if qdrant is None else qdrant.text
        empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
        return models.Filter(must=[self.left], must_not=[empty])

    def make_sink(self) -> AddedVectorsSink:
        """Make the sink; nothing is opened yet."""
        return AddedVectorsSink(self.sink, self.whole, self.before, marks=bool(self.before))

    def embedders(self) -> JobEmbedders:
        """Make embedders whose job has the fingerprint of all embeddings, since points are marked by that."""
        return JobEmbedders(self.whole.fingerprint)

    def pass_over(self, chosen: models.Filter | None, report: str) -> JobConfig:
        """Configure a pass over the points that a filter selects, with a report of its own."""
        source, qdrant = self.config.source, self.config.source.qdrant
        if qdrant is None:
            raise ValueError("the source is no collection")
        filter = None if chosen is None else chosen.model_dump(mode="json", exclude_none=True)
        read = source.model_copy(update={"qdrant": qdrant.model_copy(update={"filter": filter})})
        return self.config.model_copy(update={"source": read, "report": report})


def prepare_addition(config: JobConfig, embedders: JobEmbedders) -> Addition:
    """Find out which vectors the collection lacks, and change nothing.

    Raises SinkError where the server is too old, or the collection was not made by a job with the other embeddings;
    ConfigError where the job lists none that is lacking, or not all that there are.
    """
    if unknown := measuring(config):
        raise ConfigError(
            f"reindex.mode add_vector: write a number for avg_len in the place of measure ({', '.join(unknown)})"
        )
    name, (section,) = source_collection(config.source), config.sink
    if name is None or not isinstance(section, QdrantSinkConfig):
        raise ValueError("the source is no collection")
    sink = section.model_copy(update={"alias": None, "collection": name})
    whole = embedders.facts(config)
    with closing(open_client(sink)) as client:
        collection = Collection(client, sink)
        _refuse_server(client, collection)
        info = collection.existing()
        ours = collection.provenance(info) is not None
    if "" in stored_vectors(info):
        raise SinkError(
            f"{sink.title} has an unnamed vector, beside which a server adds no other; leave reindex.mode out and fill "
            "a new collection"
        )
    added, before = _added(config, info, whole, sink, ours=ours)
    whole = replace(whole, corpus=str(before.get("corpus", whole.corpus)))
    return Addition(_run_config(config, added, sink), sink, whole, before)


def add_vectors(config: JobConfig, embedders: JobEmbedders, console: Console) -> RunReport:
    """Add the vectors that the collection lacks, then look for texts that changed meanwhile; resumes where it stopped.

    Returns the report of the first pass, or of the last where that one alone had dead rows; those of the others are
    beside it. Raises as ``EmbeddingPipeline.run`` does.
    """
    # Models may be downloaded.
    with stoppable(*STOPPING):
        addition = prepare_addition(config, embedders)
    with closing(open_client(addition.sink)) as client:
        collection = Collection(client, addition.sink)
        is_new = collection.count(addition.left) == collection.count()
    console.print(Text(f"pass 1: the points that lack {' and '.join(addition.vectors)}"), soft_wrap=True)
    report = _run(addition, addition.pass_over(None if is_new else addition.to_embed, config.report), console)
    for number in range(2, CHECKS + 2):
        check = _run(addition, addition.pass_over(None, check_report(config.report)), Console(quiet=True))
        dead = f", {check.rows['dead']:,} dead" if check.rows["dead"] else ""
        told = f"{check.rows['embedded']:,} embedded{dead} of {check.rows['read']:,} read, in {check.seconds:.1f} s"
        console.print(Text(f"pass {number}, for texts that changed meanwhile: {told}"), soft_wrap=True)
        if not check.rows["embedded"]:
            break
    return report if report.exit_code or not check.exit_code else check


def describe_addition(addition: Addition) -> list[str]:
    """Say what a run adds, and how many points lack it, or that none does."""
    with closing(open_client(addition.sink)) as client:
        count = Collection(client, addition.sink).count(addition.left)
    name, vectors = addition.collection, " and ".join(addition.vectors)
    told = "jobs" if addition.before else "searches"
    if not count:
        return [
            f"all points of {name} have {vectors}; there is nothing to switch",
            f"{told} need all of its embeddings, as this configuration lists them",
        ]
    return [
        f"a run adds {vectors} to the points of {name} in place: {count:,} lack it; there is nothing to switch",
        f"from then on {told} need all of its embeddings, as this configuration lists them",
    ]


def is_rolled_back(addition: Addition) -> bool:
    """Tell whether the collection has none of the vectors, and nothing is written down of a run that added them."""
    with closing(open_client(addition.sink)) as client:
        info = Collection(client, addition.sink).existing()
    return not (info.config.metadata or {}).get(ADDED) and not stored_vectors(info).keys() & set(addition.vectors)


def roll_back(addition: Addition, *, dry_run: bool) -> list[str]:
    """Delete the vectors that were added, and let the collection be that of the job before."""
    sink, vectors = addition.sink, " and ".join(addition.vectors)
    if is_rolled_back(addition):
        return [f"done already: {addition.collection} has no vector {vectors}"]
    done = f"{vectors} of {addition.collection}"
    if dry_run:
        return [f"would delete {done}: to have it again, every text must be embedded again"]
    with closing(open_client(sink)) as client:
        collection = Collection(client, sink)
        # Searchers first, which would ask for what is not there any more.
        collection.remember({PROVENANCE: addition.before or None})
        if addition.before:
            marked = models.FieldCondition(
                key=f"{OURS}.fingerprint", match=models.MatchValue(value=addition.whole.fingerprint)
            )
            old = {"fingerprint": addition.before["fingerprint"]}
            points = models.Filter(must=[marked])
            collection.ask(
                lambda: client.set_payload(sink.collection, old, points, key=OURS, wait=True), "marking the points"
            )
        for name in addition.vectors:
            _delete(client, collection, name)
        collection.remember({ADDED: None})
    return [f"deleted {done}; the collection is as the job before left it, and new documents go in by that one"]


def check_report(report: str) -> str:
    """Name the file for the report of a pass that looks for changes."""
    body, mark, options = report.partition("?") if is_url(report) else (report, "", "")
    return f"{body.removesuffix('.json')}-check.json{mark}{options}"


def _run(addition: Addition, config: JobConfig, console: Console) -> RunReport:
    return Run(config, addition.embedders(), console, [addition.make_sink()]).carry_out()


def _delete(client: QdrantClient, collection: Collection, name: str) -> None:
    collection.ask(lambda: client.delete_vector_name(collection.name, name), f"deleting the vector {name!r}")


def _refuse_server(client: QdrantClient, collection: Collection) -> None:
    version = collection.ask(client.info, "asking for its version").version
    held = release_of(version)
    if held is None or held < LEAST_SERVER:
        raise SinkError(
            f"{collection.title}: its server is Qdrant {version}, and the first that adds a vector to a collection is "
            f"{dotted(LEAST_SERVER)}; leave reindex.mode out to fill a new collection, or update the server"
        )


def _added(
    config: JobConfig, info: models.CollectionInfo, whole: JobFacts, sink: QdrantSinkConfig, *, ours: bool
) -> tuple[list[EmbeddingConfig], dict[str, Any]]:
    """Choose the embeddings whose vectors are added, and the provenance before that."""
    noted = (info.config.metadata or {}).get(ADDED)
    noted = noted if isinstance(noted, dict) else {}
    before = held_provenance(info) if ours else {}
    if ours and not before:
        raise SinkError(f"{sink.title} does not say what made its vectors, so that none can be added")
    if ours and before.get("vectors", {}).keys() >= whole.vectors.keys():
        # A run that came to its end.
        before = noted.get("before") or before
    there = before.get("vectors", {}).keys()
    if ours:
        _refuse_unlisted(stored_vectors(info), whole, sink)
    added = [one for one in config.embeddings if not there & set(one.vector_names)]
    if not added:
        raise ConfigError(
            f"embeddings: {sink.title} has all of their vectors ({', '.join(sorted(there))}); add the one that it lacks"
        )
    _refuse_taken((name for one in added for name in one.vector_names), info, noted.get("vectors", []), sink)
    if there:
        rest = config.model_copy(update={"embeddings": [one for one in config.embeddings if one not in added]})
        facts = JobEmbedders().facts(rest)
        if facts.fingerprint != before.get("fingerprint"):
            raise SinkError(
                f"{sink.title} was made by another job: {'; '.join(differences(before, facts))}. Give its embeddings "
                "and chunking as they were; nothing is embedded or cut anew by them"
            )
    return added, before


def _refuse_unlisted(there: Iterable[str], whole: JobFacts, sink: QdrantSinkConfig) -> None:
    if unlisted := sorted(set(there) - whole.vectors.keys()):
        raise ConfigError(
            f"embeddings: {sink.title} has the vector {unlisted[0]!r}, which no embedding here makes; list all of its "
            "embeddings as its job has them, since points are known by all from then on; they are not embedded again"
        )


def _refuse_taken(
    names: Iterable[str], info: models.CollectionInfo, noted: Iterable[str], sink: QdrantSinkConfig
) -> None:
    if taken := sorted((set(names) & stored_vectors(info).keys()) - set(noted)):
        raise SinkError(
            f"{sink.title} has a vector {taken[0]!r} that no job wrote down, and it would be replaced; choose another "
            "name for the embedding"
        )


def _run_config(config: JobConfig, added: list[EmbeddingConfig], sink: QdrantSinkConfig) -> JobConfig:
    qdrant = config.source.qdrant
    if qdrant is None:
        raise ValueError("the source is no collection")
    source = config.source.model_copy(update={"qdrant": qdrant.model_copy(update={"collection": sink.collection})})
    compute = config.compute.of_embeddings([one.name for one in added])
    changes = {"source": source, "embeddings": added, "sink": [sink], "chunking": None, "compute": compute}
    return config.model_copy(update=changes)
