"""What a job writes: places below which its source is never read."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.errors import ConfigError
from pipelines.filesystem import open_filesystem
from pipelines.sources.listing import Listing
from pipelines.urls import Place, local_path, place_of, store_of, without_credentials


@dataclass(frozen=True)
class Written:
    """A file or folder (path or URL) that the job writes to, and the key of the configuration that says so.

    Where the source itself lies in one, the job is refused; not so where the place is ``foreign``: what another
    command, or nobody yet, has written there may be read if it is asked for.
    """

    key: str
    path: str
    foreign: bool = False

    @property
    def shown(self) -> str:
        """Key and path, for people to read."""
        return f"{self.key} {without_credentials(self.path)}"


class WrittenPlaces:
    """Tells what of a source lies in a place that the job writes to, whatever links and spellings lead there."""

    def __init__(self, written: Iterable[Written], paths: Iterable[str]) -> None:
        """Look where the places are; those in stores that none of the source's ``paths`` is in are not asked for."""
        stores = {_store(path) for path in paths}
        self._written: dict[Place, Written] = {}
        for one in written:
            if _store(one.path) in stores:
                self._written.setdefault(place_of(one.path, open_filesystem(one.path)[1]), one)
        # Of folders, each of which may have many files.
        self._above: dict[Place, list[Written]] = {}
        self._left_out: dict[Place, str] = {}

    def refuse(self, path: str, base: Place) -> None:
        """Raise ConfigError where a path of the source, whose place is ``base``, is or lies in a written place."""
        for found in self._around(base):
            if not found.foreign:
                raise ConfigError(
                    f"source.path {without_credentials(path)} is, or lies in, {found.shown}, which this job writes: it "
                    "would read its own output; change one of them"
                )

    def leave_out(self, listing: Listing) -> set[Place]:
        """Tell which of the files lie in written places, or in an evaluation's folder, and keep count of them."""
        asked = self._around(listing.base)
        new = {place: first.shown for place in listing.files if (first := self._first(place, asked)) is not None}
        for place, folder in listing.outputs.items():
            new.setdefault(place, f"fleetembed evaluate --out {folder}")
        self._left_out |= new
        return set(new)

    def _first(self, place: Place, asked: Sequence[Written]) -> Written | None:
        return next((found for found in self._around(place) if found not in asked), None)

    def _around(self, place: Place) -> list[Written]:
        """Written places that are or have this one, from the innermost on."""
        store, path = place
        found = [self._written[place]] if place in self._written else []
        above = store, posixpath.dirname(path)
        if not self._written or above == place:
            return found
        if above not in self._above:
            self._above[above] = self._around(above)
        return [*found, *self._above[above]]

    @property
    def files(self) -> int:
        """How many files were left out."""
        return len(self._left_out)

    def notices(self) -> list[str]:
        """Say how many files were left out, and why."""
        if not self._left_out:
            return []
        counts = Counter(self._left_out.values())
        told = ", ".join(f"{count:,} of {shown}" for shown, count in counts.items())
        files = "1 file is" if self.files == 1 else f"{self.files:,} files are"
        return [f"{files} below source.path but written by this job, and not read: {told}"]


def _store(path: str) -> str:
    return "" if local_path(path) is not None else store_of(path)
