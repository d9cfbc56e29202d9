"""Plans the reading of a source on the driver: files, formats, splits, and whether the columns are there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from difflib import get_close_matches
from itertools import islice

from pipelines.config.source import SourceConfig
from pipelines.errors import SourceError
from pipelines.filesystem import without_credentials
from pipelines.sources.files import FoundFile, find_files
from pipelines.sources.formats import COMPRESSIONS, ENDINGS, format_of
from pipelines.sources.parquet import Footer, read_footer
from pipelines.sources.read import READ_ERRORS, read_records
from pipelines.sources.split import Format, ImageFile, SourcePlan, Split
from pipelines.sources.text_formats import csv_columns

SPLIT_BYTES = 64 << 20
IMAGES_A_SPLIT = 500
FOOTER_THREADS = 16
# So many lines of each JSONL file are looked at for a column that no line before had.
SAMPLE_LINES = 1000
SHOWN_COLUMNS = 30
# Formats whose rows have the columns that a configuration names.
TABLES = ("parquet", "jsonl", "csv")


def plan_source(config: SourceConfig, *, images: bool = True) -> SourcePlan:
    """Expand the source's paths and cut the files into splits of about 64 MB, in an order that never changes.

    Where ``format`` is auto, files whose ending tells nothing are passed over and counted; below a folder or glob, so
    are image files where ``images`` is False (nothing of the job takes images) or ``source.image`` names a column
    (they are what rows refer to). Below a folder, files of another format than ``format`` are, too. With ``limit``,
    splits past it are left out; files that do not tell their number of rows are read for that.

    Raises SourceError where a path has no file, two text or image files would have one id, or a column that the
    configuration names is in no file (JSONL: in none of the first 1,000 lines of any).
    """
    files, skipped = _choose_files(config, images=images and config.image is None)
    pictures = [ImageFile(file.root, file.path, file.name, file.bytes) for file, kind in files if kind == "image"]
    whole = [_whole(file, kind) for file, kind in files if kind != "image"]
    _check_names([*pictures, *(split for split in whole if split.format == "text")])
    with ThreadPoolExecutor(FOOTER_THREADS) as pool:
        footers = list(pool.map(_footer, whole))
    _check_columns(config, whole, footers, pictures)
    twice = {name for name, count in Counter(split.name for split in whole).items() if count > 1}
    named = [replace(split, name=split.path) if split.name in twice else split for split in whole]
    splits = [piece for split, footer in zip(named, footers, strict=True) for piece in _cut(split, footer)]
    splits += group_images(pictures)
    return SourcePlan(tuple(splits if config.limit is None else _limited(splits, config, config.limit)), skipped)


def group_images(files: Iterable[ImageFile]) -> Iterator[Split]:
    """Put neighbouring image files together: a million of them are not a million splits."""
    group: list[ImageFile] = []
    size = 0
    for file in files:
        if group and (size + file.bytes > SPLIT_BYTES or len(group) >= IMAGES_A_SPLIT):
            yield _image_split(group, size)
            group, size = [], 0
        group.append(file)
        size += file.bytes
    if group:
        yield _image_split(group, size)


def _image_split(files: Sequence[ImageFile], size: int) -> Split:
    first = files[0]
    return Split(first.root, first.path, first.name, "image", size, rows=len(files), files=tuple(files))


def _choose_files(config: SourceConfig, *, images: bool) -> tuple[list[tuple[FoundFile, Format]], int]:
    chosen: dict[tuple[str, str, str], tuple[FoundFile, Format]] = {}
    skipped = set()
    for path in config.paths:
        for file in find_files(path):
            known = format_of(file.name)
            kind = known if config.format == "auto" else config.format
            if kind is None and file.by == "name":
                raise SourceError(
                    f"source.path {without_credentials(path)}: its format cannot be told; set source.format"
                )
            unasked = kind == "image" and config.format == "auto" and not images and file.by != "name"
            if kind is None or unasked or (known not in (None, kind) and file.by == "folder"):
                skipped.add(file.place)
            else:
                chosen.setdefault(file.place, (file, kind))
    if not chosen:
        raise SourceError(
            f"source.path {', '.join(map(without_credentials, config.paths))}: {len(skipped)} files, none of which has "
            f"an ending that tells its format ({', '.join(ENDINGS)}) and that this job takes; set source.format"
        )
    return list(chosen.values()), len(skipped - set(chosen))


def _whole(file: FoundFile, kind: Format) -> Split:
    return Split(file.root, file.path, file.name, kind, file.bytes)


def _check_names(files: Iterable[Split | ImageFile]) -> None:
    named: dict[str, Split | ImageFile] = {}
    for file in files:
        if named.setdefault(file.name, file) is not file:
            raise SourceError(
                f"source.path: {named[file.name].path} and {file.path} would both have the id {file.name!r}; "
                "name the folder above both instead"
            )


def _footer(split: Split) -> Footer | None:
    if split.format != "parquet":
        return None
    try:
        return read_footer(split)
    except READ_ERRORS:
        return None


def _cut(split: Split, footer: Footer | None) -> Iterator[Split]:
    """Cut a file at row groups or bytes; a file that must be read as a whole, or cannot be read, is one split."""
    if footer is not None and footer.groups:
        yield from _cut_at_groups(split, footer)
    elif split.format == "jsonl" and split.bytes > SPLIT_BYTES and not split.path.lower().endswith(COMPRESSIONS):
        for start in range(0, split.bytes, SPLIT_BYTES):
            stop = min(start + SPLIT_BYTES, split.bytes)
            yield replace(split, bytes=stop - start, start=start, stop=stop, first_row=None if start else 1)
    else:
        yield split


def _cut_at_groups(split: Split, footer: Footer) -> Iterator[Split]:
    all_bytes = sum(size for _, size in footer.groups) or 1
    start = rows = size = 0
    first = 1
    for number, (group_rows, group_bytes) in enumerate(footer.groups, start=1):
        rows += group_rows
        size += group_bytes
        last = number == len(footer.groups)
        if last or size + footer.groups[number][1] > SPLIT_BYTES:
            share = split.bytes * size // all_bytes
            yield replace(split, bytes=share, start=start, stop=number, first_row=first, rows=rows)
            start, first, rows, size = number, first + rows, 0, 0


def _limited(splits: Iterable[Split], config: SourceConfig, limit: int) -> Iterator[Split]:
    for split in splits:
        if limit <= 0:
            return
        cut = replace(split, max_rows=limit)
        limit -= sum(1 for _ in read_records(cut, config)) if split.rows is None else split.rows
        yield cut


def _check_columns(
    config: SourceConfig, splits: list[Split], footers: list[Footer | None], pictures: Sequence[ImageFile]
) -> None:
    """See to it that each column of the configuration is in some file; reads no further than it must."""
    wanted = dict.fromkeys(config.payload, "payload") if config.payload != "all" else {}
    # Read from the images themselves.
    if config.exif:
        wanted.pop("exif", None)
    wanted |= {config.id: "id"} if config.id is not None else {}
    if any(split.format in TABLES for split in splits):
        wanted |= {config.image: "image"} if config.image is not None else {}
        # Where images are, the default name of the text's column need be no column.
        if config.image is None or config.text != type(config).model_fields["text"].default:
            wanted |= {config.text: "text"}
    there: dict[str, None] = {"path": None} if pictures else {}
    for split, footer in zip(splits, footers, strict=True):
        if wanted.keys() <= there.keys():
            return
        there |= dict.fromkeys(footer.columns if footer is not None else _columns(split, config))
    missing = next((name for name in wanted if name not in there), None)
    if missing is None or not there:
        return
    near = get_close_matches(missing, there, n=1, cutoff=0.6)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(list(there)[:SHOWN_COLUMNS]) + (", ..." if len(there) > SHOWN_COLUMNS else "")
    raise SourceError(f"source.{wanted[missing]}: no file has a column {missing!r}.{hint} There are: {shown}")


def _columns(split: Split, config: SourceConfig) -> Iterable[str]:
    if split.format == "text":
        return ("path",)
    if split.format == "parquet":
        return ()
    if split.format == "csv":
        try:
            return csv_columns(split, config.delimiter)
        except READ_ERRORS:
            return ()
    sample = islice(read_records(split, config), SAMPLE_LINES)
    return dict.fromkeys(column for _, values, _ in sample for column in values or ())
