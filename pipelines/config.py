"""A job's configuration: one YAML file, checked before anything runs. Unknown keys are errors."""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from embedders.catalog import ModelCard, custom_card, find_card
from embedders.errors import FleetembedError
from embedders.factory import FAMILIES
from pipelines.errors import ConfigError
from pipelines.filesystem import without_credentials

SECRET_REFERENCE = re.compile(r"^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$")
RESERVED_COLUMNS = frozenset(
    (
        "id",
        "document_id",
        "chunk_no",
        "chunk_start",
        "chunk_end",
        "chunk_count",
        "held",
        "text",
        "payload",
        "content_hash",
        "origin",
        "error",
    )
)

# Families of models that embed images, alone or besides texts.

# A path that is empty would mean the folder the job is started in.
NonEmpty = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]+$")]


class Section(BaseModel):
    """Base of every part of a job: immutable, and strict about keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def _is_section(value: Any) -> str:
    return "<section>" if isinstance(value, dict | Section) else "<word>"


Word = TypeVar("Word")
Part = TypeVar("Part", bound=Section)
# A word, or a section of keys. Without the discriminator, both would complain of what fits neither; the tags in angle
# brackets are left out of messages.
WordOr = Annotated[
    Annotated[Word, Tag("<word>")] | Annotated[Part, Tag("<section>")],
    Discriminator(_is_section),
]


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


class PromptsConfig(Section):
    """What is put before queries and passages; a use that is left out has no prompt."""

    query: str = ""
    passage: str = ""


# Keys of a model of one's own that only some families know.
OWN_KEYS = {
    "pooling": ("dense", "image"),
    "prompts": ("dense",),
    "matryoshka": ("dense",),
    "normalize": ("dense", "static", "image"),
    "dim": ("dense", "static", "late_interaction", "image"),
    "output": ("dense", "splade", "neural_sparse", "bm42", "minicoil", "late_interaction", "image"),
    "requires_idf": ("splade", "neural_sparse", "bm42", "minicoil"),
}


class CustomModelConfig(Section):
    """A model that no catalog has: the files in a folder or a Hub repository, and what to do with its output."""

    name: NonEmpty | None = Field(None, description="What to call it; left out: the folder's or repository's")
    family: Literal["dense", "static", "splade", "neural_sparse", "bm42", "minicoil", "late_interaction", "image"] = (
        "dense"
    )
    path: NonEmpty | None = Field(None, description="Local folder with the model's files")
    hf: NonEmpty | None = Field(None, description="Repository on the Hugging Face hub")
    model_file: NonEmpty | None = Field(
        None, description="ONNX file; left out: the folder's only one, or onnx/model.onnx of a repository"
    )
    additional_files: list[NonEmpty] = Field(default_factory=list, description="Further files the model needs")
    output: int | str = Field(0, description="Graph output to use, by position or name")
    pooling: Literal["cls", "mean", "last_token", "none"] | None = Field(
        None, description="Of a dense model, where it is needed, or an image model"
    )
    normalize: bool = Field(True, description="Whether a dense model's vectors are scaled to unit length")
    dim: int | None = Field(None, ge=1, description="Numbers in a vector; checked against the graph")
    prompts: PromptsConfig | None = Field(None, description="What the model's card wants before texts")
    matryoshka: list[int] = Field(default_factory=list, description="Smaller dimensions that vectors may be cut to")
    requires_idf: bool | None = Field(None, description="Whether the store is to weigh a sparse model's terms by idf")
    license: str = ""
    options: dict[str, Any] = Field(default_factory=dict, description="Facts that the model's family wants to know")

    @model_validator(mode="after")
    def _is_whole(self) -> CustomModelConfig:
        if (self.path is None) == (self.hf is None):
            raise ValueError("give exactly one of path (a folder) and hf (a repository)")
        for name in self.model_fields_set & OWN_KEYS.keys():
            if self.family not in OWN_KEYS[name]:
                raise ValueError(f"{name} means nothing for a {self.family} model; leave it out")
        if self.family == "dense" and self.pooling is None:
            raise ValueError("pooling is needed: cls, mean, last_token, or none where the graph pools itself")
        return self

    def card(self) -> ModelCard:
        """Make the catalog card of this model; raises ModelFilesError for a folder without one ONNX file."""
        place = {"path": self.path} if self.path is not None else {"hf": self.hf}
        default = Path(self.path).expanduser().resolve().name if self.path is not None else self.hf
        model_file = "model.safetensors" if self.family == "static" and self.model_file is None else self.model_file
        return custom_card(
            self.family,
            model=self.name or default or "custom",
            sources=place,
            model_file=model_file,
            additional_files=tuple(self.additional_files),
            output=self.output,
            pooling=self.pooling or "none",
            normalize=self.normalize,
            dim=self.dim,
            prompts={} if self.prompts is None else self.prompts.model_dump(),
            matryoshka=tuple(self.matryoshka),
            requires_idf=self.family in ("bm42", "minicoil") if self.requires_idf is None else self.requires_idf,
            license=self.license,
            options=self.options,
        )


class EmbeddingConfig(Section):
    """One embedding of each row: its vector's name and the model that makes it."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", description="Name of the vector or column")
    model: WordOr[str, CustomModelConfig] = Field(description="A catalog model's name, or a model of your own")
    family: str | None = Field(
        None, description="image, where a catalog name means a text and an image model (jinaai/jina-clip-v1, siglip2)"
    )
    path: str | None = Field(None, description="Folder with the catalog model's files, instead of a download")
    text_path: str | None = Field(
        None, description="Of an image model: folder with the files of the text model that searches its space"
    )
    cache_dir: str | None = Field(None, description="Where downloaded models are kept")
    local_files_only: bool = Field(False, description="Never ask the network for a model")
    max_length: int | None = Field(None, ge=1, description="Token limit below the model's own")
    dim: int | None = Field(None, ge=1, description="Cut vectors to this dimension, where the model's card allows it")
    dtype: Literal["float32", "float16"] | None = Field(None, description="Numbers of dense and token vectors")
    prompts: WordOr[Literal["auto", "none"], PromptsConfig] = Field(
        "auto", description="What is put before each text: auto is what the model's card says"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Further arguments of the model's family")

    @field_validator("prompts", mode="before")
    @classmethod
    def _off_is_none(cls, prompts: Any) -> Any:
        # YAML reads a bare "no" or "off" as false, and an empty value as null.
        return "none" if prompts is False or prompts is None else prompts

    @model_validator(mode="after")
    def _path_is_the_models(self) -> EmbeddingConfig:
        if isinstance(self.model, CustomModelConfig) and self.path is not None:
            raise ValueError("path stands beside a model of your own: write it inside of model")
        return self

    @property
    def model_name(self) -> str:
        """The model's name, for people to read; raises as ``card`` does."""
        return self.model if isinstance(self.model, str) else self.card.model

    @property
    def card(self) -> ModelCard:
        """The model's card; raises ModelNotFoundError for a name that no catalog has."""
        if not isinstance(self.model, str):
            return self.model.card()
        return find_card(self.model, among=None if self.family is None else (self.family,))

    @property
    def images(self) -> bool:
        """Whether it embeds the rows' images, not their texts; raises as ``card`` does."""
        return FAMILIES[self.card.family].images

    @field_validator("family")
    @classmethod
    def _family_is_known(cls, family: str | None) -> str | None:
        if family is not None and family not in FAMILIES:
            raise ValueError(f"there is no family {family!r}; there are {', '.join(FAMILIES)}")
        return family

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        if name in RESERVED_COLUMNS:
            raise ValueError(f"{name!r} is the name of a column that every row has; choose another")
        return name


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
        for stage in self.compute.stages:
            if stage not in names:
                raise ValueError(f"compute.stages: {stage!r} is no embedding of this job ({', '.join(names)})")
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
