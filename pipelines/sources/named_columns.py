"""Compares the columns that a configuration names with those that the files of a source have."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches

from pipelines.config.source import SourceConfig
from pipelines.errors import SourceError
from pipelines.sources.base import Outline
from pipelines.sources.formats import format_named
from pipelines.sources.memory.format import InMemory
from pipelines.sources.split import Split

SHOWN_COLUMNS = 30
SHOWN_NOTICES = 3
# So many files, of those that only rows tell of, are looked at for a column that none of them need have.
FILES_FOR_DELETED = 16


def check_columns(
    config: SourceConfig, splits: Sequence[Split], outlines: Sequence[Outline], notices: Sequence[str]
) -> str | None:
    """See to it that each column of the configuration is in some file; reads no further than it must.

    The column ``source.deleted`` need not be where only rows tell columns. Returns which columns there are then, with
    the nearest name, if it is in none of the rows that are looked at; else None. Raises SourceError.
    """
    wanted = _wanted_columns(config, splits, outlines)
    sought = None if config.deleted in wanted else config.deleted
    in_names = {key: None for split in splits for key, _ in split.partitions}
    in_files: dict[str, None] = {}
    for number, (split, outline) in enumerate(zip(splits, outlines, strict=True)):
        names = in_files.keys() | in_names.keys()
        is_over = sought is None or sought in names or number >= FILES_FOR_DELETED
        if wanted.keys() <= names and is_over:
            break
        columns = outline.columns
        in_files |= dict.fromkeys(format_named(split.format).columns(split, config) if columns is None else columns)
    there = in_files | in_names
    missing = next((name for name in wanted if name not in there), None)
    if missing is not None and in_files:
        told = "".join(f". {notice}" for notice in notices[:SHOWN_NOTICES])
        # A header that is cut at the wrong places has no near names.
        near = _names_near("" if "source.delimiter" in told else missing, there)
        in_memory = splits[0].format == InMemory.name
        lacks = f"{splits[0].name} has no column" if in_memory else "no file has a column"
        raise SourceError(f"source.{wanted[missing]}: {lacks} {missing!r}.{near}{told}")
    return None if sought is None or sought in there or not in_files else _names_near(sought, there)


def unmarked_notice(config: SourceConfig, names: str, *, read: bool) -> str:
    """Say that the column ``source.deleted`` is in no row, of all that were ``read`` or of those that were looked at.

    ``names`` is what ``check_columns`` returned.
    """
    if read:
        return (
            f"source.deleted: no row of the source has a column {config.deleted!r}, and no document was deleted.{names}"
        )
    return (
        f"source.deleted: no row that was looked at has a column {config.deleted!r}; where none has it, nothing is "
        f"deleted.{names}"
    )


def _names_near(missing: str, there: Collection[str]) -> str:
    near = get_close_matches(missing, there, n=1, cutoff=0.6)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(list(there)[:SHOWN_COLUMNS]) + (", ..." if len(there) > SHOWN_COLUMNS else "")
    return f"{hint} There are: {shown}"


def _wanted_columns(config: SourceConfig, splits: Sequence[Split], outlines: Sequence[Outline]) -> dict[str, str]:
    """Map the columns that must be in some file to the keys that name them."""
    kinds = [format_named(split.format) for split in splits]
    named = {config.id: "id"} if config.id is not None else {}
    if config.deleted is not None:
        told = (outline.columns is not None or kind.has_header for kind, outline in zip(kinds, outlines, strict=True))
        # Where only rows tell columns, a feed may have deletions alone, or its first one anywhere.
        if not all(told):
            return named
        named |= {config.deleted: "deleted"}
    wanted = dict.fromkeys(config.payload, "payload") if config.payload != "all" else {}
    # Read from the images themselves.
    if config.exif:
        wanted.pop("exif", None)
    wanted |= named
    if any(kind.is_table for kind in kinds):
        wanted |= {config.image: "image"} if config.image is not None else {}
        # Where images are, the default name of the text's column need be no column.
        if config.image is None or config.text != type(config).model_fields["text"].default:
            wanted |= {config.text: "text"}
    return wanted
