"""A job's configuration: one YAML file, checked before anything runs. Unknown keys are errors."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticKnownError

from embedders.errors import FleetembedError
from pipelines.config.cache import CacheConfig
from pipelines.config.chunking import ChunkingConfig
from pipelines.config.compute import ComputeConfig
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.reindex import ReindexConfig
from pipelines.config.search import SearchConfig
from pipelines.config.section import MaybePlace, NonEmpty, Place, Section
from pipelines.config.sinks import SinkConfig
from pipelines.config.source import SourceConfig
from pipelines.errors import ConfigError
from pipelines.urls import is_absolute, is_url, join, named_place, page_place, without_credentials


class ErrorsConfig(Section):
    """What becomes of rows that cannot be embedded or written."""

    max_rate: float = Field(0.01, ge=0, le=1, description="Share of dead rows past which the job stops")
    min_rows: int = Field(1000, ge=1, description="Rows to see before the share counts (the end always counts)")
    path: MaybePlace | None = Field(
        None, description="Folder of dead letters; left out: dead_letters beside the report"
    )
    exit_code_on_dead: Literal[0, 3] = Field(
        3,
        description="Exit code of a run that is complete but for dead letters; 0 for schedulers that take 3 as failure."
        " Past max_rate the run fails with 1",
    )


class JobConfig(Section):
    """One job: source -> chunks -> embeddings -> sinks."""

    corpus: str = Field("default", min_length=1, description="Namespace of the point ids")
    source: SourceConfig
    chunking: ChunkingConfig | None = None
    # None becomes an empty list where the source brings vectors, and is refused elsewhere.
    embeddings: list[EmbeddingConfig] = Field(
        None,  # type: ignore[arg-type]
        description="Left out where the source brings the vectors (source.vectors, source.qdrant.vectors)",
    )
    cache: CacheConfig | None = Field(
        None, description="Vectors that were made before, by model and text; see its path"
    )
    # None becomes an empty list.
    sink: list[SinkConfig] = Field(
        None,  # type: ignore[arg-type]
        description="Where vectors go; left out where Python takes them (embed(), to_arrow()), and nothing is written",
        json_schema_extra={"minItems": 1},
    )
    compute: ComputeConfig = ComputeConfig()
    errors: ErrorsConfig = ErrorsConfig()
    searches: dict[NonEmpty, SearchConfig] = Field(
        default_factory=dict, description="Ways to search the collection, by name, for fleetembed search and evaluate"
    )
    reindex: ReindexConfig = ReindexConfig()
    report: Place = Field("run_report.json", description="File of the run's report")

    @field_validator("embeddings", mode="before")
    @classmethod
    def _needed_without_vectors(cls, value: Any, info: ValidationInfo) -> Any:
        source = info.data.get("source")
        brought = source is not None and source.brings_vectors
        if source is not None and brought and value:
            key = "source.vectors" if source.vectors is not None else "source.qdrant.vectors"
            raise ValueError(f"leave them out: {key} brings the vectors, and no model runs")
        if not brought and value is None:
            raise PydanticKnownError("missing")
        if not brought and value == []:
            lengths = {"field_type": "List", "min_length": 1, "actual_length": 0}
            raise PydanticKnownError("too_short", lengths)
        return [] if value is None else value

    @field_validator("sink", mode="before")
    @classmethod
    def _one_sink_is_a_list(cls, value: Any) -> Any:
        if value == []:
            raise PydanticKnownError("too_short", {"field_type": "List", "min_length": 1, "actual_length": 0})
        return [] if value is None else [value] if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _written_below_base_path(self) -> JobConfig:
        base = self.compute.base_path
        if base is None:
            return self

        def moved(part: Any, key: str) -> Any:
            path = getattr(part, key)
            return part.model_copy(update={key: join(base, path)}) if path and not is_absolute(path) else part

        sinks = [sink if sink.folder is None else moved(sink, "path") for sink in self.sink]
        # Sections are frozen for whoever uses them; this one is being made.
        cache = None if self.cache is None else moved(self.cache, "path")
        self.__dict__.update(
            sink=sinks, cache=cache, errors=moved(self.errors, "path"), report=moved(self, "report").report
        )
        return self

    @model_validator(mode="after")
    def _chunks_stay(self) -> JobConfig:
        if self.chunking is not None and self.source.vectors is not None:
            raise ValueError("chunking: rows of source.vectors have their vectors, and are not cut; leave chunking out")
        if self.chunking is not None and self.source.qdrant is not None and not self.adds_vectors:
            raise ValueError(
                "chunking: points of a collection keep their texts, and new chunking needs the original source; leave "
                "chunking out, or give source.path"
            )
        return self

    @model_validator(mode="after")
    def _adds_to_its_source(self) -> JobConfig:
        if not self.adds_vectors:
            return self
        read, begin = self.source.qdrant, "reindex.mode add_vector"
        if read is None or read.url is None or read.vectors:
            raise ValueError(f"{begin}: source.qdrant must name the collection, by url, without vectors")
        if read.filter is not None or self.source.limit is not None:
            raise ValueError(f"{begin}: every point gets the vectors; leave source.qdrant.filter and source.limit out")
        sink = self.sink[0] if self.sink else None
        if (
            sink is None
            or len(self.sink) > 1
            or sink.type != "qdrant"
            or sink.identity != (read.url, None, read.collection)
        ):
            raise ValueError(
                f"{begin}: the one sink must be what source.qdrant reads, by the same url and name (as collection or "
                "alias)"
            )
        if sink.deletions != "keep":
            raise ValueError(f"{begin}: sink.deletions is of no use, no point is deleted; leave it out")
        return self

    @model_validator(mode="after")
    def _memory_is_this_process(self) -> JobConfig:
        if self.in_memory and (self.compute.engine == "ray" or self.compute.address):
            raise ValueError(
                "sink: a collection in :memory: is in this process, which other processes, as Ray's are, cannot write "
                "to: leave compute.engine and compute.address out, or give a folder or a server"
            )
        return self

    @model_validator(mode="after")
    def _names_agree(self) -> JobConfig:
        names = [embedding.name for embedding in self.embeddings]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"embeddings: the name {twice[0]!r} is used twice")
        for embedding in self.embeddings:
            for vector in embedding.vector_names:
                if vector != embedding.name and vector in names:
                    kind = vector.rpartition("_")[2]
                    raise ValueError(
                        f"embeddings: {vector!r} is the name of {embedding.name}'s "
                        f"{'multivectors' if kind == 'multivector' else f'{kind} vectors'}; choose another for the "
                        "embedding of that name"
                    )
        self.compute.check_names(names)
        for embedding in self.embeddings:
            stage = self.compute.stages.get(embedding.name)
            if embedding.stays_on_cpu and stage is not None and stage.gpus:
                raise ValueError(
                    f"compute.stages.{embedding.name}.gpus: precision {embedding.precision} is for CPUs; leave one out"
                )
        vectors = self.vector_names
        for name, way in self.searches.items():
            for vector in [*way.using, *([way.rescore] if way.rescore is not None else [])]:
                # Which vectors a source brings is known when it is looked at.
                if vectors and vector not in vectors:
                    raise ValueError(f"searches.{name}: {vector!r} is no vector of this job ({', '.join(vectors)})")
        if len({(sink.type, sink.identity) for sink in self.sink}) < len(self.sink):
            raise ValueError("sink: the same place is named twice")
        for number, sink in enumerate(self.sink):
            if sink.folder is not None and named_place(sink.folder) == named_place(self.dead_letters):
                shown = without_credentials(self.dead_letters)
                raise ValueError(f"errors.path: {shown} is the folder of sink.{number}; choose another one")
        return self

    @property
    def adds_vectors(self) -> bool:
        """Whether the job adds vectors to the collection that it reads, in place."""
        return self.reindex.mode == "add_vector"

    def refuse_without_sink(self) -> None:
        """Raise ConfigError where there is no place to write to."""
        if not self.sink:
            raise ConfigError(
                "sink: is missing, and a run writes its vectors; name one, as sink: {type: parquet, path: output}. In "
                "Python, EmbeddingPipeline gives the vectors without a sink: embed() as a Ray dataset, to_arrow(), "
                "to_pandas() and to_numpy() in memory"
            )

    @property
    def in_memory(self) -> bool:
        """Whether a sink is in the memory of this process, which then drives the job alone."""
        return any(getattr(sink, "in_memory", False) for sink in self.sink)

    @property
    def vector_names(self) -> list[str]:
        """Names of the vectors that a row gets, in the embeddings' order."""
        return [name for embedding in self.embeddings for name in embedding.vector_names]

    @property
    def takes_images(self) -> bool:
        """Whether any embedding is of images; a model that no catalog has is told of elsewhere."""
        for embedding in self.embeddings:
            with suppress(FleetembedError, ValueError, TypeError):
                if embedding.images:
                    return True
        return False

    @property
    def dead_letters(self) -> str:
        """Folder that dead letters are written to."""
        return self.errors.path or self._beside_report("dead_letters")

    @property
    def deleted_points(self) -> str | None:
        """Folder in which runs keep the ids of points that they delete; None for a job that deletes none."""
        deletes = self.source.deleted is not None or any(sink.deletions == "sweep" for sink in self.sink)
        return self._beside_report("deleted_points") if deletes else None

    @property
    def report_page(self) -> str:
        """File of the report as a page: beside it, with the ending .html in the place of .json."""
        return page_place(self.report)

    def _beside_report(self, folder: str) -> str:
        body, mark, options = self.report.partition("?") if is_url(self.report) else (self.report, "", "")
        parent, slash, _ = body.rpartition("/")
        return f"{parent}{slash}{folder}{mark}{options}"
