"""The sets of files that ``source.vectors`` names, a path each, and whether they can be read."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations

import pyarrow as pa

from pipelines.config.source import SourceConfig
from pipelines.errors import SourceError
from pipelines.fingerprints import held_chunking
from pipelines.sources.files import FoundFile, filesystem_of
from pipelines.sources.listing import Listing, find_files
from pipelines.sources.vectors.files import Content, content_of, opened
from pipelines.urls import without_credentials

READERS = 16
SUCCESS = "_SUCCESS"


@dataclass(frozen=True)
class VectorSet:
    """The files of one path, which have the same vectors by the same models; ``content`` is that of the first."""

    path: str
    listing: Listing
    files: tuple[FoundFile, ...]
    content: Content

    @property
    def shown(self) -> str:
        """The path, for people to read."""
        return without_credentials(self.path)


def find_sets(source: SourceConfig) -> list[VectorSet]:
    """Find the files of each path and read what they say of themselves.

    Raises SourceError for a file that cannot be read or has other vectors than the first, for a folder whose run did
    not end, and where two paths have one vector.
    """
    sets = [_find_set(path) for path in source.vector_paths]
    if len(sets) > 1 and (foreign := next((one for one in sets if one.content.exported), None)):
        raise SourceError(
            f"source.vectors: {foreign.shown} is an export of a collection, which is read by itself alone"
        )
    named: dict[str, VectorSet] = {}
    for one in sets:
        for vector in one.content.specs:
            if (first := named.setdefault(vector, one)) is not one:
                raise SourceError(
                    f"source.vectors: {first.shown} and {one.shown} both have the vector {vector!r}; name one of them, "
                    "or load one after the other"
                )
        if one.content.provenance.get("chunked") != sets[0].content.provenance.get("chunked"):
            raise SourceError(f"source.vectors: documents are cut in one of {sets[0].shown} and {one.shown} alone")
    for first, second in combinations(sets, 2):
        _refuse_disagreeing(first, second)
    return sets


def _refuse_disagreeing(first: VectorSet, second: VectorSet) -> None:
    """Raise SourceError where no one job can have made the vectors of two sets."""
    its, others = (held_chunking(one.content.provenance) for one in (first, second))
    if its is not None and others is not None and its != others:
        keys = [key for key in its if its[key] != others.get(key)]
        one, other = (", ".join(f"{key} {cut.get(key)}" for key in keys) for cut in (its, others))
        raise SourceError(
            f"source.vectors: documents are cut otherwise in {first.shown} ({one}) than in {second.shown} ({other}); "
            "run both jobs with one chunking"
        )
    embeddings = [(one.content.provenance.get("embeddings") or {}).keys() for one in (first, second)]
    if twice := sorted(embeddings[0] & embeddings[1]):
        raise SourceError(
            f"source.vectors: {first.shown} and {second.shown} both have an embedding {twice[0]!r}, and a search would "
            "not know which one makes its queries; give it another name in one of the jobs that made them"
        )


def _find_set(path: str) -> VectorSet:
    try:
        listing = find_files(path)
    except SourceError as error:
        raise SourceError(str(error).replace("source.path", "source.vectors", 1)) from None
    files = tuple(file for file in listing.files.values() if file.path.endswith((".parquet", ".pq")))
    if not files:
        raise SourceError(f"source.vectors {without_credentials(path)}: there is no Parquet file")
    with ThreadPoolExecutor(READERS) as pool:
        contents = list(pool.map(_content, files))
    first = contents[0]
    for file, content in zip(files, contents, strict=True):
        if content.exported != first.exported or content.specs != first.specs or _made(content) != _made(first):
            raise SourceError(
                f"source.vectors {without_credentials(path)}: {files[0].name} and {file.name} were made by different "
                "jobs (other vectors, models, settings or corpora); name the files of one of them"
            )
    if not first.exported:
        _refuse_unfinished(files)
    return VectorSet(path, listing, files, first)


def _made(content: Content) -> tuple[object, ...]:
    return content.provenance["fingerprint"], content.provenance.get("corpus")


def _content(file: FoundFile) -> Content:
    try:
        with opened(file.root, file.path) as parquet:
            return content_of(parquet, file.name)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(
            f"source.vectors: {file.name} cannot be read ({error}); if it is damaged, delete it and run the job that "
            "made it again, which embeds its rows anew"
        ) from None


def _refuse_unfinished(files: Sequence[FoundFile]) -> None:
    """Raise SourceError for a folder of a Parquet sink that is not what a completed run left.

    Rows may be in it twice then, the older ones too, and others not yet.
    """
    for root, folder in sorted({(file.root, posixpath.dirname(file.path)) for file in files}):
        if not filesystem_of(root).get_file_info(f"{folder}/{SUCCESS}").is_file:
            raise SourceError(
                f"source.vectors: {folder} has no {SUCCESS}: the run that fills it goes on, or was stopped before the "
                "end. Run its job to the end first"
            )
