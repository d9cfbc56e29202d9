"""Looks at the ids of a split's rows without reading the rows: what comparing ids needs of most files.

A file of lines tells the ids of its rows without being parsed, as long as nothing about it is odd. Whether a row can be
used does not show in that, so that what looks like a repeated id may be none: see ``SplitScan.is_exact``.
"""

from __future__ import annotations

import numpy as np
import xxhash

from pipelines.config.source import SourceConfig
from pipelines.sources.duplicates import SplitScan
from pipelines.sources.formats import format_named
from pipelines.sources.plain_ids import NotPlainError
from pipelines.sources.records import READ_ERRORS
from pipelines.sources.split import Split


def glance_at_split(split: Split, config: SourceConfig) -> SplitScan | None:
    """Hash the ids of a split without reading its rows; None where that cannot be. Never raises for data.

    The scan is not exact: rows count as live whatever they hold, and their positions are no more than their order.
    """
    if config.id is None or config.deleted is not None or split.max_rows is not None:
        return None
    pieces: list[bytes] = []
    lines = 0
    try:
        for some in format_named(split.format).plain_ids(split, config):
            pieces.append(b"".join(map(xxhash.xxh3_64_digest, some.ids)))
            lines += some.lines
    except (NotPlainError, *READ_ERRORS):
        return None
    keys = np.frombuffer(b"".join(pieces), ">u8").astype(np.uint64)
    return SplitScan(
        split,
        len(keys),
        0,
        None,
        keys,
        np.arange(len(keys), dtype=np.uint64),
        lines=lines if split.stop is not None else None,
        is_exact=False,
    )
