"""The section of a job's configuration for a folder of Parquet files."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from pipelines.config.deletions import MAX_DELETE, Deletions, MaxDelete
from pipelines.config.reuse import ReuseMoved
from pipelines.config.section import Place, Section
from pipelines.urls import named_place, without_credentials

if TYPE_CHECKING:
    from embedders.base import VectorSpec


class ParquetSinkConfig(Section):
    """A folder of Parquet files, local or any fsspec/pyarrow URL."""

    secrets: ClassVar[frozenset[str]] = frozenset()

    type: Literal["parquet"] = Field(description="The kind of sink")
    path: Place = Field(description="Folder of the files, or its URL")
    writers: int = Field(1, ge=1, description="Writers at once, each of files of its own")
    compression_level: int = Field(3, ge=1, le=22, description="zstd level")
    layout: Literal["fleetembed", "qdrant"] = Field(
        "fleetembed",
        description="Columns of the files: qdrant is that of qdrant-to-parquet, an export of points, which is written "
        "once and not added to",
    )
    store_text: bool = Field(True, description="Keep the text as a column")
    payload: Literal["json", "columns"] = Field(
        "json",
        description="How the payload is kept: json, one column with an object; columns, one for each of its keys, "
        "typed by the values of rows looked at before the first file is written; what does not fit stays in the column "
        "payload",
    )
    deletions: Deletions = "keep"
    max_delete: MaxDelete = MAX_DELETE
    reuse_moved: ReuseMoved = False

    @model_validator(mode="after")
    def _an_export_is_written_once(self) -> ParquetSinkConfig:
        if self.layout == "qdrant" and self.deletions == "sweep":
            raise ValueError("deletions: sweep has nothing to sweep with layout: qdrant, which is written once")
        if self.layout == "qdrant" and self.payload == "columns":
            raise ValueError("payload: columns goes with layout: fleetembed; an export keeps its payload as JSON")
        if self.layout == "qdrant" and self.reuse_moved:
            raise ValueError("reuse_moved has nothing to take from with layout: qdrant, which is written once")
        return self

    @property
    def place(self) -> str:
        """The folder, for people to read."""
        return without_credentials(self.path)

    @property
    def folder(self) -> str:
        """The folder that it writes to."""
        return self.path

    @property
    def retry_seconds(self) -> float:
        """How long the folder's store is asked again; 0 for a local folder."""
        # Imported by need: the JSON Schema of a job does without Arrow.
        from pipelines.filesystem import seconds_of_retries

        return seconds_of_retries(self.path)

    @property
    def identity(self) -> Hashable:
        """What sections of one folder have in common."""
        return named_place(self.path)

    def refuse_vectors(self, vectors: Mapping[str, VectorSpec]) -> None:
        """Refuse none: a column takes vectors of any size."""
