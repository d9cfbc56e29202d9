"""Places that a job writes to."""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.config.section import NonEmpty, Section
from pipelines.errors import ConfigError
from pipelines.filesystem import without_credentials

SECRET_REFERENCE = re.compile(r"^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$")


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
