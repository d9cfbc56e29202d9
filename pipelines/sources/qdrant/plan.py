"""Plans the reading of a collection on the driver: which one it is, whether it has texts, and in which ranges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qdrant_client import QdrantClient, models

from pipelines.config.collection import CollectionConfig
from pipelines.config.source import SourceConfig
from pipelines.errors import SourceError
from pipelines.sinks.qdrant.description import held_provenance
from pipelines.sinks.qdrant.read_vectors import usual_bytes
from pipelines.sources.qdrant.connection import connected, look, read_key
from pipelines.sources.qdrant.format import QdrantCollection
from pipelines.sources.qdrant.ids import Bounds, are_even, cut, place_of
from pipelines.sources.qdrant.provenance import resolve
from pipelines.sources.qdrant.rows import is_chunk, point_row
from pipelines.sources.split import PlannedCollection, PointRange, SourcePlan, Split
from pipelines.sources.vectors.files import Content, content_of_collection

# Points that are looked at for their texts.
SAMPLE_POINTS = 100
# Ids that tell where to cut, a range.
SAMPLED_A_RANGE = 32
POINTS_A_RANGE = 50_000
RANGES_A_READER = 4
SHOWN_KEYS = 30


def plan_collection(config: SourceConfig) -> SourcePlan:
    """Find the collection, look at a sample of its points, and cut its ids into ranges.

    An alias is resolved here and nowhere else. With ``limit`` there is one range. Raises SourceError where the server
    or the collection is not there, or, unless vectors are read, none of the sampled points has a text; ConfigError for
    what is no filter.
    """
    section = config.qdrant
    if section is None:
        raise ValueError("the source is no collection")
    key, chosen = read_key(section), _filter(section)
    with connected(section, key) as client:
        name, aliases = _find(client, section)
        info = _info(client, section, name)
        content = _content(info) if section.vectors else None
        count = look(section, lambda: client.count(name, chosen, exact=True), "counting the points").count
        sample = _sample(client, section, name, chosen, SAMPLE_POINTS, with_payload=True)
        if content is None:
            _refuse_without_texts(section, sample)
        bounds = _bounds(client, section, name, chosen, sample, 1 if config.limit else _ranges(section, count))
    wanted = min(count, config.limit or count)
    filter = None if chosen is None else chosen.model_dump_json(exclude_none=True)
    points = [PointRange(name, start, stop, filter, key, content) for start, stop in bounds]
    root = section.url or str(Path(section.path or "").absolute())
    whole = PlannedCollection(
        section.title,
        name,
        aliases,
        wanted,
        chunked=_is_chunked(info, sample),
        url=section.url,
        path=None if section.path is None else root,
        with_vectors=content is not None,
    )
    mean = _mean_bytes(sample, section.text) + sum(map(usual_bytes, content.specs.values() if content else ()))
    splits = _splits(points, root, section.title, wanted, mean, config.limit)
    return SourcePlan(splits, notices=tuple(_notices(section, whole, sample)), collection=whole)


def source_collection(config: SourceConfig) -> str | None:
    """Ask for the name of the collection that is read, where an alias names it too; None where files are read."""
    if config.qdrant is None:
        return None
    with connected(config.qdrant, read_key(config.qdrant)) as client:
        return _find(client, config.qdrant)[0]


def collection_content(section: CollectionConfig) -> Content:
    """Ask for a collection's vectors and what its job wrote down of them; raises SourceError where it is not there."""
    with connected(section, read_key(section)) as client:
        return _content(_info(client, section, _find(client, section)[0]))


def find_collection(client: QdrantClient, section: CollectionConfig) -> tuple[str, models.CollectionInfo]:
    """Ask for the collection that a section names, also by an alias, and what it says of itself."""
    name, _ = _find(client, section)
    return name, _info(client, section, name)


def cut_collection(
    client: QdrantClient, section: CollectionConfig, name: str, chosen: models.Filter | None, ranges: int
) -> list[Bounds]:
    """Cut a collection's ids into at most so many ranges of about as many points each, by a sample of them."""
    sample = _sample(client, section, name, chosen, SAMPLE_POINTS, with_payload=False)
    return _bounds(client, section, name, chosen, sample, ranges)


def _info(client: QdrantClient, section: CollectionConfig, name: str) -> models.CollectionInfo:
    return look(section, lambda: client.get_collection(name), "reading its configuration")


def _content(info: models.CollectionInfo) -> Content:
    return content_of_collection(info.config.model_dump(mode="json"))


def _is_chunked(info: models.CollectionInfo, sample: Sequence[models.ScoredPoint]) -> bool:
    """Tell whether points are chunks of documents, as the job that made them wrote down; else some points tell it."""
    told = held_provenance(info).get("chunked")
    return told if isinstance(told, bool) else any(is_chunk(point.payload or {}) for point in sample)


def _filter(section: CollectionConfig) -> models.Filter | None:
    if section.filter is None:
        return None
    # Late: searching brings more with it.
    from pipelines.search.filters import build_filter

    return build_filter(section.filter)


def _find(client: QdrantClient, section: CollectionConfig) -> tuple[str, frozenset[str]]:
    """Resolve the name, which may be an alias; returns the collection's name and all of its aliases."""
    name, targets = resolve(client, section)
    if not look(section, lambda: client.collection_exists(name), "looking for the collection"):
        others = look(section, lambda: client.get_collections().collections, "listing the collections")
        there = sorted({one.name for one in others} | set(targets))
        told = f"there are: {_shown(there)}" if there else "there is none at all"
        raise SourceError(f"{section.title}: there is no such collection; {told}")
    return name, frozenset(alias for alias, target in targets.items() if target == name)


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN_KEYS]) + (", ..." if len(names) > SHOWN_KEYS else "")


def _sample(
    client: QdrantClient,
    section: CollectionConfig,
    name: str,
    chosen: models.Filter | None,
    points: int,
    *,
    with_payload: bool,
) -> list[models.ScoredPoint]:
    """Take points at random, out of all that the filter lets through."""
    query = models.SampleQuery(sample=models.Sample.RANDOM)
    return look(
        section,
        lambda: client.query_points(name, query=query, query_filter=chosen, limit=points, with_payload=with_payload),
        "taking a sample of the points",
    ).points


def _refuse_without_texts(section: CollectionConfig, sample: Sequence[models.ScoredPoint]) -> None:
    if not sample or any(isinstance((point.payload or {}).get(section.text), str) for point in sample):
        return
    keys = sorted({key for point in sample for key in point.payload or {}})
    has = f"it has the keys {_shown(keys)}" if keys else "its points have no payload"
    raise SourceError(
        f"{section.title} cannot be re-embedded: it holds no texts under {section.text!r}; {has}. Name the key of the "
        "texts in source.qdrant.text; of a collection that was filled with store_text: false, embed the original source"
    )


def _ranges(section: CollectionConfig, points: int) -> int:
    """How many ranges there are to be: a folder is open in one process alone."""
    if section.path is not None:
        return 1
    wanted = max(RANGES_A_READER * section.readers, -(-points // POINTS_A_RANGE))
    return max(1, min(wanted, -(-points // section.page_points)))


def _bounds(
    client: QdrantClient,
    section: CollectionConfig,
    name: str,
    chosen: models.Filter | None,
    sample: Sequence[models.ScoredPoint],
    ranges: int,
) -> list[Bounds]:
    ids = [point.id for point in sample]
    if ranges > 1 and not are_even(sorted(map(place_of, ids))):
        more = _sample(client, section, name, chosen, SAMPLED_A_RANGE * ranges, with_payload=False)
        ids = [point.id for point in more] or ids
    return cut(ids, ranges)


def _mean_bytes(sample: Sequence[models.ScoredPoint], text: str) -> float:
    rows = [point_row(models.Record(id=point.id, payload=point.payload), text) for point in sample]
    sizes = [len(row["text"] or "") + len(row["payload"] or "") for row in rows]
    return sum(sizes) / max(1, len(sizes))


def _splits(
    ranges: Sequence[PointRange], root: str, title: str, points: int, mean: float, limit: int | None
) -> tuple[Split, ...]:
    shares = [points * number // len(ranges) for number in range(len(ranges) + 1)]
    return tuple(
        Split(
            root,
            one.collection,
            title,
            QdrantCollection.name,
            bytes=int(mean * (shares[number + 1] - shares[number])),
            rows=shares[number + 1] - shares[number],
            max_rows=limit,
            points=one,
        )
        for number, one in enumerate(ranges)
    )


def _notices(section: CollectionConfig, whole: PlannedCollection, sample: Sequence[models.ScoredPoint]) -> list[str]:
    told = []
    if whole.name != section.collection:
        told.append(f"{section.title} is an alias of {whole.name}, which is read, also where the alias moves meanwhile")
    if not whole.points:
        told.append(f"{section.title} has no points" + (" that the filter lets through" if section.filter else ""))
    if any(point.shard_key is not None for point in sample):
        told.append(
            f"{section.title} has custom sharding: all of its shards are read, and shard keys are not kept; ids must "
            "be unique across its shards"
        )
    lacking = (
        0 if section.vectors else sum(not isinstance((point.payload or {}).get(section.text), str) for point in sample)
    )
    if lacking:
        told.append(
            f"{section.title}: {lacking} of {len(sample)} sampled points have no text under {section.text!r}; such "
            "points go to the dead letters"
        )
    return told
