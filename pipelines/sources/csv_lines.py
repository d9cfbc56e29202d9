"""Lines of a CSV file, whose ends may be LF, CRLF or, as old Macs and some exports have them, CR alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import chain

from pipelines.sources.lines import MAX_LINE_BYTES, TOO_LONG, without_mark
from pipelines.sources.plain_ids import NotPlainError

# So many carriage returns before a newline are of one end with it.
MOST_RETURNS = 8
_END = re.compile(rb"\r{0,%d}\n|\r" % MOST_RETURNS)


class CsvLines:
    """Iterates over a file's lines, decoded, with their ends; ``taken`` counts the bytes of those that are read.

    Until ``settle`` is called, a line ends at a newline or at a carriage return alone. Raises EOFError for a line past
    MAX_LINE_BYTES, UnicodeError for UTF-16, and whatever the chunks raise.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer, self._at = bytearray(), 0
        self._only_newlines = False
        self._number = self._newlines = 0
        self._last = b""
        self.taken = 0

    def __iter__(self) -> Iterator[str]:
        # Lines of a text in memory come without a step in Python for each.
        texts = (StringIO(_decoded(lines), newline="\n") for lines in self._whole_lines())
        return chain(self._first_lines(), chain.from_iterable(texts))

    def whole(self) -> Iterator[bytes]:
        """Give what is left of the file as it stands, in pieces that end with a newline; ``settle`` comes first.

        Raises NotPlainError where lines end otherwise.
        """
        if not self._only_newlines:
            raise NotPlainError("lines that end with carriage returns")
        return self._whole_lines()

    def _first_lines(self) -> Iterator[str]:
        while not self._only_newlines and (line := self._next()):
            if self._number == 0:
                line = without_mark(line)
            self._number += 1
            self.taken += len(line)
            self._newlines += line.endswith(b"\n")
            self._last = line
            yield _decoded(line) if line.endswith((b"\n", b"\r")) else _decoded(line) + "\n"

    def _whole_lines(self) -> Iterator[bytes]:
        """Yield what is left of the file in pieces that end with a newline."""
        pending: list[bytes] = []
        size = 0
        for chunk in chain([bytes(self._buffer[self._at :])], self._chunks):
            stop = chunk.rfind(b"\n") + 1
            self._refuse_longer(size + (chunk.find(b"\n") if stop else len(chunk)))
            if stop:
                yield self._counted(b"".join([*pending, chunk[:stop]]))
                pending, size, chunk = [], 0, chunk[stop:]
            pending.append(chunk)
            size += len(chunk)
        if size:
            yield self._counted(b"".join([*pending, b"\n"]))

    def _counted(self, lines: bytes) -> bytes:
        self._number += lines.count(b"\n")
        self.taken += len(lines)
        return lines

    def settle(self) -> int:
        """Keep to the ends of lines that the header has, whose last line is the one that came last; count its lines.

        After a newline, lines end at newlines alone, and a carriage return that stands in a field without quotes makes
        its row unreadable, instead of two rows that nobody wrote.
        """
        if not self._last.endswith(b"\r"):
            self._only_newlines = True
            self._number = self._newlines
        return self._number

    def _next(self) -> bytes:
        """Cut off the next line with its end; the file's last one may have none, and after it all are empty."""
        searched = self._at
        while not (stop := self._end_after(searched)):
            self._refuse_longer(len(self._buffer) - self._at)
            more = next(self._chunks, b"")
            if not more:
                stop = self._end_after(searched, at_end=True) or len(self._buffer)
                break
            del self._buffer[: self._at]
            searched, self._at = max(0, len(self._buffer) - MOST_RETURNS), 0
            self._buffer += more
        line = bytes(self._buffer[self._at : stop])
        self._refuse_longer(len(line))
        self._at = stop
        return line

    def _refuse_longer(self, size: int) -> None:
        if size > MAX_LINE_BYTES:
            raise EOFError(f"line {self._number + 1} {TOO_LONG}")

    def _end_after(self, start: int, *, at_end: bool = False) -> int:
        """Find where the line ends; 0 where the buffer does not tell."""
        found = _END.search(self._buffer, start)
        if found is None:
            return 0
        returns = self._buffer[found.start() : found.start() + MOST_RETURNS + 1]
        if not at_end and len(returns) <= MOST_RETURNS and not returns.strip(b"\r"):
            return 0
        return found.end()


def _decoded(line: bytes) -> str:
    # Only the rows whose columns have such bytes are to fail: see rows.py.
    return line.decode(errors="surrogateescape")
