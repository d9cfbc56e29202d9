"""The section of a job's configuration for a Qdrant collection that documents are read from."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from pipelines.config.secrets import read_qdrant_key, refuse_plain_key
from pipelines.config.section import NonEmpty, Place, Section
from pipelines.urls import is_url, without_credentials


class CollectionConfig(Section):
    """A Qdrant collection, on a server (``url``) or in a folder (``path``), each of whose points is a document."""

    collection: str = Field(
        min_length=1, max_length=255, pattern=r"^[^/\\\s]+$", description="Name of a collection, or of an alias"
    )
    url: NonEmpty | None = Field(None, description="The server, as http://localhost:6333")
    path: Place | None = Field(
        None, description="Folder of an embedded engine, edge or local; it is read by one reader"
    )
    text: NonEmpty = Field("text", description="Key of the payload that holds the text to embed")
    vectors: bool = Field(
        False,
        description="Take the points' vectors as they are, and run no model: the collection is copied. embeddings and "
        "chunking are left out then",
    )
    filter: dict[str, Any] | str | list[str] | None = Field(
        None, description="Read only points that match: Qdrant's filter, or conditions such as lang=de and year>=2020"
    )
    api_key: str | None = Field(None, description="${NAME} of an environment variable; QDRANT_API_KEY when left out")
    prefer_grpc: bool = Field(False, description="Ask the server by gRPC where it can")
    grpc_port: int = Field(6334, ge=1, le=65535, description="The server's port for gRPC")
    timeout: float = Field(60, gt=0, description="Seconds a request may take")
    retry_seconds: float = Field(300, ge=0, description="How long one page is asked for again before the job fails")
    readers: int = Field(2, ge=1, description="Ranges that are read at once, at most; each page keeps writers waiting")
    page_points: int = Field(512, ge=1, le=10_000, description="Points a page has at most")
    page_mb: float = Field(8, gt=0, le=256, description="Megabytes a page has, about, at most")

    @property
    def address(self) -> str:
        """The server's URL without credentials, or the folder's path."""
        return without_credentials(self.url or self.path or "")

    @property
    def title(self) -> str:
        """The place as messages begin with it."""
        return f"collection {self.collection} at {self.address}"

    @model_validator(mode="after")
    def _one_place(self) -> CollectionConfig:
        if (self.url is None) == (self.path is None):
            raise ValueError("give exactly one of url (a server) and path (a folder)")
        if self.path is not None and is_url(self.path):
            raise ValueError(f"path: {self.address} is a URL, and a collection's folder is on a disk; write url for it")
        refuse_plain_key(self.api_key)
        return self

    @model_validator(mode="after")
    def _copied_whole(self) -> CollectionConfig:
        if self.vectors and self.text != type(self).model_fields["text"].get_default():
            raise ValueError("text: of no use beside vectors, which brings payloads as they are; leave it out")
        return self

    def secret(self) -> str | None:
        """Read the API key from the environment; raises ConfigError when the named variable is not set."""
        return read_qdrant_key(self.api_key, "source.qdrant.api_key")
