"""Plans the reading of a source on the driver: files, formats, splits, and whether the columns are there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from pipelines.config.source import SourceConfig
from pipelines.errors import SourceError
from pipelines.sources.base import Format, Outline
from pipelines.sources.files import FoundFile
from pipelines.sources.formats import ENDINGS, FOLDER_MARKS, FORMATS, format_named, format_of
from pipelines.sources.listing import find_files, refresh
from pipelines.sources.memory.plan import plan_data
from pipelines.sources.named_columns import check_columns
from pipelines.sources.partitions import partitions_of
from pipelines.sources.read import read_records
from pipelines.sources.records import READ_ERRORS
from pipelines.sources.split import PlannedRows, SourcePlan, Split, group_files, whole_file
from pipelines.sources.written import Written, WrittenPlaces
from pipelines.urls import Place, without_credentials

OUTLINE_THREADS = 16


def plan_source(config: SourceConfig, *, images: bool = True, written: Sequence[Written] = ()) -> SourcePlan:
    """Expand the source's paths and cut the files into splits of about 64 MB, in an order that never changes.

    Files below the places ``written`` are left out and counted, and so are those whose names are not UTF-8.

    Where ``format`` is auto, files whose ending tells nothing are passed over and counted; below a folder or glob, so
    are image files where ``images`` is False (nothing of the job takes images) or ``source.image`` names a column
    (they are what rows refer to). Below a folder, files of another format than ``format`` are, too. A folder that is
    one dataset (``Format.dataset_folders``) is read as that. With ``limit``, splits past it are left out; files that do
    not tell their number of rows are read for that.

    Of a collection, see ``plan_collection``, of files with vectors ``plan_vectors``, of rows in memory ``plan_data``.
    What Ray has yet to read has no splits.

    Raises SourceError where a path has no file, two files that are a document each would have one id, or a column that
    the configuration names is in no file (JSONL: in none of the first 1,000 lines of any); ConfigError where a path is
    one of ``written`` or lies in one.
    """
    if config.data is not None:
        return plan_data(config)
    if config.unread is not None:
        return SourcePlan((), data=PlannedRows(config.unread.title))
    if config.qdrant is not None:
        # Imported late: qdrant-client takes a second, and files need none.
        from pipelines.sources.qdrant.plan import plan_collection

        return plan_collection(config)
    if config.brings_vectors:
        from pipelines.sources.vectors.plan import plan_vectors

        return plan_vectors(config, written)
    own = WrittenPlaces(written, config.paths)
    chosen = _choose_files(config, own, images=images)
    files = list(chosen.files.values())
    _check_names(file for file, kind in files if kind.is_document)
    small = [split for kind in FORMATS if kind.is_small for split in _grouped(files, kind)]
    whole = _with_partitions([whole_file(file, kind.name) for file, kind in files if not kind.is_small], config)
    with ThreadPoolExecutor(OUTLINE_THREADS) as pool:
        outlines = list(pool.map(_outline, [*small, *whole]))
        notices = _format_notices(whole, pool.map(partial(_notices, config=config), whole))
    unmarked = check_columns(config, [*small, *whole], outlines, notices)
    splits = [*_named_apart(whole, outlines[len(small) :]), *small]
    limited = splits if config.limit is None else _limited(splits, config, config.limit)
    notices = [*own.notices(), *_unnamed_notices(chosen.unnamed), *notices]
    return SourcePlan(
        tuple(limited),
        chosen.skipped,
        own.files,
        len(chosen.unnamed),
        tuple(notices),
        listed=chosen.listed,
        unmarked=unmarked,
    )


def list_source(
    config: SourceConfig, *, images: bool = True, written: Sequence[Written] = ()
) -> dict[Place, FoundFile]:
    """List a source's files again, as they are now: see ``SourcePlan.listed``; raises as ``plan_source`` does."""
    if config.data is not None:
        return {}
    for path in config.paths:
        refresh(path)
    return _choose_files(config, WrittenPlaces(written, config.paths), images=images).listed


@dataclass(frozen=True)
class _Choice:
    """Files to read and their formats, other files that datasets are made of, and what is left out.

    ``skipped`` counts files of unknown kind, ``unnamed`` are names that are not UTF-8.
    """

    files: dict[Place, tuple[FoundFile, Format]]
    parts: dict[Place, FoundFile]
    skipped: int
    unnamed: set[str]

    @property
    def listed(self) -> dict[Place, FoundFile]:
        return {**self.parts, **{place: file for place, (file, _) in self.files.items()}}


def _choose_files(config: SourceConfig, own: WrittenPlaces, *, images: bool) -> _Choice:
    asked = None if config.format == "auto" else format_named(config.format)
    images = images and config.image is None
    chosen: dict[Place, tuple[FoundFile, Format]] = {}
    inside: dict[Place, FoundFile] = {}
    skipped: set[Place] = set()
    unnamed: set[str] = set()
    for path in config.paths:
        listing = find_files(path, FOLDER_MARKS)
        own.refuse(path, listing.base)
        unnamed |= listing.unnamed
        left_out = own.leave_out(listing)
        files = {place: file for place, file in listing.files.items() if place not in left_out}
        heads, parts = _dataset_folders(list(files.values()), asked)
        for place, file in files.items():
            if file.name in parts:
                inside[place] = file
                continue
            known = heads.get(file.name) or format_of(file.name)
            kind = asked or known
            if kind is None and file.by == "name":
                raise SourceError(
                    f"source.path {without_credentials(path)}: its name has no ending that tells its "
                    f"format; set source.format to what it holds: {', '.join(kind.name for kind in FORMATS)}"
                )
            if kind is None or _is_passed_over(file, kind, known, images=images or asked is not None):
                skipped.add(place)
            else:
                chosen.setdefault(place, (file, kind))
    if not chosen:
        raise SourceError(_nothing_chosen(config, own, skipped, unnamed))
    return _Choice(chosen, inside, len(skipped - set(chosen)), unnamed)


def _nothing_chosen(config: SourceConfig, own: WrittenPlaces, skipped: set[Place], unnamed: set[str]) -> str:
    paths = ", ".join(map(without_credentials, config.paths))
    others = [*own.notices(), *_unnamed_notices(unnamed)]
    if others and not skipped:
        return f"source.path {paths}: there is no file to read. {'. '.join(others)}"
    return (
        f"source.path {paths}: {len(skipped)} files, none of which has an ending that tells its format "
        f"({', '.join(ENDINGS)}) and that this job takes; set source.format"
    )


def _unnamed_notices(names: set[str]) -> list[str]:
    if not names:
        return []
    first = repr(os.fsencode(min(names)))[1:]
    files = "1 file has a name that is" if len(names) == 1 else f"{len(names):,} files have names that are"
    return [f"{files} not UTF-8, and not read (the first: {first}); rename what is to be read"]


def _with_partitions(splits: Sequence[Split], config: SourceConfig) -> list[Split]:
    """Give the files of tables the columns that the names of their folders have."""
    tables = [split for split in splits if format_named(split.format).is_table]
    texts = {name for name in (config.text, config.image) if name is not None}
    found = dict(zip(tables, partitions_of([split.name for split in tables], texts=texts), strict=True))
    return [replace(split, partitions=found.get(split, ())) for split in splits]


def _dataset_folders(files: Sequence[FoundFile], asked: Format | None) -> tuple[dict[str, Format], set[str]]:
    """Find folders as ``Format.dataset_folders`` does, of the format that was asked for, or of all."""
    heads: dict[str, Format] = {}
    parts: set[str] = set()
    for kind in FORMATS if asked is None else (asked,):
        its_heads, its_parts = kind.dataset_folders(files)
        heads |= dict.fromkeys(its_heads, kind)
        parts |= its_parts
    return heads, parts


def _is_passed_over(file: FoundFile, kind: Format, known: Format | None, *, images: bool) -> bool:
    if file.by == "name":
        return False
    if kind.folder_marks and known is not kind:
        return True
    return (kind.is_image and not images) or (file.by == "folder" and known not in (None, kind))


def _check_names(files: Iterable[FoundFile]) -> None:
    named: dict[str, FoundFile] = {}
    for file in files:
        if named.setdefault(file.name, file) is not file:
            raise SourceError(
                f"source.path: {named[file.name].path} and {file.path} would both have the id {file.name!r}; "
                "name the folder above both instead"
            )


def _grouped(files: Sequence[tuple[FoundFile, Format]], kind: Format) -> Iterator[Split]:
    return group_files((file for file, its in files if its is kind), kind.name)


def _outline(split: Split) -> Outline:
    try:
        return format_named(split.format).outline(split)
    except READ_ERRORS:
        return Outline((split,), ())


def _notices(split: Split, config: SourceConfig) -> Sequence[str]:
    return format_named(split.format).notices(split, config)


def _format_notices(splits: Iterable[Split], notices: Iterable[Sequence[str]]) -> list[str]:
    """Name the first file of each notice, and count the others."""
    names: dict[str, list[str]] = {}
    for split, its in zip(splits, notices, strict=True):
        for notice in its:
            names.setdefault(notice, []).append(split.name)
    return [f"{_first_of(files)}: {notice}" for notice, files in names.items()]


def _first_of(names: Sequence[str]) -> str:
    others = len(names) - 1
    return f"{names[0]} and {others:,} more file{'s' if others > 1 else ''}" if others else names[0]


def _named_apart(whole: Sequence[Split], outlines: Iterable[Outline]) -> Iterator[Split]:
    """Cut the files, and name by their paths those that would have one name."""
    names = Counter(split.name for split in whole)
    for split, outline in zip(whole, outlines, strict=True):
        yield from (piece if names[split.name] == 1 else replace(piece, name=piece.path) for piece in outline.splits)


def _limited(splits: Iterable[Split], config: SourceConfig, limit: int) -> Iterator[Split]:
    for split in splits:
        if limit <= 0:
            return
        cut = replace(split, max_rows=limit)
        limit -= sum(1 for _ in read_records(cut, config)) if split.rows is None else split.rows
        yield cut
