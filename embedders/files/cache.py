"""The model cache: one flat folder of real files a source, with a manifest of their sizes and sha256.

``<root>/<slot name>/`` holds the files and ``.manifest.json``; a file counts only once the manifest names it.
``<root>/.locks`` and ``<root>/.staging`` serve whoever is filling a slot, ``<root>/.digests`` remembers hashes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from embedders.errors import ModelNotFoundError
from embedders.files.atomic import write_atomically
from embedders.files.download import DownloadError
from embedders.files.hashing import file_sha256

MANIFEST = ".manifest.json"


def cache_root(cache_dir: str | Path | None = None) -> Path:
    """The cache's folder: the argument, else FLEETEMBED_CACHE_DIR, else the user's cache.

    Raises ModelNotFoundError where the user has no home folder that it could be in.
    """
    chosen = cache_dir or os.environ.get("FLEETEMBED_CACHE_DIR")
    try:
        if chosen:
            return Path(chosen).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fleetembed"
    except RuntimeError:
        raise ModelNotFoundError(
            "the cache of models has no place, because this user has no home folder (HOME is not set): set "
            "FLEETEMBED_CACHE_DIR to a folder, or give the model's own folder"
        ) from None


@dataclass(frozen=True)
class FileFacts:
    """What is recorded of a file: size in bytes and hex sha256."""

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileFacts:
        """Facts of the file at ``path``, which is read whole."""
        return cls(path.stat().st_size, file_sha256(path))


@dataclass(frozen=True)
class Manifest:
    """Contents of a slot: where the files came from, their facts, and which optional ones the source lacks."""

    revision: str | None = None
    files: Mapping[str, FileFacts] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Wanted:
    """Files of a model, relative to its folder: what it cannot do without, and what is taken if the source has it."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


@dataclass(frozen=True)
class Slot:
    """One source's place in the cache."""

    root: Path
    name: str

    @property
    def path(self) -> Path:
        """The folder that holds the files."""
        return self.root / self.name

    def manifest(self) -> Manifest:
        """The slot's manifest; an empty one where it is missing or unreadable."""
        try:
            data = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
            files = {name: FileFacts(**facts) for name, facts in data["files"].items()}
            return Manifest(data["revision"], files, frozenset(data["absent"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return Manifest()

    def gaps(self, wanted: Wanted, *, verify: bool = False) -> dict[str, str]:
        """Files that cannot be used as they are, each with the reason; ``verify`` reads and hashes all of them."""
        manifest = self.manifest()
        gaps = {}
        for name in (*wanted.required, *wanted.optional):
            facts = manifest.files.get(name)
            if facts is not None:
                problem = _damage(self.path / name, facts, verify=verify)
            elif name in manifest.absent and name not in wanted.required:
                problem = None
            else:
                problem = "is not in the cache"
            if problem:
                gaps[name] = problem
        return gaps

    @contextmanager
    def filling(self, timeout: float) -> Iterator[Path]:
        """Hold the slot's lock, against other processes too; gives an empty staging folder on the same file system.

        Raises DownloadError when another process holds the lock for ``timeout`` seconds.
        """
        lock = self.root / ".locks" / f"{self.name}.lock"
        stage = self.root / ".staging" / self.name
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            guard = FileLock(lock, timeout=timeout)
            guard.acquire()
        except Timeout:
            raise DownloadError(f"another process has held {lock} for {timeout:g} s: is its download stuck?") from None
        try:
            # What a killed process left behind is in the way, and only its successor may clear it.
            shutil.rmtree(stage, ignore_errors=True)
            stage.mkdir(parents=True)
            yield stage
        finally:
            shutil.rmtree(stage, ignore_errors=True)
            guard.release()

    def publish(self, stage: Path, names: Iterable[str], revision: str | None, absent: Iterable[str] = ()) -> None:
        """Move staged files into the slot, then name them in the manifest. The caller holds the lock."""
        facts = {name: FileFacts.of(stage / name) for name in names}
        for name in facts:
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (stage / name).replace(target)
        before = self.manifest()
        files = {**before.files, **facts}
        self._write(Manifest(revision, files, (before.absent | set(absent)) - set(files)))

    def forget(self, names: Iterable[str]) -> None:
        """Take files out of the slot. The caller holds the lock."""
        before, gone = self.manifest(), set(names)
        kept = {name: facts for name, facts in before.files.items() if name not in gone}
        self._write(Manifest(before.revision, kept, before.absent))
        for name in gone:
            (self.path / name).unlink(missing_ok=True)

    def _write(self, manifest: Manifest) -> None:
        data = {
            "revision": manifest.revision,
            "files": {name: asdict(item) for name, item in sorted(manifest.files.items())},
            "absent": sorted(manifest.absent),
        }
        write_atomically(self.path / MANIFEST, json.dumps(data, indent=1).encode())


def link_or_copy(source: Path, target: Path) -> None:
    """Make ``target`` a real file with ``source``'s content: a hard link, or a copy on another file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    real = source.resolve(strict=True)
    # Copying onto an earlier hard link would write into the file it is linked to.
    target.unlink(missing_ok=True)
    try:
        os.link(real, target)
    except OSError:
        shutil.copyfile(real, target)


def hub_slot(root: Path, repo: str) -> Slot:
    """The slot of a repository on the hub."""
    return Slot(root, repo.replace("/", "--"))


def archive_slot(root: Path, url: str) -> Slot:
    """The slot of an archive at a URL."""
    name = PurePosixPath(urlsplit(url).path).name.split(".")[0]
    return Slot(root, f"url--{name}--{short_hash(url)}")


def old_archive_slot(root: Path, model: str) -> Slot:
    """The slot of a model that only the folder of an archive of early fastembed still holds."""
    return Slot(root, f"fastembed--{model.replace('/', '--')}")


def local_slot(root: Path, folder: Path) -> Slot:
    """The slot for real files made from a folder of links."""
    real = folder.resolve()
    return Slot(root, f"local--{real.name}--{short_hash(str(real))}")


def mirror_slot(root: Path, url: str) -> Slot:
    """The slot of a folder at a URL; one URL without a slash at its end and with one are the same."""
    path, mark, options = url.partition("?")
    place = f"{path.rstrip('/')}{mark}{options}"
    name = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(urlsplit(path).path).name) or "folder"
    return Slot(root, f"mirror--{name[:80]}--{short_hash(place)}")


def short_hash(text: str) -> str:
    """First 16 hex digits of the text's sha256, for a name."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _damage(path: Path, facts: FileFacts, *, verify: bool) -> str | None:
    try:
        size = path.stat().st_size
        if size != facts.size:
            return f"has {size} bytes, not the {facts.size} it was stored with"
        if verify and file_sha256(path) != facts.sha256:
            return f"no longer has the sha256 it was stored with, {facts.sha256}"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None
