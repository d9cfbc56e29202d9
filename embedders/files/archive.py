"""Unpacking of a ``.tar.gz`` that is not trusted: plain files and folders only, inside the target, up to a size."""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from embedders.errors import ModelFilesError

CHUNK_BYTES = 1 << 20
# tarfile reads a long-name or pax header whole into memory, whatever size it claims.
MAX_HEADER_BYTES = 1 << 20
MAX_MEMBERS = 10_000
_DRIVE = re.compile(r"^[A-Za-z]:")


def extract_archive(archive: Path, target: Path, *, max_bytes: int) -> None:
    """Unpack the gzip-compressed tar ``archive`` into the new folder ``target``.

    Raises ModelFilesError on an absolute path, a ``..``, a link, a device, a member given twice, more than
    ``max_bytes`` unpacked bytes, too many members or a damaged archive; ``target`` may then hold a part.
    """
    target.mkdir(parents=True)
    try:
        with gzip.open(archive, "rb") as plain:
            stream = _CappedReader(plain, archive, max_bytes)
            with tarfile.open(fileobj=stream, mode="r:") as tar:  # type: ignore[call-overload]
                for count, member in enumerate(tar, start=1):
                    if count > MAX_MEMBERS:
                        raise ModelFilesError(f"archive {archive.name} has more than {MAX_MEMBERS} members")
                    _extract_member(tar, member, target, archive)
            stream.drain()
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ModelFilesError(f"archive {archive.name} is damaged or no .tar.gz: {error}") from None


def _extract_member(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, archive: Path) -> None:
    if problem := _refusal(member):
        raise ModelFilesError(f"archive {archive.name}: member {member.name!r} is refused: it {problem}")
    path = target.joinpath(*PurePosixPath(member.name).parts)
    try:
        if member.isdir():
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        source = tar.extractfile(member)
        with path.open("xb") as file:
            while source and (chunk := source.read(CHUNK_BYTES)):
                file.write(chunk)
    except (FileExistsError, NotADirectoryError):
        raise ModelFilesError(f"archive {archive.name}: member {member.name!r} is there twice") from None


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


class _CappedReader:
    """The decompressed bytes as tarfile reads them, with a limit on each read and on how far reading goes."""

    def __init__(self, file: BinaryIO | gzip.GzipFile, archive: Path, max_bytes: int):
        self._file = file
        self._archive = archive
        self._max_bytes = max_bytes

    def read(self, size: int) -> bytes:
        if size > MAX_HEADER_BYTES:
            raise ModelFilesError(f"archive {self._archive.name} has a header of {size} bytes")
        data = self._file.read(size)
        self._check(self._file.tell())
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 0:
            self._check(offset)
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def drain(self) -> None:
        """Read on to the end of the gzip stream, where its checksum is verified."""
        while self.read(CHUNK_BYTES):
            pass

    def _check(self, position: int) -> None:
        if position > self._max_bytes:
            raise ModelFilesError(f"archive {self._archive.name} unpacks to more than {self._max_bytes} bytes")
