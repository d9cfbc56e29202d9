"""The section of a job's configuration for a Qdrant collection."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from pipelines.config.deletions import MAX_DELETE, Deletions, MaxDelete
from pipelines.config.reuse import ReuseMoved
from pipelines.config.secrets import read_qdrant_key, refuse_plain_key
from pipelines.config.section import NonEmpty, Place, Section
from pipelines.errors import ConfigError
from pipelines.sinks.qdrant.folder_engine import MEMORY, Engine
from pipelines.urls import is_url, without_credentials

if TYPE_CHECKING:
    from embedders.base import VectorSpec

# Qdrant's own limit (its validation of VectorParams.size).
MOST_NUMBERS = 65_536
# Under which a sink keeps a point's text.
TEXT_KEY = "text"


class QdrantSinkConfig(Section):
    """A Qdrant collection, on a server (``url``) or in a folder (``path``, by an embedded engine)."""

    secrets: ClassVar[frozenset[str]] = frozenset(("api_key",))

    type: Literal["qdrant"] = Field(description="The kind of sink")
    collection: str = Field(
        "",
        max_length=255,
        pattern=r"^[^/\\\s]*$",
        description="Name of the collection, which is made where it is missing",
    )
    # Shorter than a collection's name, which is made of it.
    alias: str | None = Field(
        None,
        min_length=1,
        max_length=240,
        pattern=r"^[^/\\\s]+$",
        description="In the place of collection, on a server: the name that searchers use. The job fills a collection "
        "that is named after it and the job's fingerprint, and fleetembed reindex lets the alias name that one",
    )
    url: NonEmpty | None = Field(None, description="The server, as http://localhost:6333")
    path: Place | None = Field(
        None,
        description="In the place of url: a folder of this machine, without a server; or :memory:, of this process",
    )
    engine: Engine | None = Field(
        None,
        description="Of a folder (path): edge, Qdrant's own engine in this process, or local, qdrant-client's for few "
        "points. Left out: that which made the folder, and of a new one edge, where qdrant-edge-py is installed",
    )
    api_key: str | None = Field(None, description="${NAME} of an environment variable; QDRANT_API_KEY when left out")
    prefer_grpc: bool = Field(False, description="Write to the server by gRPC where it can")
    grpc_port: int = Field(6334, ge=1, le=65535, description="The server's port for gRPC")
    timeout: float = Field(60, gt=0, description="Seconds a request may take")
    writers: int = Field(2, ge=1, description="Writers at once (a folder has one)")
    batch_points: int = Field(256, ge=1, description="Points a request has at most")
    batch_mb: float = Field(4, gt=0, le=32, description="Megabytes a request has at most, about")
    retry_seconds: float = Field(
        300,
        ge=0,
        description="How long one batch is tried again before the job fails, or a point that alone fails is rejected",
    )
    bulk_load: bool | Literal["auto"] = Field(
        "auto", description="Indexing off while loading, then on again; auto does so for a collection that is empty"
    )
    store_text: bool = Field(True, description="Keep the text in the payload")
    deletions: Deletions = "keep"
    max_delete: MaxDelete = MAX_DELETE
    reuse_moved: ReuseMoved = False
    shards: int | None = Field(None, ge=1, description="Shards of a new collection; the server's choice when left out")
    replication_factor: int | None = Field(None, ge=1, description="Copies of each shard of a new collection")
    on_disk: bool | None = Field(None, description="Keep the original dense vectors on disk")
    on_disk_payload: bool | None = Field(None, description="Keep payloads on disk; the server's choice when left out")
    quantization: Literal["scalar", "binary", "product"] | None = Field(
        None, description="How dense vectors are made smaller in memory, beside the original ones"
    )
    payload_indexes: dict[str, Literal["keyword", "integer", "float", "bool", "datetime", "text", "uuid", "geo"]] = (
        Field(default_factory=dict, description="Payload field -> type, made before the upload")
    )

    @property
    def searched(self) -> str:
        """The name that searchers ask, which is the alias where there is one: it follows a switch."""
        return self.alias or self.collection

    @property
    def address(self) -> str:
        """The server's URL without credentials, or the folder's path."""
        return without_credentials(self.url or self.path or "")

    @property
    def place(self) -> str:
        """The collection and where it is, for people to read."""
        return f"{self.searched} at {self.address}"

    @property
    def title(self) -> str:
        """The place as messages begin with it."""
        return f"Qdrant collection {self.searched!r} at {self.address}"

    @property
    def in_memory(self) -> bool:
        """Whether the collection is in the memory of this process, and ends with it."""
        return self.path == MEMORY

    @property
    def folder(self) -> str | None:
        """The folder that it writes to; None where it writes to a server, or to memory."""
        return None if self.in_memory else self.path

    @property
    def identity(self) -> Hashable:
        """What sections of one collection have in common."""
        return self.url, self.path, self.searched

    @model_validator(mode="after")
    def _one_name(self) -> QdrantSinkConfig:
        if bool(self.collection) == (self.alias is not None):
            raise ValueError("give exactly one of collection (what is filled) and alias (what searchers ask)")
        if self.alias is not None and self.path is not None:
            raise ValueError(
                "alias needs a server (url): a collection in a folder (path) is replaced by another path or collection"
            )
        return self

    @model_validator(mode="after")
    def _one_place(self) -> QdrantSinkConfig:
        if (self.url is None) == (self.path is None):
            raise ValueError("give exactly one of url (a server) and path (a folder)")
        if self.engine is not None and self.path is None:
            raise ValueError("engine is of a folder (path); a server has its own, so leave it out")
        if self.path == MEMORY and self.engine == "edge":
            raise ValueError("path: :memory: is of qdrant-client's engine: leave engine out, or give a folder as path")
        if self.path is not None and is_url(self.path):
            raise ValueError(
                f"path: {without_credentials(self.path)} is a URL, and a collection's folder is on a disk; give its "
                "path, or a server with url, or write Parquet there with type: parquet"
            )
        refuse_plain_key(self.api_key)
        return self

    def refuse_vectors(self, vectors: Mapping[str, VectorSpec]) -> None:
        """Raise ConfigError for a vector of more numbers than Qdrant takes."""
        for name, spec in vectors.items():
            if (spec.dim or 0) > MOST_NUMBERS:
                raise ConfigError(
                    f"embeddings: the vector {name} has {spec.dim:,} numbers, and Qdrant takes {MOST_NUMBERS:,} at "
                    "most; lower muvera.k_sim, dim_proj or r_reps, or set muvera.final_dim"
                )

    def secret(self) -> str | None:
        """Read the API key from the environment; raises ConfigError when the named variable is not set."""
        return read_qdrant_key(self.api_key, "sink.api_key")
