"""Whether a copy in another place holds what it was copied from: all points of both, side by side in order of ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from qdrant_client import QdrantClient, models

from embedders.base import VectorSpec
from pipelines.config.collection import CollectionConfig
from pipelines.reindex.ids import SHOWN, Ask, Difference, PointId, id_order
from pipelines.reindex.verify.completeness import check_fingerprint, check_state
from pipelines.reindex.verify.index_recall import check_recall
from pipelines.reindex.verify.readback import check_vectors, differing
from pipelines.reindex.verify.reembedding import agreement, check_reembedding
from pipelines.reindex.verify.result import Check, judged
from pipelines.reindex.verify.sample import read_vector
from pipelines.reindex.verify.subject import Subject
from pipelines.reindex.verify.verify import Look
from pipelines.search.filters import build_filter
from pipelines.sinks.qdrant.client import has_indexes
from pipelines.sources.qdrant.connection import look
from pipelines.sources.qdrant.copied import named_vectors

PAGE = 256
# Of cosine distance one engine gives unit vectors back, and another one those that it was given.
ALIKE, CLOSE = 1 - 1e-5, 1e-6
AGAIN = (
    "`fleetembed reindex run` again writes what is missing or was changed; with sink.deletions: sweep it deletes what "
    "is in the copy alone"
)
ANEW = (
    "`fleetembed reindex run` again copies what was changed in the old collection since; what was changed in the copy "
    "stays: delete the copy then, and run again"
)
Pair = tuple[models.Record | None, models.Record | None]


@dataclass(frozen=True)
class Original:
    """The collection that a job copies, by its name, with a client that has its place open."""

    client: QdrantClient
    name: str
    section: CollectionConfig

    def read(self, vectors: list[str]) -> Iterator[models.Record]:
        """Read the points that the job reads, with these vectors; raises SourceError."""
        chosen = None if self.section.filter is None else build_filter(self.section.filter)
        ask = partial(look, self.section)
        return read_all(self.client, self.name, vectors, ask, chosen)


def copy_looks(original: Original, subject: Subject) -> tuple[Look, ...]:
    """List what is looked at in a copy of ``original``."""
    looks: list[Look] = [
        ("state of the collection", check_state),
        ("points of both", partial(check_copied, original)),
        ("fingerprint", check_fingerprint),
    ]
    # Copied vectors are compared at every point, and a point may lack some of them there as here.
    if not original.section.vectors:
        looks.append(("vectors read back", check_vectors))
    looks.append(("texts embedded again", check_reembedding))
    if has_indexes(subject.client, subject.sink.path):
        looks.append(("recall of the index", check_recall))
    return tuple(looks)


@dataclass
class Differing:
    """How many points differ of those looked at, and what the first of them differ in."""

    points: int = 0
    shown: list[str] = field(default_factory=list)

    def note(self, point: PointId, faults: list[str]) -> None:
        """Count a point, where it has faults."""
        if faults:
            self.points += 1
            if len(self.shown) < SHOWN:
                self.shown.append(f"point {point}: {', '.join(faults)}")


def check_copied(original: Original, subject: Subject) -> list[Check]:
    """Compare ids and payloads of all points; vectors too, where they were copied. Neither side is held in memory."""
    specs = subject.job.vectors if original.section.vectors else {}
    names = list(specs)
    ids, payloads, vectors = Difference(), Differing(), Differing()
    copies = read_all(subject.client, subject.new.name, names, subject.ask)
    for old, new in paired(original.read(names), copies):
        if old is None or new is None:
            _count_single(ids, old, new)
            continue
        ids.both += 1
        payloads.note(new.id, differing(old.payload or {}, new.payload or {}))
        vectors.note(new.id, unlike(old, new, specs))
    return [
        _check_ids(subject, ids),
        _check_alike("payload", ids.both, payloads),
        *([_check_alike("copied vectors", ids.both, vectors)] if specs else []),
    ]


def read_all(
    client: QdrantClient, collection: str, vectors: list[str], ask: Ask, chosen: models.Filter | None = None
) -> Iterator[models.Record]:
    """Yield a collection's points in the order of ids, with payload and these vectors."""
    page = partial(
        client.scroll, collection, scroll_filter=chosen, limit=PAGE, with_payload=True, with_vectors=vectors or False
    )
    offset = None
    while True:
        points, offset = ask(partial(page, offset=offset), "reading points")
        yield from points
        if offset is None:
            return


def paired(left: Iterator[models.Record], right: Iterator[models.Record]) -> Iterator[Pair]:
    """Go through two collections in the order of ids: what has the same id comes together, other points alone."""
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        first = one is not None and (other is None or id_order(one.id) <= id_order(other.id))
        second = other is not None and (one is None or id_order(other.id) <= id_order(one.id))
        yield one if first else None, other if second else None
        one = next(left, None) if first else one
        other = next(right, None) if second else other


def unlike(old: models.Record, new: models.Record, specs: Mapping[str, VectorSpec]) -> list[str]:
    """Name the vectors of a copy that are not those of the point that it was copied from."""
    before, after = named_vectors(old.vector), named_vectors(new.vector)
    pairs = {name: (before.get(name), after.get(name)) for name in specs}
    held = {name: pair for name, pair in pairs.items() if any(vector is not None for vector in pair)}
    return [name for name, (one, other) in held.items() if not _alike(one, other, specs[name])]


def _alike(old: object, new: object, spec: VectorSpec) -> bool:
    one, other = read_vector(old, spec), read_vector(new, spec)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and spec.distance != "cosine":
        return one.shape == other.shape and np.allclose(one, other, rtol=CLOSE, atol=CLOSE)
    return agreement(one, other) >= ALIKE


def _count_single(ids: Difference, old: models.Record | None, new: models.Record | None) -> None:
    if old is not None:
        ids.only_left(old.id)
    elif new is not None:
        ids.only_right(new.id)


def _check_ids(subject: Subject, ids: Difference) -> Check:
    most = subject.tolerated
    figures = {"only_old": ids.left, "only_new": ids.right, "both": ids.both, "dead": subject.dead}
    found = f"{ids.left:,} in the old alone, {ids.right:,} in the new alone, {ids.both:,} in both"
    samples = [f"{name} is in the old alone" for name in ids.first_left]
    samples += [f"{name} is in the new alone" for name in ids.first_right]
    good = ids.left <= subject.dead + most and ids.right <= most
    wanted = "none alone" + (f", but {subject.dead:,} dead" if subject.dead else "") + (f", ± {most:,}" if most else "")
    return judged("ids", good, found, wanted, figures, [] if good else samples, AGAIN)


def _check_alike(name: str, both: int, found: Differing) -> Check:
    figures = {"points": both, "differing": found.points}
    said = f"{both - found.points:,} of {both:,} as in the old collection"
    return judged(name, not found.points, said, "all", figures, found.shown, ANEW)
