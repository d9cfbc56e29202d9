"""Models packed as ``.tar.gz`` at a URL: fetched, unpacked without trust in the archive, and put into the cache."""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from embedders.catalog import ModelCard
from embedders.errors import ModelFilesError
from embedders.files.cache import Slot
from embedders.files.download import Deadline, DownloadError, shown_url
from embedders.files.folder import model_files, shown_contents
from embedders.files.hashing import Expected
from embedders.files.http import download_file
from embedders.files.lookup import Lookup
from embedders.files.progress import shown_download

CHUNK_BYTES = 1 << 20
# tarfile reads a long-name or pax header whole into memory, whatever size it claims.
MAX_HEADER_BYTES = 1 << 20
MAX_MEMBERS = 10_000
GIB = 1 << 30
_DRIVE = re.compile(r"^[A-Za-z]:")


def fill_from_archive(lookup: Lookup, slot: Slot, stage: Path) -> None:
    """Download the card's archive and put the model it holds into the slot. Raises DownloadError or ModelFilesError."""
    card, url = lookup.card, lookup.card.url or ""
    place, archive, unpacked = shown_url(url), stage / "archive.tar.gz", stage / "unpacked"
    name = PurePosixPath(place).name
    with shown_download(card.model, [name], 0, place):
        download_file(url, archive, f"{card.model} {name}", Deadline(lookup.timeouts))
    if problem := Expected(sha256=card.url_sha256).mismatch(archive):
        raise DownloadError(f"{place} sent a wrong file: {problem}")
    # The card's size is the download's, rounded; archives of weights unpack to little more.
    extract_archive(archive, unpacked, max_bytes=int((4 * card.size_gb + 1) * GIB))
    folder = _model_root(card, unpacked)
    if missing := [name for name in lookup.wanted.required if not (folder / name).is_file()]:
        raise ModelFilesError(f"archive {place} lacks {', '.join(missing)}")
    names = model_files(card, folder)
    slot.publish(folder, names, None, absent=[name for name in lookup.wanted.optional if name not in names])


def extract_archive(archive: Path, target: Path, *, max_bytes: int) -> None:
    """Unpack the gzip-compressed tar ``archive`` into the new folder ``target``: plain files and folders only.

    Raises ModelFilesError on an absolute path, a ``..``, a link, a device, a member given twice, more than
    ``max_bytes`` unpacked bytes, too many members or a damaged archive; ``target`` may then hold a part.
    """
    target.mkdir(parents=True)
    # The refusals here are stricter than the filter, which some patch releases of Python 3.10 and 3.11 lack.
    filtered: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    try:
        with _CappedGzip(archive, max_bytes) as plain, tarfile.open(fileobj=plain, mode="r:") as tar:
            tar.extractall(target, members=_checked(tar, archive, target), **filtered)
            # Read on to the end of the gzip stream, where its checksum is verified.
            while plain.read(CHUNK_BYTES):
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ModelFilesError(f"archive {archive.name} is damaged or no .tar.gz: {error}") from None


def _checked(tar: tarfile.TarFile, archive: Path, target: Path) -> Iterator[tarfile.TarInfo]:
    """The members, each refused or stripped of owner and mode before it is unpacked."""
    for count, member in enumerate(tar, start=1):
        if count > MAX_MEMBERS:
            raise ModelFilesError(f"archive {archive.name} has more than {MAX_MEMBERS} members")
        if problem := _refusal(member):
            raise ModelFilesError(f"archive {archive.name}: member {member.name!r} is refused: it {problem}")
        # Those before it are unpacked already.
        path = target / member.name
        if any(place.is_file() for place in (path, *path.parents)) or (path.is_dir() and not member.isdir()):
            raise ModelFilesError(f"archive {archive.name}: member {member.name!r} is there twice")
        member.mode = 0o755 if member.isdir() else 0o644
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        yield member


def _refusal(member: tarfile.TarInfo) -> str | None:
    name = member.name
    if member.issym() or member.islnk():
        return f"is a link to {member.linkname!r}"
    if member.issparse() or not (member.isreg() or member.isdir()):
        return "is neither a plain file nor a folder"
    if name.startswith("/") or _DRIVE.match(name):
        return "has an absolute path"
    if "\\" in name or "\0" in name:
        return "has a backslash or a NUL in its name"
    if ".." in PurePosixPath(name).parts:
        return "leads out of the archive with '..'"
    return None


class _CappedGzip(gzip.GzipFile):
    """The decompressed bytes as tarfile reads them, with a limit on each read and on how far reading goes."""

    def __init__(self, archive: Path, max_bytes: int) -> None:
        super().__init__(archive, "rb")
        self._archive = archive
        self._max_bytes = max_bytes

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MAX_HEADER_BYTES:
            raise ModelFilesError(f"archive {self._archive.name} has a header of {size} bytes")
        data = super().read(size)
        self._check(self.tell())
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 0:
            self._check(offset)
        return super().seek(offset, whence)

    def _check(self, position: int) -> None:
        if position > self._max_bytes:
            raise ModelFilesError(f"archive {self._archive.name} unpacks to more than {self._max_bytes} bytes")


def _model_root(card: ModelCard, unpacked: Path) -> Path:
    """The folder of an archive, itself or one it holds, where the model file lies."""
    for folder in (unpacked, *sorted(path for path in unpacked.iterdir() if path.is_dir())):
        if (folder / card.model_file).is_file():
            return folder
    raise ModelFilesError(
        f"archive {shown_url(card.url or '')} lacks {card.model_file}; it holds {shown_contents(unpacked)}"
    )
