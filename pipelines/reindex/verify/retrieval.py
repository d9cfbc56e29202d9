"""Whether the new collection finds what the old one finds: known documents, judged ones, and how much both agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from more_itertools import chunked
from qdrant_client import models

from pipelines.errors import ConfigError
from pipelines.evaluation.beir import read_judgements
from pipelines.evaluation.metrics import first_of_each, measure_run
from pipelines.reindex.verify.mending import FINDS_LESS
from pipelines.reindex.verify.questions import KnownItem, known_items, read_queries
from pipelines.reindex.verify.result import Check, judged, skipped
from pipelines.reindex.verify.subject import Subject
from pipelines.search import Searcher
from pipelines.search.query_models import with_models

DEPTH = 10
# Of a collection of chunks, so that DEPTH documents are among them.
HITS_OF_CHUNKS = 50
PAGE = 200

Finding = Mapping[str, Sequence[str]]


def check_retrieval(subject: Subject) -> list[Check]:
    """Ask both collections, each by its models, and compare: overlap@10, MRR@10 of known items, nDCG@10."""
    limits = subject.limits
    given = read_queries(limits.queries) if limits.queries is not None else None
    items = known_items(subject)
    with ExitStack() as opened:
        try:
            new = opened.enter_context(_new(subject))
        except ConfigError:
            if subject.config.embeddings:
                raise
            return [
                skipped("old against new", "the source brought the vectors, and nobody told which models made them")
            ]
        old, why, details = None, "the alias names no other collection to compare with", list[str]()
        if subject.old is not None:
            try:
                old = opened.enter_context(_old(subject))
                # Its models are loaded by the first query.
                old.search(items[0].query if items else "first", limit=1)
            except ConfigError as error:
                old, why = None, f"{subject.old.name} cannot be asked"
                details = [f"{why}, which stops no switch: {error}"]
        made = {str(number): item.query for number, item in enumerate(items)}
        known = [_run(subject, searcher, made) for searcher in (old, new)]
        checks = [_known(subject, items, known[0], known[1] or {}, why)]
        queries = made if given is None else given
        before, now = known if given is None else [_run(subject, searcher, given) for searcher in (old, new)]
        checks.append(_overlap(before, now, why, details))
        if limits.qrels is not None:
            checks.append(_judged(subject, queries, before, now or {}))
        return checks


def _known(subject: Subject, items: list[KnownItem], before: Finding | None, now: Finding, why: str) -> Check:
    name = "known-item MRR@10"
    if not items:
        return skipped(name, "no sampled point has a title or a text to ask for")
    wanted = {str(number): item.point.document_id for number, item in enumerate(items)}
    if before is None:
        value = _mrr(wanted, now)
        figures = {"queries": len(items), "mrr": round(value, 4)}
        return Check(name, "reported", f"{value:.4f}, {len(items):,} queries", f"not judged: {why}", figures)
    there = _held_by_old(subject, items)
    shared = {query: document for query, document in wanted.items() if document in there}
    if not shared:
        return skipped(name, "none of the sampled documents is in the old collection")
    return _compared(subject, name, _mrr(shared, before), _mrr(shared, now), len(shared))


def _overlap(before: Finding | None, now: Finding | None, why: str, details: list[str]) -> Check:
    if before is None:
        return replace(skipped("overlap@10", why), samples=details)
    if not before or now is None:
        return skipped("overlap@10", "there is no query to ask")
    shares = [
        len(set(now[query]) & set(found)) / max(len(now[query]), len(found), 1) if found or now[query] else 1.0
        for query, found in before.items()
    ]
    share = sum(shares) / len(shares)
    figures = {"queries": len(shares), "overlap": round(share, 4)}
    found = f"{share:.4f}, {len(shares):,} queries"
    return Check("overlap@10", "reported", found, "not judged: two models may differ", figures)


def _judged(subject: Subject, queries: Mapping[str, str], before: Finding | None, now: Finding) -> Check:
    assert subject.limits.qrels is not None
    try:
        judgements = read_judgements(Path(subject.limits.qrels))
        judgements = {query: grades for query, grades in judgements.items() if query in queries}
        if not judgements:
            raise ConfigError(f"reindex.verify.qrels: {subject.limits.qrels} judges none of the queries")
        runs = [{query: found.get(query, []) for query in judgements} for found in ([before, now] if before else [now])]
        values = [measure_run(judgements, run)["nDCG@10"] for run in runs]
    except ImportError:
        raise ConfigError("reindex.verify.qrels needs ir_measures: pip install 'fleetembed[evaluate]'") from None
    if len(values) == 1:
        figures = {"queries": len(judgements), "ndcg": round(values[0], 4)}
        found = f"{values[0]:.4f}, {len(judgements):,} queries"
        return Check("nDCG@10", "reported", found, "not judged: there is nothing to compare with", figures)
    return _compared(subject, "nDCG@10", values[0], values[1], len(judgements))


def _compared(subject: Subject, name: str, before: float, now: float, queries: int) -> Check:
    margin = subject.limits.margin
    # Rounded, as 0.71 - 0.7 is not 0.01.
    good = round(now - before, 9) >= -margin
    figures = {"queries": queries, "old": round(before, 4), "new": round(now, 4), "margin": margin}
    found = f"{now:.4f}, before {before:.4f}, {queries:,} queries"
    if subject.writers_go_on:
        return Check(name, "reported", found, subject.why_not_judged, figures)
    return judged(name, good, found, f">= {before:.4f} - {margin:g}", figures, [], FINDS_LESS)


def _mrr(wanted: Mapping[str, str], found: Finding) -> float:
    """Mean over the queries of 1 / rank of the one document wanted, 0 where it is not among the first ten."""
    ranks = [list(found[query]).index(name) + 1 if name in found[query] else None for query, name in wanted.items()]
    return sum(1 / rank for rank in ranks if rank) / len(ranks)


def _run(subject: Subject, searcher: Searcher | None, queries: Mapping[str, str]) -> Finding | None:
    if searcher is None:
        return None
    limit = HITS_OF_CHUNKS if subject.job.chunked else DEPTH
    return {
        name: first_of_each(
            hit.document_id for hit in searcher.search(query, limit=limit, with_payload=["document_id"])
        )[:DEPTH]
        for name, query in queries.items()
    }


def _held_by_old(subject: Subject, items: list[KnownItem]) -> set[str]:
    """Which documents the old collection has: under the same point ids, or else under their document ids."""
    assert subject.old is not None
    old, client = subject.old.name, subject.client
    found: set[str] = set()
    for some in chunked([item.point.id for item in items], PAGE):
        request = partial(client.retrieve, old, some, with_payload=["document_id"])
        records = subject.ask(request, "looking for the sampled documents")
        found |= {str((record.payload or {}).get("document_id", record.id)) for record in records}
    for name in {item.point.document_id for item in items} - found:
        same = models.FieldCondition(key="document_id", match=models.MatchValue(value=name))
        count = partial(client.count, old, count_filter=models.Filter(must=[same]), exact=True)
        found |= {name} if subject.ask(count, "looking for the sampled documents").count else set()
    return found


def _new(subject: Subject) -> Searcher:
    own = {vector: one for one in subject.config.embeddings for vector in one.vector_names}
    sink = subject.sink.model_copy(update={"alias": None, "collection": subject.new.name})
    # Of a job without embeddings, whose source brought the vectors, the collection tells of the models.
    return Searcher(sink, (lambda _: own) if own else partial(with_models, models={}))


def _old(subject: Subject) -> Searcher:
    assert subject.old is not None
    sink = subject.sink.model_copy(update={"alias": None, "collection": subject.old.name})
    return Searcher(sink, partial(with_models, models={}))
