"""Members of a tar archive as they come in a stream, in bounded memory and without a file on disk.

Python's tarfile takes a damaged or cut off archive for one that ends early (where it is not damaged at its very
start); here it is an error. Of the formats it knows those that are in use: ustar, GNU and pax.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

BLOCK = tarfile.BLOCKSIZE
MAX_HEADER_BYTES = 1 << 20
SKIPPED_BYTES = 1 << 20


class _Stream:
    """Bytes of an archive, read forward."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")
        self.at = 0

    def read(self, size: int) -> bytes:
        """Read so many bytes; fewer at the end."""
        pieces = []
        while size:
            if not self._rest:
                piece = next(self._chunks, None)
                if piece is None:
                    break
                self._rest = memoryview(piece)
            taken, self._rest = self._rest[:size], self._rest[size:]
            pieces.append(taken)
            size -= len(taken)
            self.at += len(taken)
        return b"".join(pieces)

    def skip(self, size: int) -> bool:
        """Pass over so many bytes; False where there are fewer."""
        while size:
            passed = len(self.read(min(size, SKIPPED_BYTES)))
            if not passed:
                return False
            size -= passed
        return True


@dataclass
class Member:
    """A regular file in an archive; ``read`` it before the next one is asked for."""

    name: str
    size: int
    _stream: _Stream
    _left: int

    def read(self) -> bytes:
        """Read the content, all of it; raises EOFError where the archive ends before."""
        data = self._stream.read(self._left)
        self._left -= len(data)
        if self._left:
            raise EOFError(f"the archive ends within {self.name}")
        return data

    def _finish(self) -> None:
        if not self._stream.skip(self._left + -self.size % BLOCK):
            raise EOFError(f"the archive ends within {self.name}")
        self._left = 0


def tar_members(chunks: Iterable[bytes]) -> Iterator[Member]:
    """Yield the regular files of an archive; folders, links and devices are passed over.

    Archives one behind another are read as one. Raises EOFError where the archive ends before its end mark, OSError
    where a header is damaged, and what ``chunks`` raises; members before that are out by then.
    """
    stream = _Stream(chunks)
    ended = False
    name: str | None = None
    size: int | None = None
    while header := stream.read(BLOCK):
        if not header.strip(b"\0"):
            ended = ended or len(header) == BLOCK
            continue
        if len(header) < BLOCK:
            raise EOFError("the archive ends within a header")
        ended = False
        info = _parse(header, stream.at - BLOCK)
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE):
            data = _header_data(info, stream)
            if info.type == tarfile.GNUTYPE_LONGNAME:
                name = data.partition(b"\0")[0].decode(errors="replace")
            elif info.type == tarfile.XHDTYPE:
                name, size = _pax(data, name, stream.at)
            continue
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise OSError(f"{info.name} is stored as a sparse file; pack the archive without --sparse")
        member = Member(name or info.name, info.size if size is None else size, stream, 0)
        name = size = None
        # Links, folders and devices have no content, whatever size their headers give.
        if info.isreg() or info.type not in tarfile.SUPPORTED_TYPES:
            member._left = member.size
            if info.isreg():
                yield member
            member._finish()
    if not ended:
        raise EOFError("the archive has no end mark: it was cut off, or is empty")


def _parse(header: bytes, at: int) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "replace")
    except tarfile.HeaderError as error:
        raise OSError(f"the header at byte {at} is damaged ({error})") from None
    if info.size < 0:
        raise OSError(f"the header at byte {at} is damaged (negative size)")
    return info


def _header_data(info: tarfile.TarInfo, stream: _Stream) -> bytes:
    if info.size > MAX_HEADER_BYTES:
        raise OSError(f"the header at byte {stream.at - BLOCK} is damaged (it claims {info.size:,} bytes)")
    data = stream.read(info.size)
    if len(data) < info.size or not stream.skip(-info.size % BLOCK):
        raise EOFError("the archive ends within a header")
    return data


def _pax(data: bytes, name: str | None, at: int) -> tuple[str | None, int | None]:
    """Take path and size out of records ``length key=value``, newline (POSIX.1-2001 pax); length counts all of it."""
    size = None
    try:
        while data.strip(b"\0"):
            length = int(data.split(b" ", 1)[0])
            record, data = data[:length], data[length:]
            key, _, value = record.split(b" ", 1)[1].rstrip(b"\n").partition(b"=")
            if key == b"path":
                name = value.decode(errors="replace")
            elif key == b"size":
                size = int(value)
            if length < 5 or (size or 0) < 0:
                raise ValueError
    except (ValueError, IndexError):
        raise OSError(f"the header before byte {at} is damaged (pax)") from None
    return name, size
