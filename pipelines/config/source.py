"""Where documents come from, and which columns they are in."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr, ValidationInfo, model_validator

from pipelines.config.collection import CollectionConfig
from pipelines.config.formats import FORMATS
from pipelines.config.readers import known_reader, public_readers
from pipelines.config.section import NonEmpty, Section

if TYPE_CHECKING:
    from pipelines.sources.memory.data import Data
    from pipelines.sources.memory.unread import Unread

AUTO = "auto"
# In the context of a validation: documents come from Python, or from nowhere, and the section need name no place.
NO_PLACE_NEEDED = "no_place_needed"
# Keys that say where documents are, and how to read files of them.
PLACES = ("path", "qdrant", "vectors", "ray")
OF_PLACES = (*PLACES, "arguments", "format", "delimiter")
# Keys that a collection's section goes with.
BESIDE_COLLECTION = frozenset(("qdrant", "limit"))
# Keys that go with sources whose rows have ids, payload and vectors.
BESIDE_VECTORS = frozenset(("vectors", "limit"))


def _known_format(name: str) -> str:
    if name == AUTO:
        return name
    choices = [AUTO, *(known.name for known in FORMATS)]
    if name in choices:
        return name
    near = get_close_matches(name, choices, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"input should be {', '.join(map(repr, choices[:-1]))} or {choices[-1]!r} (got {name!r}){hint}")


def _describe_formats(schema: dict[str, Any]) -> None:
    """Put the names of all formats into the JSON Schema, and which endings tell them."""
    told = "; ".join(f"{known.name}: {' '.join(known.endings)}" for known in FORMATS if known.endings)
    packed = ", ".join(known.name for known in FORMATS if known.is_compressible)
    schema["enum"] = [AUTO, *(known.name for known in FORMATS)]
    schema["description"] = f"{schema['description']} ({told}; .gz, .bz2 or .zst may follow that of {packed})"


def _describe_readers(schema: dict[str, Any]) -> None:
    """Put the names of all readers into the JSON Schema."""
    schema["anyOf"][0]["enum"] = list(public_readers())


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

    path: NonEmpty | Annotated[list[NonEmpty], Field(min_length=1)] | None = Field(
        None,
        description="File, folder or glob, or a list of them; local (~ is the home folder) or any fsspec/pyarrow URL. "
        "A folder that a glob matches is read as a folder; folders named key=value below the path give tables a "
        "column. What the job itself writes is never read",
    )
    qdrant: CollectionConfig | None = Field(
        None,
        description="In the place of path: a collection whose points are embedded anew; ids, document ids, chunks and "
        "payload stay as they are",
    )
    vectors: NonEmpty | Annotated[list[NonEmpty], Field(min_length=1)] | None = Field(
        None,
        description="In the place of path: files that bring vectors, which go into the sinks without any model: the "
        "folder of a Parquet sink, several of them whose rows are the same and whose vectors differ, or a file that "
        "qdrant-to-parquet wrote; embeddings and chunking are left out then",
    )
    ray: Annotated[NonEmpty, AfterValidator(known_reader)] | None = Field(
        None,
        description="In the place of path: the name of a public reader of Ray Data, a function of ray.data, whose rows "
        "are the documents. Ray reads them into its object store first, which spills to disk",
        json_schema_extra=_describe_readers,
    )
    arguments: dict[str, Any] = Field(
        {},
        description="Arguments of the reader that ray names, by name. A text that is all ${NAME} stands for that "
        "variable of the environment; {function: 'module:name', arguments: {...}} for a function of Python",
    )
    format: Annotated[str, AfterValidator(_known_format)] = Field(
        AUTO, description="auto goes by the file's ending", json_schema_extra=_describe_formats
    )
    id: str | None = Field(
        None,
        description="Column of document ids (also one of folders' names); without it an id is made from the content, "
        "of text and image files from the path",
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
    delimiter: str = Field(",", min_length=1, max_length=1, description="CSV only; .tsv has tabs")
    limit: int | None = Field(None, ge=1, description="Read at most so many documents")
    ids_are_unique: bool = Field(
        False,
        description="You vouch that no id comes twice (without id: no content), and the pass over all ids before "
        "anything is embedded is left out, unless sink.deletions: sweep or deleted needs it. If one comes twice all "
        "the same, its rows are embedded, none is a dead letter, each sink keeps one of them (Qdrant the one written "
        "last, Parquet any), and each later run embeds others again",
    )
    deleted: NonEmpty | None = Field(
        None,
        description="Column of a change feed that marks deletions. A row in which it is true (true, 1, or one of these "
        "as text) is not embedded: at the end of the run the points of its id leave every sink, all chunks. false, 0, "
        "null or nothing is a document as any other; another value is a dead row. Never in the payload. A feed has an "
        "id once, its last row: of an id that is there both deleted and not, the document stays",
    )

    # What documents come from in the place of files: here, so that it goes wherever the section goes.
    _data: Data | None = PrivateAttr(None)
    _unread: Unread | None = PrivateAttr(None)

    @property
    def data(self) -> Data | None:
        """The rows in memory that documents come from, if they do."""
        return self._data

    @property
    def unread(self) -> Unread | None:
        """What Ray is to read before there are documents, if anything."""
        if self._data is not None or self._unread is not None or self.ray is None:
            return self._unread
        # Late: it brings what reads files.
        from pipelines.sources.memory.unread import RayReader

        return RayReader(self.ray, self.arguments)

    @property
    def is_given(self) -> bool:
        """Whether documents come from what was given in Python."""
        return self._data is not None or self._unread is not None

    def given_as(self, other: SourceConfig) -> SourceConfig:
        """Let documents come from where they come from in another section, if that was given in Python."""
        if other._data is not None:
            return self.with_data(other._data)
        return self if other._unread is None else self.with_unread(other._unread)

    def with_data(self, data: Data) -> SourceConfig:
        """Let documents come from memory, whatever place the section names."""
        changed = self._without_place()
        changed._data = data
        return changed

    def with_unread(self, unread: Unread) -> SourceConfig:
        """Let Ray read the documents, whatever place the section names."""
        changed = self._without_place()
        changed._unread = unread
        return changed

    def _without_place(self) -> SourceConfig:
        """Take out what says where documents are, and how files of them are read."""
        fields = type(self).model_fields
        changed = self.model_copy(update={name: fields[name].get_default() for name in OF_PLACES})
        changed._data = changed._unread = None
        return changed

    @property
    def paths(self) -> list[str]:
        """The paths as a list; empty where documents come from a collection."""
        if self.path is None:
            return []
        return [self.path] if isinstance(self.path, str) else list(self.path)

    @property
    def vector_paths(self) -> list[str]:
        """The paths of files with vectors as a list; empty where the job makes its vectors."""
        if self.vectors is None:
            return []
        return [self.vectors] if isinstance(self.vectors, str) else list(self.vectors)

    @property
    def brings_vectors(self) -> bool:
        """Whether rows come with their vectors, so that no model is needed."""
        return self.vectors is not None or (self.qdrant is not None and self.qdrant.vectors)

    @property
    def max_image_bytes(self) -> int:
        """``max_image_mb`` in bytes."""
        return int(self.max_image_mb * 1e6)

    @property
    def local_places(self) -> list[tuple[str, str]]:
        """What is read that may be local to a machine: keys, and a path or URL each."""
        folder = self.qdrant.path if self.qdrant is not None else None
        return [
            *(("source.path", path) for path in self.paths),
            *(("source.vectors", path) for path in self.vector_paths),
            *([("source.qdrant.path", folder)] if folder else []),
        ]

    @model_validator(mode="after")
    def _one_place(self, info: ValidationInfo) -> SourceConfig:
        given = [name for name in PLACES if getattr(self, name) is not None]
        if self.vectors is not None and "ray" not in given:
            self._refuse_beside_vectors()
            return self
        if not given and info.context is not None and info.context.get(NO_PLACE_NEEDED):
            return self
        if len(given) != 1:
            told = f"{' and '.join(given)} are given" if given else "path is missing"
            raise ValueError(
                f"{told}; give exactly one of path (files), qdrant (a collection) and ray (a reader of Ray Data); what "
                "is in memory goes in Python into from_config(job, source=...)"
            )
        if self.arguments and self.ray is None:
            raise ValueError("arguments: they are of the reader that ray names; leave them out")
        if self.ray is not None and (self.format != AUTO or self.delimiter != ","):
            raise ValueError("format and delimiter are of files; what a reader takes stands in arguments")
        if self.qdrant is None:
            return self
        # Compared with defaults, since a configuration that was written out whole names all keys.
        fields = {name: field for name, field in type(self).model_fields.items() if name not in BESIDE_COLLECTION}
        extra = [name for name, field in fields.items() if getattr(self, name) != field.get_default()]
        if extra == ["text"]:
            raise ValueError("text: of a collection it stands in its own section: write qdrant.text")
        if extra:
            raise ValueError(
                f"{', '.join(extra)}: of no use beside qdrant, whose points have ids and payload; leave it out"
            )
        return self

    def _refuse_beside_vectors(self) -> None:
        fields = {name: field for name, field in type(self).model_fields.items() if name not in BESIDE_VECTORS}
        extra = [name for name, field in fields.items() if getattr(self, name) != field.get_default()]
        if extra:
            raise ValueError(
                f"{', '.join(extra)}: of no use beside vectors, whose rows have ids, payload and vectors; leave it out"
            )

    @model_validator(mode="after")
    def _deleted_names_documents(self) -> SourceConfig:
        if self.deleted is None:
            return self
        if self.id is None:
            raise ValueError("deleted needs id: the column that says which document a deletion is of")
        if self.deleted in (self.id, self.text, self.image):
            raise ValueError(f"deleted: the column {self.deleted!r} is that of id, text or image already")
        return self

    @model_validator(mode="after")
    def _image_keys_agree(self) -> SourceConfig:
        if self.image is not None and self.format != AUTO:
            # Late: what reads files is not loaded for the sake of a configuration.
            from pipelines.sources.formats import format_named

            if not format_named(self.format).is_table:
                raise ValueError(f"image names a column, and format {self.format} has none; leave image out")
        if self.image is not None and self.image in (self.text, self.id):
            raise ValueError(f"image: the column {self.image!r} is that of text or id already")
        if self.image_root is not None and self.image is None:
            raise ValueError("image_root needs image: the column whose paths start there")
        if re.match("https?://", self.image_root or "", re.IGNORECASE) and not self.http.allow:
            raise ValueError("image_root is on the web: set http.allow to true, or name a folder")
        return self
