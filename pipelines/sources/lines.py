"""Bytes and lines of a text file, plain or compressed, in bounded memory."""

from __future__ import annotations

import bz2
import codecs
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, chain
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from pipelines.sources.files import filesystem_of
from pipelines.sources.records import UnreadableFileError
from pipelines.sources.split import Split

CHUNK_BYTES = 1 << 20
# A compressed chunk may swell a thousandfold.
COMPRESSED_CHUNK_BYTES = 64 << 10
MAX_LINE_BYTES = 256 << 20
# Of longer lines pieces are not put together.
MAX_PIECE_BYTES = 16 << 20
TOO_LONG = f"is longer than {MAX_LINE_BYTES >> 20} MB"
COMPRESSIONS = (".gz", ".bz2", ".zst")
# Base-2 logarithm of the largest window of zstd, 2 GB: what its decoder can take at the most.
MOST_WINDOW_LOG = 31


def without_compression(name: str) -> str:
    """Drop the ending of a compression from a name in small letters."""
    return next((name.removesuffix(ending) for ending in COMPRESSIONS if name.endswith(ending)), name)


def is_compressed(path: str) -> bool:
    """Tell by its ending whether a file is compressed."""
    return path.lower().endswith(COMPRESSIONS)


def read_lines(split: Split) -> Iterator[bytes | None]:
    """Yield the lines that begin in the split, without newlines; None stands for one past MAX_LINE_BYTES.

    A byte order mark at the file's start is left out. Raises UnicodeError for UTF-16, and what ``read_chunks``
    raises once all whole lines before the damage are out.
    """
    return chain.from_iterable(read_line_lists(split))


def read_line_lists(split: Split) -> Iterator[list[bytes | None]]:
    """Yield the lines that ``read_lines`` does in lists, each of about a chunk; also those before what it raises."""
    # A line that goes on across `start` is the split's before. One byte earlier, a line that begins at `start` shows.
    at = max(split.start - 1, 0)
    for first, size, rest in _split_lists(read_chunks(split, at)):
        lines = [without_mark(first) if at == 0 and first else first, *rest]
        sizes = [size, *map(len, rest)]
        if chosen := _of_range(lines, sizes, at, split):
            yield chosen
        at += sum(sizes) + len(sizes)
        if split.stop is not None and at >= split.stop:
            return


def _of_range(lines: list[bytes | None], sizes: list[int], at: int, split: Split) -> list[bytes | None]:
    """Choose the lines, with their sizes and the first of them at a byte, that begin in the split."""
    if split.start <= at and split.stop is None:
        return lines
    places = list(accumulate((size + 1 for size in sizes[:-1]), initial=at))
    last = len(lines) if split.stop is None else bisect_left(places, split.stop)
    return lines[bisect_left(places, split.start) : last]


def _split_lists(chunks: Iterable[bytes]) -> Iterator[tuple[bytes | None, int, list[bytes]]]:
    """Cut chunks at newlines: a line with its size, None if it has more than MAX_LINE_BYTES, and the chunk's others."""
    pending: list[bytes] = []
    size = 0
    for chunk in chunks:
        head, *rest = chunk.split(b"\n")
        pending.append(head)
        size += len(head)
        if rest:
            last = rest.pop()
            yield _joined(pending, size), size, rest
            pending, size = [last], len(last)
        elif size > MAX_LINE_BYTES:
            pending.clear()
    if size:
        yield _joined(pending, size), size, []


def _joined(pieces: list[bytes], size: int) -> bytes | None:
    return b"".join(pieces) if size <= MAX_LINE_BYTES else None


def read_whole_lines(split: Split) -> Iterator[bytes]:
    """Yield the lines that ``read_lines`` does as they stand, in pieces of about a chunk that end with a newline.

    Raises EOFError for a line past MAX_PIECE_BYTES, and what ``read_lines`` raises.
    """
    at = max(split.start - 1, 0)
    is_inside = split.start > 0
    # Whose first byte is at ``at``.
    pending = b""
    for number, chunk in enumerate(read_chunks(split, at)):
        pending += chunk
        if not (at or number):
            pending = without_mark(chunk)
            at = len(chunk) - len(pending)
        if is_inside:
            is_inside, at, pending = b"\n" not in pending, *_after_line(at, pending)
        if split.stop is not None and at >= split.stop:
            return
        # The last line is the one that begins before the split's end.
        is_last = split.stop is not None and at + len(pending) >= split.stop
        stop = 1 + (pending.find(b"\n", split.stop - 1 - at) if is_last and split.stop else pending.rfind(b"\n"))
        if stop:
            yield pending[:stop]
            at, pending = at + stop, pending[stop:]
            if is_last:
                return
        if len(pending) > MAX_PIECE_BYTES:
            raise EOFError("a line is too long to be looked at with others")
    if pending and not is_inside:
        yield pending + b"\n"


def _after_line(at: int, some: bytes) -> tuple[int, bytes]:
    """Leave out the first line, or the part of it that there is."""
    rest = some.partition(b"\n")[2]
    return at + len(some) - len(rest), rest


def without_mark(start: bytes) -> bytes:
    """Drop a UTF-8 byte order mark; raises UnicodeError where the mark is the one of UTF-16."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UnicodeError("the file is UTF-16; convert it to UTF-8")
    return start.removeprefix(codecs.BOM_UTF8)


def count_lines(split: Split) -> int:
    """Count the lines that begin in a split of an uncompressed file."""
    return sum(1 for _ in read_lines(split))


def read_chunks(split: Split, at: int = 0) -> Iterator[bytes]:
    """Yield a file's bytes from ``at`` to its end, uncompressed.

    gzip, bzip2 and zstd, each also of several members, go by the ending; zstd may have windows of up to 2 GB (those of
    ``--long=31``). Raises OSError, EOFError, zlib.error, pyarrow.ArrowException or UnreadableFileError where the file
    is damaged, after all that can be had of it; of zstd up to 64 KB are lost.
    """
    filesystem = filesystem_of(split.root)
    if at or split.stop is not None:
        with filesystem.open_input_file(split.path) as file:
            file.seek(at)
            yield from _pieces(file, CHUNK_BYTES)
        return
    ending = PurePosixPath(split.path).suffix.lower()
    with filesystem.open_input_stream(split.path, compression=None) as stream:
        if ending == ".gz":
            yield from _decompress(_pieces(stream, COMPRESSED_CHUNK_BYTES), lambda: zlib.decompressobj(wbits=31))
        elif ending == ".bz2":
            yield from _decompress(_pieces(stream, COMPRESSED_CHUNK_BYTES), bz2.BZ2Decompressor)
        elif ending == ".zst":
            yield from _decompress_zstd(_pieces(stream, COMPRESSED_CHUNK_BYTES))
        else:
            yield from _pieces(stream, CHUNK_BYTES)


def _pieces(stream: pa.NativeFile, size: int) -> Iterator[bytes]:
    while piece := stream.read(size):
        yield piece


def _decompress(pieces: Iterable[bytes], make: Callable[[], Any]) -> Iterator[bytes]:
    """Run pieces through decompressors, a fresh one for each member of the file."""
    decoder = None
    for piece in pieces:
        while piece := _without_padding(piece, decoder):
            if decoder is None or decoder.eof:
                decoder = make()
            # None of a block that goes on, such as one of bzip2's: an empty piece would look like the end.
            if data := decoder.decompress(piece):
                yield data
            piece = decoder.unused_data
    if decoder is not None and not decoder.eof:
        raise EOFError("the compressed data ends too early")


def _without_padding(piece: bytes, decoder: Any) -> bytes:
    """Drop the zeros that some writers put behind a member; no member begins with one."""
    return piece if decoder is None or not decoder.eof else piece.lstrip(b"\0")


def _decompress_zstd(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Run pieces through zstd decoders, a fresh one for each frame, with as little output at once as input."""
    # Late, so that no other source loads it. pyarrow's own decoder has a limit of 128 MB for windows.
    from backports import zstd

    decoder = None
    for piece in pieces:
        while (piece := _without_padding(piece, decoder)) or not (
            decoder is None or decoder.eof or decoder.needs_input
        ):
            if decoder is None or decoder.eof:
                decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MOST_WINDOW_LOG})
            try:
                data = decoder.decompress(piece, COMPRESSED_CHUNK_BYTES)
            except zstd.ZstdError as error:
                raise UnreadableFileError(str(error)) from None
            if data:
                yield data
            piece = decoder.unused_data
    if decoder is not None and not decoder.eof:
        raise EOFError("the compressed data ends too early")
