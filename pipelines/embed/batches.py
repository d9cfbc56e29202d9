"""Embeddings in a Ray Data pipeline of the user's own: a class for ``map_batches``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import pyarrow as pa

from embedders.errors import FleetembedError
from embedders.families import FAMILIES
from embedders.token_cache import TokenCache
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.file import load_config
from pipelines.config.shown import shown
from pipelines.embed.batch_columns import error_column, image_column, numpy_column, pandas_column, text_column
from pipelines.embed.checked import absolute_paths, checked_embedder, vector_facts
from pipelines.embed.row_embedder import RowEmbedder
from pipelines.errors import ConfigError
from pipelines.rows import ERROR_TYPE, IMAGE_COLUMN, add_errors
from pipelines.sinks.provenance import provenance_of
from pipelines.sinks.ray_context import running_ray
from pipelines.sinks.told import as_metadata, joined, told_provenance
from pipelines.sources.arrow_rows import name_that_stands_twice

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    Batch = TypeVar("Batch", pa.Table, dict[str, npt.NDArray[Any]], pd.DataFrame)
else:
    Batch = TypeVar("Batch")

# What instances have loaded in this process, the last ones: a task that unpickles one finds its models here.
_LOADED: dict[str, list[RowEmbedder]] = {}
_MOST_LOADED = 2
_LOADING = Lock()


class Embed:
    """Adds vectors to batches of a Ray dataset, a column each; for ``Dataset.map_batches``.

    ``embeddings`` is a model's name, an entry of a job's ``embeddings``, or a list of these. An entry without a name is
    called by its kind (``dense``, ``sparse``, ``multivector``, ``image``), and so is its column. Texts are in the
    column ``text``, images (for models of images) in ``image``: contents of files, paths, or uint8 arrays as
    ``ray.data.read_images`` gives them.

    A batch may be an Arrow table, which costs least (``batch_format="pyarrow"``), a dict of NumPy arrays or a pandas
    frame, and comes back as the same kind, rows in their order, with all of its columns. Vectors in Arrow have the
    types of `embedders.arrow`. In a dict dense vectors are a matrix (rows, dim), in a frame arrays, NaN for a row with
    an error; token vectors are matrices, empty for such a row, and sparse ones dicts or None. A row that cannot be
    embedded never raises: it has its error in the column ``error``, else null, and no vectors. Where batches come with
    such a column, rows that have an error are left as they are. The schema of Arrow tables tells what made the vectors:
    by that a ``QdrantDatasink`` sets a collection up, and a ``Searcher`` finds its models.

    Give the class with its arguments, and each actor loads the models once:

        >>> from pathlib import Path
        >>> import ray
        >>> from pipelines import Embed
        >>> model = {
        ...     "model": "sentence-transformers/all-MiniLM-L6-v2",
        ...     # Absolute, since workers are in folders of their own.
        ...     "path": str(Path("quickstart/models/all-MiniLM-L6-v2").absolute()),
        ... }
        >>> dataset = ray.data.from_items([{"text": "a river bank"}, {"text": "a bank account"}])
        >>> embedded = dataset.map_batches(
        ...     Embed,
        ...     fn_constructor_args=(model,),
        ...     batch_format="pyarrow",
        ...     batch_size=1024,
        ...     compute=ray.data.ActorPoolStrategy(size=1),
        ...     num_cpus=2,
        ... )
        >>> sorted(embedded.columns())
        ['dense', 'error', 'text']

    A model takes as many threads as the actor has CPUs (``num_cpus``), unless ``threads`` says otherwise, and the GPUs
    that it has (``num_gpus``). An instance works too: ``dataset.map_batches(Embed(model), batch_format="pyarrow")``
    runs in tasks, each process of which loads the models once.

    Models are looked for now, and loaded with the first batch. Raises ConfigError for what is wrong with
    ``embeddings``, ModelNotFoundError or ModelFilesError; a batch that lacks a column, or has one of a vector's name,
    raises ValueError.
    """

    def __init__(
        self,
        embeddings: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]],
        *,
        text: str = "text",
        image: str = "image",
        error: str = "error",
        threads: int | None = None,
    ) -> None:
        self._embeddings = _embedding_configs(embeddings)
        self._text, self._image, self._error, self._threads = text, image, error, threads
        for argument, name in (("text", text), ("image", image), ("error", error)):
            if not isinstance(name, str):
                raise ConfigError(f"{argument}: it names a column, and is {shown(name)}")
        # Also that files are there, and fit the options.
        for number, embedding in enumerate(self._embeddings):
            checked_embedder(f"embeddings.{number}", embedding)
        names = [name for embedding in self._embeddings for name in embedding.vector_names]
        if clash := sorted({error, text, image} & set(names)) or ([error] if error in (text, image) else []):
            raise ConfigError(f"{clash[0]!r} is the name of two columns: of a vector, the text, the image or the error")
        self._key = uuid4().hex

    def __call__(self, batch: Batch) -> Batch:
        """Add the columns; see the class."""
        given: Batch = self._added(batch)
        return given

    def _added(self, batch: Any) -> Any:
        if isinstance(batch, pa.Table):
            _refuse_twice(batch.column_names)
            for name, column in self._columns({name: batch[name] for name in batch.column_names}).items():
                at = batch.schema.get_field_index(name)
                batch = batch.append_column(name, column) if at < 0 else batch.set_column(at, name, column)
            told = as_metadata(joined(told_provenance(batch.schema), self._made()))
            return batch.replace_schema_metadata({**(batch.schema.metadata or {}), **told})
        if isinstance(batch, Mapping):
            added = self._columns(batch)
            return {**batch, **{name: numpy_column(column) for name, column in added.items()}}
        if hasattr(batch, "iloc") and hasattr(batch, "assign"):
            _refuse_twice(batch.columns)
            added = self._columns({name: batch[name] for name in batch.columns})
            return batch.assign(**{name: pandas_column(column) for name, column in added.items()})
        raise TypeError(f"a batch is a pyarrow table, a dict of NumPy arrays or a pandas frame, not {type(batch)}")

    def _columns(self, batch: Mapping[str, Any]) -> dict[str, pa.Array]:
        """Make the columns to add to a batch."""
        table = self._rows(batch)
        for embedder in self._embedders():
            table = embedder.embed(table)
        names = [name for embedding in self._embeddings for name in embedding.vector_names]
        return {name: _array(table[name]) for name in names} | {self._error: _array(table["error"])}

    def _made(self) -> dict[str, Any]:
        """Say what makes the vectors, for who stores or searches them; see ``pipelines.sinks.provenance``."""
        made = provenance_of(vector_facts(self._embedders()))
        return {key: told for key, told in made.items() if isinstance(told, dict)}

    def _rows(self, batch: Mapping[str, Any]) -> pa.Table:
        """Read what models take of a batch."""
        if taken := [name for one in self._embeddings for name in one.vector_names if name in batch]:
            raise ValueError(
                f"the batch has a column {taken[0]!r} already, which is the name of a vector; give the embedding "
                "another name, or drop the column"
            )
        columns: dict[str, Any] = {}
        errors: dict[int, Any] = {}
        wanted = {"text": (self._text, text_column), IMAGE_COLUMN: (self._image, image_column)}
        for kind in dict.fromkeys(IMAGE_COLUMN if one.images else "text" for one in self._embeddings):
            name, read = wanted[kind]
            if name not in batch:
                argument = "image" if kind == IMAGE_COLUMN else "text"
                there = ", ".join(map(repr, batch)) or "none"
                raise ValueError(f"the batch has no column {name!r}; it has {there}: name one as {argument}='...'")
            columns[kind], wrong = read(batch[name], name)
            errors = {**wrong, **errors}
        rows = len(next(iter(columns.values())))
        before = batch.get(self._error)
        columns["error"] = pa.nulls(rows, ERROR_TYPE) if before is None else error_column(before, self._error)
        return add_errors(pa.table(columns), errors)

    def _embedders(self) -> list[RowEmbedder]:
        with _LOADING:
            if self._key not in _LOADED:
                while len(_LOADED) >= _MOST_LOADED:
                    del _LOADED[next(iter(_LOADED))]
                tokens = TokenCache()
                runtime = {"token_cache": tokens, **_runtime(self._threads)}
                _LOADED[self._key] = [RowEmbedder(one, _of(one, runtime)) for one in self._embeddings]
            return _LOADED[self._key]


def _refuse_twice(names: Iterable[Any]) -> None:
    if (twice := name_that_stands_twice(names)) is not None:
        raise ValueError(f"the batch has two columns {twice!r}; rename one")


def _embedding_configs(given: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]) -> list[EmbeddingConfig]:
    """Check embeddings as those of a job; raises ConfigError."""
    listed = [given] if isinstance(given, (str, Mapping)) else given
    if not isinstance(listed, Sequence):
        raise ConfigError(
            f"embeddings: give a model's name, an entry as in a job, or a list of these, not {shown(given)}"
        )
    entries: list[Any] = [{"model": one} if isinstance(one, str) else one for one in listed]
    named = [_named(absolute_paths(dict(one))) if isinstance(one, Mapping) else one for one in entries]
    job = {"source": {"path": os.curdir}, "embeddings": named}
    try:
        embeddings = load_config(job).embeddings
    except ConfigError as error:
        raise ConfigError(str(error).replace("configuration is not a valid job", "embeddings are not valid")) from None
    for number, embedding in enumerate(embeddings):
        if embedding.measures_length:
            raise ConfigError(
                f"embeddings.{number}.options.avg_len: a batch is no corpus to measure; write a number, as the report "
                "of a job tells it"
            )
    return embeddings


def _named(entry: dict[str, Any]) -> dict[str, Any]:
    """Name an entry that has no name by its kind; what is wrong with its model is said elsewhere."""
    if "name" in entry:
        return entry
    with suppress(FleetembedError, ValueError, TypeError, AttributeError):
        # Each is a valid section of its own once it has a name.
        family = FAMILIES[EmbeddingConfig.model_validate({"name": "embedding", **entry}).card.family]
        kinds = family.chosen(entry.get("options", {}).get("outputs")) if family.gives_several else family.kinds
        name = "image" if family.images else kinds[0] if len(kinds) == 1 else "embedding"
        return {"name": name, **entry}
    return {"name": "embedding", **entry}


def _runtime(threads: int | None) -> dict[str, Any]:
    """Threads and GPUs of a worker of Ray's: what was set aside for it; of any other process what is there."""
    assigned: dict[str, float] | None = None
    if (ray := running_ray()) is not None:
        # A driver has nothing assigned, and Ray asserts that nobody asks.
        with suppress(AssertionError, RuntimeError):
            assigned = ray.get_runtime_context().get_assigned_resources()
    if not assigned:
        return {"threads": threads}
    cpus, gpus = assigned.get("CPU", 0.0), assigned.get("GPU", 0.0)
    chosen = threads if threads is not None else max(1, int(cpus)) if cpus else None
    several = {"device_ids": list(range(int(gpus)))} if gpus > 1 else {}
    return {"threads": chosen, "cuda": gpus > 0, **several}


def _of(embedding: EmbeddingConfig, runtime: Mapping[str, Any]) -> dict[str, Any]:
    """The runtime of one embedding; one for CPUs alone gets no GPU."""
    if not embedding.stays_on_cpu:
        return dict(runtime)
    return {**{name: value for name, value in runtime.items() if name != "device_ids"}, "cuda": False}


def _array(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
