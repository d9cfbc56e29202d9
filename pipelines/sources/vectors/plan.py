"""Plans the reading of files with vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipelines.config.source import SourceConfig
from pipelines.errors import ConfigError
from pipelines.sources.parquet import Parquet
from pipelines.sources.split import SourcePlan, Split, whole_file
from pipelines.sources.vectors.format import Vectors
from pipelines.sources.vectors.join import joined_splits
from pipelines.sources.vectors.sets import find_sets
from pipelines.sources.written import Written, WrittenPlaces


def plan_vectors(config: SourceConfig, written: Sequence[Written] = ()) -> SourcePlan:
    """Cut files with vectors into splits of about 64 MB; those of several folders are joined by their rows' ids.

    Raises SourceError as ``find_sets`` and ``joined_splits`` do, ConfigError where a path is one of ``written``.
    """
    own = WrittenPlaces(written, config.vector_paths)
    sets = find_sets(config)
    for one in sets:
        try:
            own.refuse(one.path, one.listing.base)
        except ConfigError as error:
            raise ConfigError(str(error).replace("source.path", "source.vectors", 1)) from None
    if len(sets) > 1:
        splits = list(joined_splits(sets, Vectors.name))
    else:
        outline = Parquet().outline
        splits = [split for file in sets[0].files for split in outline(whole_file(file, Vectors.name)).splits]
    return SourcePlan(tuple(splits if config.limit is None else _limited(splits, config.limit)))


def _limited(splits: Sequence[Split], limit: int) -> list[Split]:
    chosen = []
    for split in splits:
        if limit <= 0:
            break
        rows = split.rows or 0
        chosen.append(split if rows <= limit else replace(split, max_rows=limit))
        limit -= rows
    return chosen
