"""Reads a Qdrant collection as a Ray dataset, its ranges of ids side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray
from pydantic import SecretStr
from qdrant_client import QdrantClient, models
from ray.data import Dataset, read_datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from embedders.base import VectorSpec
from pipelines.config.collection import CollectionConfig
from pipelines.config.section import make_section
from pipelines.config.shown import shown
from pipelines.errors import ConfigError, SourceError
from pipelines.ray_data.point_columns import ID, PAYLOAD, PointColumns, column_of
from pipelines.search.filters import build_filter
from pipelines.sinks.provenance import of_vectors_alone
from pipelines.sinks.qdrant.description import held_provenance
from pipelines.sinks.qdrant.points import to_point_id
from pipelines.sinks.qdrant.read_vectors import usual_bytes
from pipelines.sinks.qdrant.retry import WRITTEN_STAYS, RequestRefusedError
from pipelines.sinks.qdrant.vectors import stored_vectors
from pipelines.sinks.told import as_metadata
from pipelines.sources.qdrant.connection import ask_for_page, connected, look, read_key
from pipelines.sources.qdrant.ids import Bounds, place_of
from pipelines.sources.qdrant.plan import cut_collection, find_collection

if TYPE_CHECKING:
    from ray.data.context import DataContext

# Of a point beside its vectors, before any is seen.
POINT_BYTES = 500


def read_qdrant(
    collection: str,
    *,
    url: str | None = None,
    path: str | None = None,
    with_vectors: bool | Sequence[str] = True,
    with_payload: bool = True,
    payload_schema: pa.Schema | Mapping[str, pa.DataType] | None = None,
    filter: models.Filter | Mapping[str, Any] | str | Sequence[str] | None = None,
    api_key: str | None = None,
    prefer_grpc: bool = False,
    grpc_port: int = 6334,
    timeout: float = 60,
    retry_seconds: float = 300,
    page_points: int = 512,
    page_mb: float = 8,
    override_num_blocks: int | None = None,
    concurrency: int | None = None,
) -> Dataset:
    """Read the points of a collection as a lazy dataset: ``id``, a column a vector, and ``payload``.

    Ids are texts (integers in decimal, UUIDs). Dense vectors are ``fixed_size_list<float>``, sparse ones structs of
    ``indices`` and ``values``, multivectors lists of vectors; a vector that a point lacks is null, and one without a
    name is the column ``vector``. The collection may change meanwhile: points that are inserted behind what was read
    are missed. Raises SourceError where the server, the folder or the collection is not there.

    Args:
        collection: Its name, or an alias's, which is looked up once.
        url: The server. ``path`` in its place is a folder of the driver's machine, which one task reads.
        with_vectors: All vectors, none, or those of these names.
        with_payload: Whether the payload is read.
        payload_schema: Columns by key of the payload, in the place of one column with all of it as JSON; a key that a
            point lacks is null. Only these keys are asked for.
        filter: Read only points that match: Qdrant's filter, or conditions such as ``lang=de`` and ``year>=2020``.
        api_key: ``${NAME}`` of an environment variable; QDRANT_API_KEY when left out.
        prefer_grpc: Ask the server by gRPC, at ``grpc_port``.
        grpc_port: The server's port for gRPC.
        timeout: Seconds a request may take.
        retry_seconds: How long one page is asked for again before the read fails.
        page_points: Points a page has at most.
        page_mb: Megabytes a page has at most, about.
        override_num_blocks: How many ranges are read; Ray's choice when left out.
        concurrency: How many are read at once, at most.

    Examples:
        >>> from pipelines import read_qdrant
        >>> dataset = read_qdrant("colours", path=folder, payload_schema={"text": pa.string()})
        >>> sorted(row["text"] for row in dataset.take_all())
        ['blue', 'red']
    """
    places = {"url": url, "path": path, "api_key": api_key}
    values = {key: value for key, value in places.items() if value is not None}
    config = make_section(
        CollectionConfig,
        {
            "collection": collection,
            "prefer_grpc": prefer_grpc,
            "grpc_port": grpc_port,
            "timeout": timeout,
            "retry_seconds": retry_seconds,
            "page_points": page_points,
            "page_mb": page_mb,
            **values,
        },
        "read_qdrant",
    )
    schema = _given_schema(payload_schema)
    source = QdrantDatasource(
        config, with_vectors=with_vectors, with_payload=with_payload, payload_schema=schema, filter=filter
    )
    where = {} if path is None else {"label_selector": {"ray.io/node-id": ray.get_runtime_context().get_node_id()}}
    dataset: Dataset = read_datasource(
        source, override_num_blocks=override_num_blocks, concurrency=concurrency, **where
    )
    return dataset


class QdrantDatasource(Datasource):
    """The points of a collection, for ``ray.data.read_datasource``; see ``read_qdrant``."""

    def __init__(
        self,
        config: CollectionConfig,
        *,
        with_vectors: bool | Sequence[str] = True,
        with_payload: bool = True,
        payload_schema: pa.Schema | None = None,
        filter: models.Filter | Mapping[str, Any] | str | Sequence[str] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if config.path is not None:
            # A worker is in a folder of its own.
            config = config.model_copy(update={"path": str(Path(config.path).absolute())})
        self._config, self._filter = config, build_filter(filter)
        self._key = read_key(config)
        with _Asking(), connected(config, self._key) as client:
            self._name, info = find_collection(client, config)
            self._points = look(
                config, lambda: client.count(self._name, self._filter, exact=True), "counting the points"
            ).count
        specs = _chosen(stored_vectors(info), with_vectors, config.title)
        told = as_metadata(of_vectors_alone(held_provenance(info)))
        self.columns = PointColumns(specs, payload_schema, with_payload and payload_schema is None, told)
        self._refuse_clashes()

    def get_name(self) -> str:
        """Name the datasource, for Ray's own displays."""
        return "Qdrant"

    def estimate_inmemory_data_size(self) -> int:
        """Estimate the bytes of all points."""
        return self._points * self._point_bytes

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        """Cut the collection into at most ``parallelism`` ranges of ids; a folder, open in one process, is one."""
        config = self._config
        ranges = max(1, min(parallelism, -(-self._points // config.page_points)))
        bounds: list[Bounds] = [(None, None)]
        if config.path is None and ranges > 1:
            with _Asking(), connected(config, self._key) as client:
                bounds = cut_collection(client, config, self._name, self._filter, ranges)
        share = -(-self._points // len(bounds))
        metadata = BlockMetadata(num_rows=None, size_bytes=share * self._point_bytes, input_files=None, exec_stats=None)
        read = partial(_read, config, self._key, self._name, self._filter, self.columns)
        return [
            ReadTask(partial(read, one), metadata, schema=self.columns.schema, per_task_row_limit=per_task_row_limit)
            for one in bounds
        ]

    @property
    def _point_bytes(self) -> int:
        return POINT_BYTES + sum(map(usual_bytes, self.columns.vectors.values())) // 3

    def _refuse_clashes(self) -> None:
        names = self.columns.schema.names
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(
                f"read_qdrant: two columns would be called {twice!r}: {ID!r} is the id's, {PAYLOAD!r} the payload's, "
                "and a vector's is its name. Leave one out by with_vectors=[...] or payload_schema={...}"
            )


class _Asking:
    """Names the argument, where messages name a job's key."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, SourceError):
            told = str(error).replace("source.qdrant.", "").replace("source.qdrant", "read_qdrant")
            raise SourceError(told.replace(WRITTEN_STAYS, "")) from None


def _given_schema(given: Any) -> pa.Schema | None:
    if given is None or isinstance(given, pa.Schema):
        return given
    try:
        return pa.schema(list(given.items()))
    except (pa.ArrowException, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"payload_schema: give a pyarrow.schema, or a dict such as {{'year': pyarrow.int64()}} ({error})"
        ) from None


def _chosen(stored: Mapping[str, VectorSpec], wanted: bool | Sequence[str], title: str) -> dict[str, VectorSpec]:
    if isinstance(wanted, bool):
        return dict(stored) if wanted else {}
    names = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(names, Sequence | Set):
        raise ConfigError(f"with_vectors: give True, False, or names of vectors, not {shown(wanted)}")
    by_column = {column_of(name): name for name in stored}
    chosen = [by_column.get(name, name) for name in names]
    missing = next((name for name in chosen if name not in stored), None)
    if missing is not None:
        there = ", ".join(repr(name) for name in by_column) or "none"
        raise ConfigError(f"with_vectors: {title} has no vector {missing!r}; it has {there}")
    return {name: stored[name] for name in chosen}


def _read(
    config: CollectionConfig,
    key: SecretStr | None,
    name: str,
    filter: models.Filter | None,
    columns: PointColumns,
    bounds: Bounds,
) -> Iterable[pa.Table]:
    """Read a range, a block a page; one that is empty gives a block without rows, so that its columns are known."""
    given = False
    with _Asking(), connected(config, key) as client:
        for points in _pages(client, config, name, filter, columns, bounds):
            if points or not given:
                given = True
                yield columns.table(points)


def _pages(
    client: QdrantClient,
    config: CollectionConfig,
    name: str,
    filter: models.Filter | None,
    columns: PointColumns,
    bounds: Bounds,
) -> Iterator[Sequence[Any]]:
    """Yield the points of a range, page by page; a page has so many of them as have about ``page_mb``."""
    start, stop = bounds
    end = None if stop is None else place_of(stop)
    following: Any = None if start is None else to_point_id(start)
    most, size = config.page_points, POINT_BYTES + sum(map(usual_bytes, columns.vectors.values()))
    while True:
        limit = max(1, min(most, int(config.page_mb * 1e6 / max(1, size))))
        request = partial(
            client.scroll,
            name,
            filter,
            limit=limit,
            offset=following,
            with_payload=columns.with_payload if columns.payload is None else list(columns.payload.names),
            with_vectors=_asked_vectors(columns),
        )
        try:
            points, following = ask_for_page(config, request, limit, f"reading points from {following}")
        except RequestRefusedError as error:
            if limit == 1:
                raise SourceError(f"{config.title}: reading points from {following} failed: {error}") from None
            most = limit // 2
            continue
        inside = points if end is None else [point for point in points if place_of(point.id) < end]
        yield inside
        if following is None or (end is not None and place_of(following) >= end):
            return
        if points:
            size = max(1, (size + POINT_BYTES + columns.bytes(points) // len(points)) // 2)


def _asked_vectors(columns: PointColumns) -> bool | list[str]:
    # One without a name cannot be asked for by name.
    return True if "" in columns.vectors else list(columns.vectors) or False
