"""Whether a job's source is still what was scanned: where it is not, nothing is known of what left it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.errors import FleetembedError
from pipelines.config.job import JobConfig
from pipelines.sources.duplicates import document_keys
from pipelines.sources.files import FoundFile
from pipelines.sources.presence import Presence, is_in
from pipelines.urls import Place
from pipelines.written import list_job_source

AGAIN = "run the job again, which looks anew"


class WrittenDocuments:
    """Keys (see ``document_keys``) of the documents whose rows a run offered to its sinks, at 8 bytes each."""

    def __init__(self) -> None:
        self._parts: list[npt.NDArray[np.uint64]] = []

    def take(self, receipts: pa.Table) -> None:
        """Add what receipts tell (see ``WriteStage``)."""
        keys = receipts["document_keys"].combine_chunks().flatten()
        self._parts.append(keys.to_numpy(zero_copy_only=False).astype(np.uint64))

    @property
    def keys(self) -> npt.NDArray[np.uint64]:
        """All of them, each once, sorted."""
        return np.unique(np.concatenate([np.zeros(0, np.uint64), *self._parts]))


def why_changed(
    config: JobConfig, listed: Mapping[Place, FoundFile], presence: Presence, written: WrittenDocuments
) -> str | None:
    """Say in which way the source is not what was scanned; None where it is, as far as can be told.

    Its files are listed once more, and what was written is compared with ``presence``: of a file that changed, a
    document could be taken for one that left the source. ``listed`` is what ``plan_source`` found.
    """
    try:
        changed = _changed_file(listed, list_job_source(config))
    except FleetembedError as error:
        return f"the source's files cannot be listed again ({error}); {AGAIN}"
    if changed is not None:
        return f"{changed} after the source was scanned; {AGAIN}"
    unknown = _not_scanned(presence, written)
    if not unknown:
        return None
    documents = "1 document was" if unknown == 1 else f"{unknown:,} documents were"
    return f"{documents} written that the source did not have when it was scanned, so that it changed; {AGAIN}"


def _not_scanned(presence: Presence, written: WrittenDocuments) -> int:
    """Count documents that were written and either had no row in the scan, or one that said it was deleted."""
    if presence.keys is not None:
        return int((~is_in(written.keys, presence.keys)).sum())
    return int(np.isin(written.keys, document_keys(pa.array(presence.deleted, pa.string()))).sum())


def _changed_file(before: Mapping[Place, FoundFile], now: Mapping[Place, FoundFile]) -> str | None:
    for place, file in before.items():
        if place not in now:
            return f"the file {file.name} went"
        if (now[place].bytes, now[place].stamp) != (file.bytes, file.stamp):
            return f"the file {file.name} changed"
    new = next((file for place, file in now.items() if place not in before), None)
    return None if new is None else f"the file {new.name} came"
