"""A datasink that writes the rows of any dataset to a Qdrant collection, each of them a point."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import pyarrow as pa
from ray.data.datasource import Datasink

from pipelines.config.section import make_section
from pipelines.config.shown import shown
from pipelines.errors import ConfigError, SinkError, TooManyErrorsError
from pipelines.ray_data.arrow_blocks import to_table
from pipelines.ray_data.columns import (
    Columns,
    Vectors,
    find_columns,
    given_vectors,
    kinds_of,
    of_block,
    refuse_no_names,
    specs_of,
)
from pipelines.ray_data.letters import Letters
from pipelines.ray_data.points import PointRows, point_rows
from pipelines.ray_data.report import TaskFigures, WriteReport, add_up, refuse_too_many, told_of
from pipelines.run.stages.write import write_rows
from pipelines.sinks.base import SinkWriter
from pipelines.sinks.qdrant.config import MOST_NUMBERS, QdrantSinkConfig
from pipelines.sinks.qdrant.description import PROVENANCE
from pipelines.sinks.qdrant.factory import make_sink
from pipelines.sinks.qdrant.folder import FolderSink
from pipelines.sinks.qdrant.plain import PlainFacts
from pipelines.sinks.qdrant.retry import WRITTEN_STAYS
from pipelines.sinks.qdrant.sink import QdrantSink
from pipelines.sinks.told import told_provenance

if TYPE_CHECKING:
    from ray.data._internal.execution.interfaces import TaskContext
    from ray.data.block import Block
    from ray.data.datasource import WriteResult
    from typing_extensions import Unpack

log = logging.getLogger("fleetembed")

# Rows that are made points together.
ROWS = 8192
TASK_BYTES = 4 << 20
# So many rows of one task, all of them dead, end the write.
HOPELESS_ROWS = 1000
# Columns of points beside their vectors.
_TAKEN = ("id", "payload")
_STAYS = "points that were acknowledged stay, and to write the dataset again leaves each of them once"


class QdrantSettings(TypedDict, total=False):
    """What a datasink takes of the keys of a job's ``sink``, see there."""

    engine: Literal["edge", "local"]
    api_key: str
    prefer_grpc: bool
    grpc_port: int
    timeout: float
    batch_points: int
    batch_mb: float
    retry_seconds: float
    bulk_load: bool | Literal["auto"]
    shards: int
    replication_factor: int
    on_disk: bool
    on_disk_payload: bool
    quantization: Literal["scalar", "binary", "product"]
    payload_indexes: Mapping[str, str]


class QdrantDatasink(Datasink[TaskFigures]):
    """Writes each row of a dataset as a point: ``Dataset.write_datasink(QdrantDatasink("docs", url=...))``.

    The collection is made with the vectors that the dataset has, and one that is there is checked against them.
    Requests that fail are made again for ``retry_seconds``; a row that cannot be a point, or that the server refuses,
    goes to ``dead_letters`` and costs no other row. Writing twice leaves each point once. What was done is in
    ``report`` when ``write_datasink`` is over.

    Args:
        collection: Its name; it is made where it is missing.
        url: The server. ``path`` in its place is a folder of the driver's machine, with an engine in it.
        id: The column of the ids: unsigned integers, UUIDs, or texts, of which UUIDs are made (version 5, of ``corpus``
            and text, as a job makes them; the text is the payload's ``document_id`` then).
        vectors: The columns of vectors, by name or as ``{column: {"name": ..., "distance": ...}}`` (see
            ``VectorColumn``). Left out, all columns that hold lists of floats (dense), lists of such lists
            (multivectors), or structs of indices and values (sparse).
        payload: A column of structs or of JSON objects that is the whole payload, or a list of columns that are keys of
            it. Left out, all other columns are keys; those of a column ``payload`` of such a type are put beside them.
        dead_letters: A folder or URL for Parquet files with the rows that cannot be written, and why.
        max_error_rate: Share of such rows past which ``write_datasink`` raises TooManyErrorsError at the end.
        corpus: Namespace of ids that are made of texts.
        metadata: Metadata of the collection, if it is made. A dataset whose schema tells what made its vectors (key
            ``fleetembed``) has that written there; else nothing is.
        **settings: As in a job's ``sink``: ``api_key`` (``${NAME}`` of an environment variable), ``prefer_grpc``,
            ``batch_points``, ``retry_seconds``, ``bulk_load``, ``quantization``, ``payload_indexes``, ...

    A column ``error`` (struct of stage, type and message, as ``EmbeddingPipeline.embed`` gives) that is not null makes
    its row dead.

    Examples:
        >>> import ray
        >>> from pipelines import QdrantDatasink
        >>> rows = [{"id": 1, "text": "red", "dense": [1.0, 0.0]}, {"id": 2, "text": "blue", "dense": [0.0, 1.0]}]
        >>> datasink = QdrantDatasink("colours", path=folder)
        >>> ray.data.from_items(rows).write_datasink(datasink)
        >>> datasink.report.written, datasink.report.total
        (2, 2)
    """

    report: WriteReport | None

    def __init__(
        self,
        collection: str,
        *,
        url: str | None = None,
        path: str | PathLike[str] | None = None,
        id: str = "id",
        vectors: Vectors | None = None,
        payload: str | Sequence[str] | None = None,
        dead_letters: str | PathLike[str] | None = None,
        max_error_rate: float = 0.01,
        corpus: str = "default",
        metadata: Mapping[str, Any] | None = None,
        **settings: Unpack[QdrantSettings],
    ) -> None:
        unknown = sorted(settings.keys() - QdrantSettings.__annotations__.keys())
        if unknown:
            raise ConfigError(
                f"QdrantDatasink: there is no argument {unknown[0]!r}; beside its own there are "
                f"{', '.join(sorted(QdrantSettings.__annotations__))}"
            )
        if not collection:
            raise ConfigError("QdrantDatasink: collection is empty; name one")
        if not isinstance(max_error_rate, int | float) or not 0 <= max_error_rate <= 1:
            raise ConfigError(f"QdrantDatasink: max_error_rate {max_error_rate!r} is not from 0 to 1")
        for argument, text in (("id", id), ("corpus", corpus)):
            if not isinstance(text, str):
                raise ConfigError(f"QdrantDatasink: {argument} is a text, not {shown(text)}")
        if payload is not None and not isinstance(payload, str):
            refuse_no_names(payload, "payload")
        if metadata is not None and not isinstance(metadata, Mapping):
            raise ConfigError(f"QdrantDatasink: metadata is a dict, not {shown(metadata)}")
        given = {"url": url, "path": None if path is None else fspath(path), **settings}
        values = {key: value for key, value in given.items() if value is not None}
        self.config = make_section(
            QdrantSinkConfig,
            {"type": "qdrant", "collection": collection, "store_text": False, **values},
            "QdrantDatasink",
        )
        self.report = None
        self._id, self._vectors, self._payload, self._corpus = id, given_vectors(vectors), payload, corpus
        self._max_error_rate, self._metadata = max_error_rate, None if metadata is None else dict(metadata)
        self._letters = Letters(dead_letters)
        self._started = 0.0
        self._sink: QdrantSink | FolderSink | None = None
        self._columns: Columns | None = None
        self._running = False

    @property
    def min_bytes_per_write(self) -> int:
        """Bytes that a task writes at least, about; a write of its own, so that one that fails embeds nothing again."""
        return TASK_BYTES

    def on_write_start(self, schema: pa.Schema | None = None) -> None:
        """Check the collection against the dataset, or make it; raises ConfigError or SinkError.

        Where a column's type does not tell how long its vectors are, the first task that sees one does it.
        """
        self.report, self._columns, self._started = None, None, time.time()
        self._running = True
        self._letters.open()
        with self._reporting():
            self._sink = _made(self.config)
            stored = self._sink.stored_vectors()
            if isinstance(schema, pa.Schema):
                self._columns = find_columns(schema, self._id, self._vectors, self._payload)
                specs = specs_of(self._columns, schema, stored)
                if specs is not None:
                    self._sink.open(self._facts(self._columns, specs, schema))

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> TaskFigures:
        """Write the blocks of one task; returns when each row is acknowledged or among the dead letters."""
        figures = TaskFigures()
        with ExitStack() as opened, self._reporting():
            sink: QdrantSink | FolderSink | None = None
            for block in blocks:
                table = to_table(block)
                if not table.num_rows:
                    continue
                if sink is None:
                    sink, columns, specs = self._ready(table)
                    folder = self._letters.folder_here()
                    writer = opened.enter_context(closing(sink.connect()))
                    figures.found = sink.job
                its = self._of_block(columns, table.schema)
                for start in range(0, table.num_rows, ROWS):
                    rows = point_rows(table.slice(start, ROWS), its, specs, self._corpus)
                    rows = _write(writer, rows, figures)
                    figures.keep_dead(rows.letters, folder, ctx.kwargs.get("write_uuid", "write"), ctx.task_idx)
                    self._refuse_hopeless(figures)
        return figures

    def on_write_complete(self, write_result: WriteResult[TaskFigures]) -> None:
        """Settle the collection and make the report; raises TooManyErrorsError past ``max_error_rate``."""
        tasks = [task for task in write_result.write_returns if task is not None]
        figures: dict[str, Any] = {}
        with self._reporting():
            if self._sink is not None:
                found = (task.found for task in tasks if task.found is not None)
                self._sink.job = self._sink.job or next(found, None)
                figures = self._settled(completed=True)
        self._letters.close()
        self._running = False
        seconds = time.time() - self._started if self._started else 0.0
        self.report = add_up(
            tasks, self.config.place, self._letters.place, seconds=seconds, total=figures.get("points")
        )
        (log.warning if self.report.dead else log.info)("%s", self.report)
        stays = f"The {self.report.written:,} good rows are written and stay"
        refuse_too_many(self.report, self._max_error_rate, stays)

    def on_write_failed(self, error: BaseException) -> None:
        """Put the collection's indexing back, and say what stays."""
        if isinstance(error, TooManyErrorsError) and self.report is not None and not self._running:
            # All was settled, and told.
            return
        started, self._running = self._running, False
        figures: dict[str, Any] = {}
        try:
            figures = self._settled(completed=False) if started else {}
        except Exception as again:
            figures = {"error": str(again)}
        self._letters.close()
        total = figures.get("points")
        there = "" if total is None else f" ({total:,} are there now)"
        unsettled = f"; {figures['error']}" if "error" in figures else ""
        log.warning("%s: the write failed; %s%s%s", self.config.title, _STAYS, there, unsettled)
        self.report = WriteReport(
            self.config.place,
            seconds=time.time() - self._started if started else 0.0,
            total=total,
            dead_letters=self._letters.place,
            error=told_of(error),
        )

    def _settled(self, *, completed: bool) -> dict[str, Any]:
        if self._sink is None:
            return {}
        if self._sink.job is None:
            if completed or isinstance(self._sink, FolderSink):
                self._sink.abandon()
                return {}
            if not self._sink.stored_vectors():
                return {}
            # A task has made the collection, or it was there, though none told of it.
            self._sink.job = PlainFacts()
        return self._sink.finish(completed=completed)

    def _ready(self, table: pa.Table) -> tuple[QdrantSink | FolderSink, Columns, dict[str, Any]]:
        """Return the open sink, and what the dataset's columns are: as the driver found them, or this first block."""
        sink = self._sink
        if sink is None:
            raise RuntimeError("on_write_start comes before write")
        columns = self._columns or find_columns(table.schema, self._id, self._vectors, self._payload)
        if sink.job is not None:
            named = {told.name if told.name is not None else column: column for column, told in columns.vectors.items()}
            return sink, columns, {named[name]: spec for name, spec in sink.job.vectors.items()}
        specs = specs_of(columns, table.schema, sink.stored_vectors(), table)
        if specs is None:
            raise ConfigError(
                f"no row of the first block has vectors in {', '.join(columns.vectors)}, so that their length is not "
                "known; tell it: vectors={column: {'size': ...}}"
            )
        job = self._facts(columns, specs, table.schema)
        if isinstance(sink, QdrantSink):
            sink.join(job)
        else:
            # Its host is asked by one task after the other.
            sink.open(job)
        return sink, columns, specs

    def _of_block(self, columns: Columns, schema: pa.Schema) -> Columns:
        """Find what a block has; raises ConfigError where it has vectors of which the first one knew nothing."""
        more = {} if self._vectors is not None else kinds_of(schema)
        unknown = next((name for name in more if name not in columns.vectors and name != columns.id), None)
        if unknown is not None:
            raise ConfigError(
                f"a block of the dataset has vectors in {unknown!r}, and the first one had none there; name the "
                "columns of vectors (vectors=...), and give each of them to all datasets that you put together, with "
                "nulls where there is no vector"
            )
        return of_block(columns, schema, self._payload)

    def _facts(self, columns: Columns, specs: Mapping[str, Any], schema: pa.Schema) -> PlainFacts:
        vectors = {}
        for column, spec in specs.items():
            told = columns.vectors[column].name
            name = column if told is None else told
            if name in _TAKEN:
                raise ConfigError(f"vectors: a vector cannot be called {name!r}; give it another name")
            if name in vectors:
                raise ConfigError(f"vectors: two columns are to be the vector {name!r}; give one of them another name")
            if (spec.dim or 0) > MOST_NUMBERS:
                raise ConfigError(
                    f"vectors: {name!r} has {spec.dim:,} numbers, and Qdrant takes {MOST_NUMBERS:,} at most"
                )
            vectors[name] = spec
        return PlainFacts(vectors=vectors, metadata=self._metadata if self._metadata is not None else _told_by(schema))

    def _refuse_hopeless(self, figures: TaskFigures) -> None:
        if figures.written or figures.rows < HOPELESS_ROWS or self._max_error_rate >= 1:
            return
        raise TooManyErrorsError(
            f"all of the first {figures.rows:,} rows of a task cannot be written to {self.config.title}. The first: "
            f"{figures.samples[0]}"
        )

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Say in messages what a datasink's user can do, where they are made for a job's."""
        try:
            yield
        except SinkError as error:
            told = str(error).replace(WRITTEN_STAYS, f"; {_STAYS}").replace("sink.url", "url")
            raise type(error)(told) from None


def _made(config: QdrantSinkConfig) -> QdrantSink | FolderSink:
    sink = make_sink(config)
    if not isinstance(sink, QdrantSink | FolderSink):
        raise TypeError(f"{type(sink).__name__} is no sink of a collection")
    return sink


def _write(writer: SinkWriter, rows: PointRows, figures: TaskFigures) -> PointRows:
    """Write the rows that have no error; those that the server refuses have one in what is returned."""
    live = rows.live()
    result = write_rows(writer.write, rows.points.take(pa.array(live)))
    figures.rows += rows.points.num_rows
    figures.written += result.written
    figures.retries += result.retries
    return rows.with_errors({int(live[row]): error for row, error in result.rejected.items()})


def _told_by(schema: pa.Schema) -> dict[str, Any]:
    """Take over what a dataset's schema tells of what made its vectors, as that of files of a Parquet sink does."""
    told = told_provenance(schema)
    return {PROVENANCE: told} if told else {}
