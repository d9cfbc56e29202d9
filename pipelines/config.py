"""A job's configuration: one YAML file, checked before anything runs. Unknown keys are errors."""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from embedders.errors import FleetembedError
from pipelines.config_models import EmbeddingConfig
from pipelines.config_search import SearchConfig
from pipelines.config_section import NonEmpty, Section
from pipelines.errors import ConfigError
from pipelines.filesystem import without_credentials

SECRET_REFERENCE = re.compile(r"^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$")


class HttpConfig(Section):
    """How images are fetched that rows name by an http or https URL: only if allowed, and only so much."""

    allow: bool = Field(False, description="Fetch such images; without it their rows are dead")
    max_mb: float = Field(20, gt=0, le=2000, description="Megabytes an image may have")
    timeout: float = Field(20, gt=0, le=3600, description="Seconds for one image, redirects and retries included")
    private_addresses: bool = Field(
        False, description="Connect also to hosts of the local network and of this machine, not only to public ones"
    )


class SourceConfig(Section):
    """Where documents come from, and which columns they are in."""

    path: NonEmpty | Annotated[list[NonEmpty], Field(min_length=1)] = Field(
        description="File, folder or glob, or a list of them; local or any fsspec/pyarrow URL"
    )
    format: Literal["auto", "parquet", "jsonl", "csv", "text", "image", "webdataset"] = Field(
        "auto",
        description="auto goes by the file's ending (.parquet, .jsonl, .csv, .txt, .md, with .gz where text; .jpg, "
        ".png and other images; .tar is webdataset)",
    )
    id: str | None = Field(
        None,
        description="Column of document ids; without it an id is made from the content, of text and image files from "
        "the path",
    )
    text: str = Field("text", description="Column of the text to embed; where images are it may be missing")
    image: NonEmpty | None = Field(
        None,
        description="Column of images: content of an image file, a path or URL, or a struct {bytes, path} as Hugging "
        "Face datasets have; a path stays in the payload",
    )
    image_root: NonEmpty | None = Field(
        None,
        description="Folder or URL that relative paths of images start from; left out: the folder of the data file",
    )
    max_image_mb: float = Field(
        100, gt=0, le=2000, description="Megabytes an image may have; a larger one's row is dead"
    )
    exif: bool = Field(False, description="Keep the camera's EXIF data of images in the payload, under exif")
    http: HttpConfig = HttpConfig()
    payload: list[str] | Literal["all"] = Field("all", description="Columns to keep; all keeps every other column")
    delimiter: str = Field(",", min_length=1, max_length=1, description="CSV only")
    limit: int | None = Field(None, ge=1, description="Read at most so many documents")

    @property
    def paths(self) -> list[str]:
        """The paths as a list."""
        return [self.path] if isinstance(self.path, str) else list(self.path)

    @property
    def max_image_bytes(self) -> int:
        """``max_image_mb`` in bytes."""
        return int(self.max_image_mb * 1e6)

    @model_validator(mode="after")
    def _image_keys_agree(self) -> SourceConfig:
        if self.image is not None and self.format in ("text", "image", "webdataset"):
            raise ValueError(f"image names a column, and format {self.format} has none; leave image out")
        if self.image is not None and self.image in (self.text, self.id):
            raise ValueError(f"image: the column {self.image!r} is that of text or id already")
        if self.image_root is not None and self.image is None:
            raise ValueError("image_root needs image: the column whose paths start there")
        if re.match("https?://", self.image_root or "", re.IGNORECASE) and not self.http.allow:
            raise ValueError("image_root is on the web: set http.allow to true, or name a folder")
        return self


class ChunkingConfig(Section):
    """How long documents are cut into chunks, each of which becomes a point."""

    tokenizer: str = Field(description="Folder with a tokenizer.json, such a file, or a catalog model's name")
    max_tokens: int = Field(
        256, ge=8, le=1_000_000, description="Tokens a chunk has at most, special tokens not counted"
    )
    overlap: int = Field(32, ge=0, description="Tokens that a chunk repeats from the one before")
    boundary: Literal["paragraph", "sentence", "none"] = Field(
        "sentence", description="Where a chunk ends if such a place is near; paragraph falls back to sentence"
    )

    @model_validator(mode="after")
    def _overlap_is_smaller(self) -> ChunkingConfig:
        if self.overlap > self.max_tokens // 2:
            raise ValueError(f"overlap {self.overlap} is more than half of max_tokens {self.max_tokens}")
        return self


class QdrantSinkConfig(Section):
    """A Qdrant collection, on a server (``url``) or in a folder (``path``, qdrant-client's embedded engine)."""

    type: Literal["qdrant"]
    collection: str = Field(min_length=1, max_length=255, pattern=r"^[^/\\\s]+$")
    url: NonEmpty | None = None
    path: NonEmpty | None = None
    api_key: str | None = Field(None, description="${NAME} of an environment variable; QDRANT_API_KEY when left out")
    prefer_grpc: bool = False
    grpc_port: int = Field(6334, ge=1, le=65535)
    timeout: float = Field(60, gt=0, description="Seconds a request may take")
    writers: int = Field(2, ge=1, description="Writers at once (a folder has one)")
    batch_points: int = Field(256, ge=1, description="Points a request has at most")
    batch_mb: float = Field(4, gt=0, le=32, description="Megabytes a request has at most, about")
    retry_seconds: float = Field(300, ge=0, description="How long one batch is tried again before the job fails")
    bulk_load: bool | Literal["auto"] = Field(
        "auto", description="Indexing off while loading, then on again; auto does so for a collection that is empty"
    )
    store_text: bool = Field(True, description="Keep the text in the payload")
    shards: int | None = Field(None, ge=1)
    replication_factor: int | None = Field(None, ge=1)
    on_disk: bool | None = Field(None, description="Keep the original dense vectors on disk")
    on_disk_payload: bool | None = None
    quantization: Literal["scalar", "binary", "product"] | None = None
    payload_indexes: dict[str, Literal["keyword", "integer", "float", "bool", "datetime", "text", "uuid", "geo"]] = (
        Field(default_factory=dict, description="Payload field -> type, made before the upload")
    )

    @property
    def place(self) -> str:
        """Server or folder, for people to read."""
        return f"{self.collection} at {without_credentials(self.url or self.path or '')}"

    @model_validator(mode="after")
    def _one_place(self) -> QdrantSinkConfig:
        if (self.url is None) == (self.path is None):
            raise ValueError("give exactly one of url (a server) and path (a folder)")
        if self.api_key is not None and not SECRET_REFERENCE.match(self.api_key):
            raise ValueError("a key must not stand in a configuration: write ${QDRANT_API_KEY} and set that variable")
        return self

    def secret(self) -> str | None:
        """Read the API key from the environment; raises ConfigError when the named variable is not set."""
        if self.api_key is None:
            return os.environ.get("QDRANT_API_KEY")
        name = self.api_key[2:-1]
        if name not in os.environ:
            raise ConfigError(f"sink.api_key: the environment variable {name} is not set")
        return os.environ[name]


class ParquetSinkConfig(Section):
    """A folder of Parquet files, local or any fsspec/pyarrow URL."""

    type: Literal["parquet"]
    path: NonEmpty
    writers: int = Field(1, ge=1)
    compression_level: int = Field(3, ge=1, le=22, description="zstd level")
    store_text: bool = Field(True, description="Keep the text as a column")

    @property
    def place(self) -> str:
        """The folder, for people to read."""
        return without_credentials(self.path)


SinkConfig = Annotated[QdrantSinkConfig | ParquetSinkConfig, Field(discriminator="type")]


class StageConfig(Section):
    """Placement of one embedding's actor pool; what is left out is chosen from the cluster."""

    workers: int | None = Field(None, ge=1, description="Actors")
    cpus: float | None = Field(None, ge=0, description="CPUs Ray sets aside for an actor")
    gpus: float | None = Field(None, ge=0, description="GPUs an actor")
    threads: int | None = Field(None, ge=1, description="ONNX Runtime threads an actor")
    token_budget: int | None = Field(None, ge=1, description="Padded tokens a model batch has at most")


class ComputeConfig(Section):
    """The cluster, and how much of it the job may use."""

    address: str | None = Field(None, description="Ray address; left out: the cluster around, else a local one")
    cpus: int | None = Field(None, ge=1, description="CPUs of a local Ray")
    object_store_mb: int = Field(512, ge=80, description="Object store of a local Ray, megabytes")
    block_rows: int = Field(
        1024, ge=1, le=1_000_000, description="Rows embedded and committed together; resume repeats at most these"
    )
    stages: dict[str, StageConfig] = Field(default_factory=dict, description="Embedding's name -> its placement")
    max_retries: int = Field(3, ge=0, description="How often a block is tried again when its worker died")
    stall_seconds: int = Field(1800, ge=10, description="Give up when no block moved for so long")


class ErrorsConfig(Section):
    """What becomes of rows that cannot be embedded or written."""

    max_rate: float = Field(0.01, ge=0, le=1, description="Share of dead rows past which the job stops")
    min_rows: int = Field(1000, ge=1, description="Rows to see before the share counts (the end always counts)")
    path: str | None = Field(None, description="Folder of dead letters; left out: dead_letters beside the report")


class JobConfig(Section):
    """One job: source -> chunks -> embeddings -> sinks."""

    corpus: str = Field("default", min_length=1, description="Namespace of the point ids")
    source: SourceConfig
    chunking: ChunkingConfig | None = None
    embeddings: list[EmbeddingConfig] = Field(min_length=1)
    sink: list[SinkConfig] = Field(min_length=1)
    compute: ComputeConfig = ComputeConfig()
    errors: ErrorsConfig = ErrorsConfig()
    searches: dict[NonEmpty, SearchConfig] = Field(
        default_factory=dict, description="Ways to search the collection, by name, for jobs/search.py and evaluate.py"
    )
    report: NonEmpty = Field("run_report.json", description="File of the run's report")

    @field_validator("sink", mode="before")
    @classmethod
    def _one_sink_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _names_agree(self) -> JobConfig:
        names = [embedding.name for embedding in self.embeddings]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"embeddings: the name {twice[0]!r} is used twice")
        for embedding in self.embeddings:
            if embedding.keeps_multivector and embedding.multivector_name in names:
                raise ValueError(
                    f"embeddings: {embedding.multivector_name!r} is the name of {embedding.name}'s multivectors; "
                    "choose another for the embedding of that name"
                )
        for stage in self.compute.stages:
            if stage not in names:
                raise ValueError(f"compute.stages: {stage!r} is no embedding of this job ({', '.join(names)})")
        vectors = [name for embedding in self.embeddings for name in embedding.vector_names]
        for name, way in self.searches.items():
            for vector in [*way.using, *([way.rescore] if way.rescore is not None else [])]:
                if vector not in vectors:
                    raise ValueError(f"searches.{name}: {vector!r} is no vector of this job ({', '.join(vectors)})")
        places = [json.dumps(sink.model_dump(include={"type", "url", "path", "collection"})) for sink in self.sink]
        if len(set(places)) < len(places):
            raise ValueError("sink: the same place is named twice")
        return self

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
        if self.errors.path:
            return self.errors.path
        parent, slash, _ = self.report.rpartition("/")
        return f"{parent}{slash}dead_letters"


def fingerprint(embeddings: dict[str, str], chunking: ChunkingConfig | None, tokenizer: str | None = None) -> str:
    """Hex sha256 over what changes a job's vectors: each embedding's own fingerprint, by name, and the chunking.

    ``tokenizer`` is the content of the chunking's tokenizer.json: that counts, and not where the file lies.
    """
    cuts = None
    if chunking is not None:
        digest = hashlib.sha256((tokenizer or "").encode()).hexdigest()
        cuts = {**chunking.model_dump(exclude={"tokenizer"}), "tokenizer": digest}
    return hashlib.sha256(json.dumps({"embeddings": embeddings, "chunking": cuts}, sort_keys=True).encode()).hexdigest()
