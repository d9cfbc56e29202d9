"""The points of a corpus in a Qdrant collection, page by page, and how they are deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pyarrow as pa
from more_itertools import chunked
from qdrant_client import QdrantClient, models

from pipelines.identity import point_id
from pipelines.sinks.base import POINT_SCHEMA, JobFacts
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.points import OURS, to_point_id
from pipelines.sinks.qdrant.retry import NotAppliedError, call

# A page has ids alone.
PAGE_POINTS = 5000
# So many documents are asked for, and so many points deleted, in one request.
BATCH = 500

Position = int | str | None
# Asks for a page of the corpus' points, those of some documents or all, from a point on; gives where the next begins.
AskPage = Callable[[Sequence[str] | None, Position], tuple[pa.Table, Position]]


def pages(ask: AskPage, documents: Sequence[str] | None) -> Iterator[pa.Table]:
    """Ask for all pages, one after the other."""
    for some in [None] if documents is None else chunked(documents, BATCH):
        page, after = ask(some, None)
        yield page
        while after is not None:
            page, after = ask(some, after)
            yield page


def read_page(
    client: QdrantClient, config: QdrantSinkConfig, job: JobFacts, documents: Sequence[str] | None, after: Position
) -> tuple[pa.Table, Position]:
    """Read one page of the corpus' points, as AskPage says."""
    chosen = models.Filter(must=[*_of_corpus(job), *_of_documents(job, documents)])
    found, following = call(
        lambda: client.scroll(
            config.collection,
            scroll_filter=chosen,
            limit=PAGE_POINTS,
            offset=after,
            with_payload=["document_id"],
            with_vectors=False,
        ),
        what=f"{config.title}: listing the points of corpus {job.corpus!r}",
        seconds=config.retry_seconds,
    )
    # A point whose document nobody knows is left alone.
    rows = [
        (name, str(point.id)) for point in found if isinstance(name := (point.payload or {}).get("document_id"), str)
    ]
    columns = [pa.array([row[number] for row in rows], pa.string()) for number in range(2)]
    return pa.table(columns, schema=POINT_SCHEMA), following if following is None else to_point_id(str(following))


def delete_points(client: QdrantClient, config: QdrantSinkConfig, ids: Sequence[str]) -> None:
    """Delete points by their ids, a batch a request, each until it is acknowledged as applied."""
    for batch in chunked(map(to_point_id, ids), BATCH):
        call(
            partial(_delete, client, config.collection, batch),
            what=f"{config.title}: deleting {len(batch)} points",
            seconds=config.retry_seconds,
        )


def _delete(client: QdrantClient, collection: str, ids: list[int | str]) -> None:
    answer = client.delete(collection, models.PointIdsList(points=list(ids)), wait=True)
    if answer.status != models.UpdateStatus.COMPLETED and client.retrieve(
        collection, ids, with_payload=False, with_vectors=False
    ):
        raise NotAppliedError(f"the server answered {answer.status.value!r}, not 'completed'")


def _of_corpus(job: JobFacts) -> list[models.Condition]:
    return [models.FieldCondition(key=f"{OURS}.corpus", match=models.MatchValue(value=job.corpus))]


def _of_documents(job: JobFacts, documents: Sequence[str] | None) -> list[models.Condition]:
    """Choose the points of documents: by their ids, or where documents have many, by an indexed key."""
    if documents is None:
        return []
    if job.chunked:
        return [models.FieldCondition(key="document_id", match=models.MatchAny(any=list(documents)))]
    ids = [to_point_id(point_id(job.corpus, name, 0, chunked=False)) for name in documents]
    return [models.HasIdCondition(has_id=list(ids))]
