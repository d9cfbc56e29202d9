"""Members of a tar archive as they come in a stream, in bounded memory and without a file on disk.

tarfile parses single headers (ustar, GNU and pax); the way from one to the next is our own, so that no member is lost
in silence. tarfile takes a damaged or cut off archive for one that ends early, where it is not damaged at its very
start. A subclass of its TarInfo can raise instead, but not for the records of pax: before CVE-2024-6232 was mended
(Python 3.11.7, for one) it passes over damaged ones, with the member or its name, and reads ones of any size into
memory.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

BLOCK = tarfile.BLOCKSIZE
MAX_HEADER_BYTES = 1 << 20
SKIPPED_BYTES = 1 << 20
EXTENDED_TYPES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)

SPARSE = "{} is stored as a sparse file; pack the archive without --sparse"


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

    def go_to(self, place: int) -> bool:
        """Pass over all bytes up to a place; False where the end comes before."""
        while self.at < place:
            if not self.read(min(place - self.at, SKIPPED_BYTES)):
                return False
        return True


@dataclass(frozen=True)
class Member:
    """A regular file in an archive; ``read`` it once, before the next one is asked for."""

    name: str
    size: int
    _stream: _Stream

    def read(self) -> bytes:
        """Read the content, all of it; raises EOFError where the archive ends before."""
        data = self._stream.read(self.size)
        if len(data) < self.size:
            raise EOFError(f"the archive ends within {self.name}")
        return data


def tar_members(chunks: Iterable[bytes]) -> Iterator[Member]:
    """Yield the regular files of an archive; folders, links and devices are passed over.

    Archives one behind another are read as one. Raises EOFError where the archive ends before its end mark, OSError
    where a header is damaged, and what ``chunks`` raises; members before that are out by then.
    """
    stream = _Stream(chunks)
    zero_blocks = 0
    name: str | None = None
    size: int | None = None
    while header := stream.read(BLOCK):
        at = stream.at - len(header)
        is_zero = not header.strip(b"\0")
        # An end mark has two such blocks or more, and does not part a header from its extension.
        if (is_zero and (name, size) != (None, None)) or (not is_zero and zero_blocks == 1):
            raise OSError(f"the header at byte {at if is_zero else at - BLOCK} is damaged (nothing but zeros)")
        if is_zero:
            zero_blocks += len(header) == BLOCK
            continue
        if len(header) < BLOCK:
            raise EOFError("the archive ends within a header")
        zero_blocks = 0
        info = _parse(header, at)
        if info.type in EXTENDED_TYPES:
            data = _header_data(info, stream)
            if info.type == tarfile.GNUTYPE_LONGNAME:
                name = data.partition(b"\0")[0].decode(errors="replace")
            elif info.type == tarfile.XHDTYPE:
                name, size = _pax(data, name, stream.at)
            continue
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise OSError(SPARSE.format(info.name))
        member = Member(name or info.name, info.size if size is None else size, stream)
        name = size = None
        start = stream.at
        if info.isreg():
            yield member
        # Links, folders and devices have no content, whatever size their headers give.
        content = member.size if info.isreg() or info.type not in tarfile.SUPPORTED_TYPES else 0
        if not stream.go_to(start + content + -content % BLOCK):
            raise EOFError(f"the archive ends within {member.name}")
    if not zero_blocks:
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
    if len(data) < info.size or not stream.go_to(stream.at + -info.size % BLOCK):
        raise EOFError("the archive ends within a header")
    return data


def _pax(data: bytes, name: str | None, at: int) -> tuple[str | None, int | None]:
    """Take path and size out of records ``length key=value``, newline (POSIX.1-2001 pax); length counts all of it."""
    size = None
    while data.strip(b"\0"):
        digits = data.partition(b" ")[0]
        length = int(digits) if digits.isdigit() and len(digits) < 10 else 0
        record, data = data[:length], data[length:]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        is_whole = len(record) == length and record.endswith(b"\n") and key and equals
        if not is_whole or (key == b"size" and not value.isdigit()):
            raise OSError(f"the header before byte {at} is damaged (pax)")
        if key == b"path":
            name = value.decode(errors="replace")
        elif key == b"size":
            size = int(value)
        elif key == b"GNU.sparse.name":
            raise OSError(SPARSE.format(value.decode(errors="replace")))
    return name, size
