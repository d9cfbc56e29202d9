"""Copies of models' folders at URLs, each in a slot of the cache.

The store is asked at each start what it holds, and only files whose size or stamp (ETag, time of change) is another
than that of their copy are fetched, one by one: what has arrived stays. A store that cannot be reached is no error
where the copy is whole: a vector's fingerprint covers what the files hold, and not where they come from.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from embedders.catalog import ModelCard
from embedders.errors import ModelFilesError, ModelNotFoundError
from embedders.files.atomic import write_atomically
from embedders.files.cache import Slot, Wanted, cache_root, mirror_slot
from embedders.files.download import Deadline, DownloadError, Timeouts, TransientDownloadError, shown_url
from embedders.files.folder import OPTIONAL_FILES, wanted_files
from embedders.files.remote import RemoteFile, RemoteFolder, last_name, open_remote, refuse_secrets

RECORD = ".remote.json"
# A process that makes several models asks their store once for all of them.
SECONDS_A_LOOK_HOLDS = 60.0
# Beside the files that a card names: tables, vocabularies and settings, and no weights in other formats.
SIDE_FILES = (".json", ".txt", ".npy", ".vocab", ".model")
# How a graph's external data are called, for stores that cannot list them.
DATA_FILES = ("_data", ".data")

log = logging.getLogger("fleetembed")

Versions = dict[str, str]


@dataclass(frozen=True)
class Choice:
    """Which files of a folder make a model, or part of one.

    ``needed`` must be there; ``named`` are taken where they are, ``beside`` is the model file, whose external data are.
    ``what`` is what an error says before anything else.
    """

    what: str
    needed: tuple[str, ...]
    named: tuple[str, ...] = ()
    beside: str | None = None

    @property
    def asked(self) -> tuple[str, ...]:
        """Names that a store is asked for that cannot list."""
        data = () if self.beside is None else tuple(self.beside + end for end in DATA_FILES)
        return tuple(dict.fromkeys((*self.needed, *self.named, *data)))

    def of(self, names: Iterable[str]) -> list[str]:
        """Those of a folder's files that are to be copied."""
        return sorted(name for name in names if self._takes(name))

    def _takes(self, name: str) -> bool:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or name.startswith("."):
            return False
        if name in self.needed or name in self.named:
            return True
        if self.beside is None:
            return False
        folders = (PurePosixPath("."), PurePosixPath(self.beside).parent)
        data = name.startswith(self.beside) and path.parent == folders[1]
        return data or (path.parent in folders and path.suffix in SIDE_FILES)


def mirrored_model(
    card: ModelCard, url: str, cache_dir: str | Path | None, local_only: bool, timeouts: Timeouts
) -> Path:
    """Folder in the cache with a copy of the card's files at a URL.

    Raises ModelNotFoundError where the store cannot be reached and the copy is not whole, ModelFilesError where the
    store lacks files, denies access, or the copy cannot be written.
    """
    wanted = wanted_files(card)
    needed = (card.model_file, *(name for name in card.additional_files if name.startswith(card.model_file)))
    what = f"specific_model_path {shown_url(url)!r} of model {card.model}"
    choice = Choice(what, tuple(dict.fromkeys(needed)), (*wanted.required, *OPTIONAL_FILES), card.model_file)
    return Mirror(url, cache_dir, local_only, timeouts).copy(choice)


def mirrored_file(
    url: str, name: str, what: str, *, cache_dir: str | Path | None = None, local_only: bool = False
) -> Path:
    """Copy of one file of a folder at a URL, in the cache; ``what`` begins errors. Raises as ``mirrored_model``."""
    return Mirror(url, cache_dir, local_only).copy(Choice(what, (name,))) / name


def remote_names(url: str) -> list[str]:
    """Names of all files of a folder at a URL, or where it cannot be asked of those that it had when it was copied."""
    mirror = Mirror(url)
    what = f"the folder {shown_url(url)}"
    seen, _ = mirror.look(Choice(what, ()))
    if not seen:
        raise ModelFilesError(f"{what} is not there, or is empty")
    return sorted(seen)


@dataclass(frozen=True)
class _Record:
    """What is known of a copy: the folder's files as last seen, and the copied ones, each with its version."""

    seen: Versions = field(default_factory=dict)
    copied: Versions = field(default_factory=dict)


# What stores answered of late, by URL: when, and what.
_LOOKS: dict[tuple[str, tuple[str, ...]], tuple[float, Mapping[str, RemoteFile] | DownloadError]] = {}
_WARNED: set[str] = set()


class Mirror:
    """The copy of a folder at a URL. Raises ModelFilesError where the URL holds credentials."""

    def __init__(
        self,
        url: str,
        cache_dir: str | Path | None = None,
        local_only: bool = False,
        timeouts: Timeouts | None = None,
    ) -> None:
        refuse_secrets(url)
        self.url, self.place = url, shown_url(url)
        self.slot: Slot = mirror_slot(cache_root(cache_dir), url)
        # What the environment says of the network is said of the hub (HF_HUB_OFFLINE); a store may be near.
        self._offline = "local_files_only=True was given" if local_only else None
        self._timeouts = timeouts or Timeouts.from_env()

    def copy(self, choice: Choice) -> Path:
        """Bring the chosen files up to date and return their folder."""
        seen, remote = self.look(choice)
        if missing := [name for name in choice.needed if name not in seen]:
            listed = sorted(seen)
            holds = ", ".join(listed[:10]) + (f" and {len(listed) - 10} more" if len(listed) > 10 else "")
            state = f"lacks {', '.join(missing)}; it holds {holds}" if seen else "is no folder, or an empty one"
            raise ModelFilesError(f"{choice.what} {state}")
        if remote is None:
            return self.slot.path
        stale, gone = self._differences(choice, seen, remote)
        if not stale and not gone:
            return self.slot.path
        size = sum(seen[name].size or 0 for name in stale)
        try:
            with self.slot.filling(self._timeouts.total) as stage:
                self._update(choice, seen, remote, stage)
        except DownloadError as error:
            raise ModelNotFoundError(f"{choice.what} cannot be copied to {self.slot.path}: {error}") from None
        except OSError as error:
            raise ModelFilesError(
                f"{choice.what} cannot be copied to {self.slot.path}: {error.strerror or error}; {size:,} bytes are to "
                "be written: make room, or set cache_dir or FLEETEMBED_CACHE_DIR to a folder that has it"
            ) from None
        return self.slot.path

    def look(self, choice: Choice) -> tuple[Mapping[str, RemoteFile], RemoteFolder | None]:
        """Ask what the folder holds; without the store, what the whole copy holds, and None in its place."""
        if self._offline:
            return self._kept(choice, f"the network is not asked, because {self._offline}"), None
        try:
            remote = open_remote(self.url, Deadline(self._timeouts))
            return self._asked(choice, remote), remote
        except TransientDownloadError as error:
            kept = self._kept(choice, str(error))
            if self.url not in _WARNED:
                _WARNED.add(self.url)
                log.warning(
                    "%s cannot be reached, and its copy in %s is used as it is: %s", self.place, self.slot.path, error
                )
            return kept, None
        except DownloadError as error:
            raise ModelFilesError(f"{choice.what}: {error}") from None

    def _asked(self, choice: Choice, remote: RemoteFolder) -> Mapping[str, RemoteFile]:
        key = (self.url, () if remote.lists else choice.asked)
        known = _LOOKS.get(key)
        if known is None or time.monotonic() - known[0] > SECONDS_A_LOOK_HOLDS:
            whole = self._is_whole(choice, self._record())
            answer: Mapping[str, RemoteFile] | DownloadError
            try:
                answer = remote.files(choice.asked, attempts=1 if whole else None)
            except DownloadError as error:
                answer = error
            known = _LOOKS[key] = (time.monotonic(), answer)
        if isinstance(known[1], DownloadError):
            raise known[1]
        return known[1]

    def _kept(self, choice: Choice, why: str) -> Mapping[str, RemoteFile]:
        """Files of the copy; raises ModelNotFoundError where it is not whole. ``why`` says why no store is asked."""
        record = self._record()
        if not self._is_whole(choice, record):
            state = "holds only a part of it" if record.copied else "does not hold it"
            raise ModelNotFoundError(
                f"{choice.what}: {why}; and its copy {self.slot.path} {state}. Let this machine reach the store once, "
                "or put a local folder in the place of the URL. The cache is set by cache_dir or FLEETEMBED_CACHE_DIR"
            )
        return {name: RemoteFile(None, None) for name in record.seen}

    def _is_whole(self, choice: Choice, record: _Record) -> bool:
        chosen = choice.of(record.seen)
        named = set(choice.needed) <= set(chosen) if choice.needed else bool(record.seen)
        current = all(record.copied.get(name) == record.seen[name] for name in chosen)
        return named and current and not self.slot.gaps(Wanted(tuple(chosen)))

    def _differences(
        self, choice: Choice, seen: Mapping[str, RemoteFile], remote: RemoteFolder
    ) -> tuple[list[str], list[str]]:
        """Chosen files that are to be fetched, and files of the copy that the folder no longer has."""
        record, chosen = self._record(), choice.of(seen)
        damaged = self.slot.gaps(Wanted(tuple(chosen)))
        stale = [name for name in chosen if name in damaged or record.copied.get(name) != seen[name].version]
        told = choice.of(record.copied) if remote.lists else choice.asked
        return stale, [name for name in told if name in record.copied and name not in seen]

    def _update(self, choice: Choice, seen: Mapping[str, RemoteFile], remote: RemoteFolder, stage: Path) -> None:
        # Once more: whoever held the lock before may have done it all.
        stale, gone = self._differences(choice, seen, remote)
        before = self._record()
        copied = {name: version for name, version in before.copied.items() if name not in {*stale, *gone}}
        unasked = {} if remote.lists else {one: as_of for one, as_of in before.seen.items() if one not in choice.asked}
        now = {**unasked, **{name: about.version for name, about in seen.items()}}
        # The copy is whole again once each of these files is in it.
        self._write(_Record(now, copied))
        if gone:
            self.slot.forget(gone)
        if not stale:
            return
        from embedders.files.progress import shown_download

        # The model file comes last, as the largest.
        stale.sort(key=lambda name: seen[name].size or 0)
        with shown_download(self.place, stale, sum(seen[name].size or 0 for name in stale), "its store"):
            for name in stale:
                remote.fetch(name, stage / name, f"{last_name(self.url)} {name}")
                size, expected = (stage / name).stat().st_size, seen[name].size
                if expected is not None and size != expected:
                    raise DownloadError(
                        f"{self.place.rstrip('/')}/{name} has {size} bytes instead of {expected}: it changed while it "
                        "was copied; try again"
                    )
                self.slot.publish(stage, [name], None)
                copied[name] = seen[name].version
                self._write(_Record(now, copied))

    def _record(self) -> _Record:
        with suppress(OSError, ValueError, KeyError, TypeError):
            data = json.loads((self.slot.path / RECORD).read_text(encoding="utf-8"))
            return _Record(dict(data["seen"]), dict(data["copied"]))
        return _Record()

    def _write(self, record: _Record) -> None:
        data = {"url": self.place, "seen": record.seen, "copied": record.copied}
        write_atomically(self.slot.path / RECORD, json.dumps(data, indent=1).encode())
