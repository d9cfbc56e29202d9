"""Ids of CSV rows without parsing them, by where separators, quotes and newlines are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from pipelines.sources.plain_ids import NotPlainError, PlainIds

# A longer row is left to the parser.
MOST_PENDING = 16 << 20
_QUOTE, _NEWLINE, _RETURN = b'"\n\r'
Codes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]


def plain_csv_ids(pieces: Iterable[bytes], *, column: int, width: int, delimiter: str) -> Iterator[PlainIds]:
    """Take the fields of one column out of the lines below a header, which come in pieces that end with a newline.

    Rows have ``width`` fields, two at least. Raises NotPlainError where a row has others, its field there is empty, or
    quotes and carriage returns are elsewhere than around fields and at the ends of rows.
    """
    if len(delimiter.encode()) != 1 or width < 2:
        raise NotPlainError("a table whose rows are not cut at single bytes")
    pending = b""
    for piece in pieces:
        lines = pending + piece
        codes = np.frombuffer(lines, np.uint8)
        ends = _field_ends(codes, ord(delimiter))
        ends = ends[: len(ends) - len(ends) % width].reshape(-1, width)
        if (codes[ends[:, :-1]] == _NEWLINE).any() or (codes[ends[:, -1]] != _NEWLINE).any():
            raise NotPlainError("a row with more fields than others, or fewer")
        yield PlainIds(_fields(lines, ends, column))
        pending = lines[ends[-1, -1] + 1 :] if len(ends) else lines
        if len(pending) > MOST_PENDING:
            raise NotPlainError("a row that is too long to be looked at with others")
    if pending:
        raise NotPlainError("a quote that is never closed, or a row with fewer fields than others")


def _field_ends(codes: Codes, delimiter: int) -> Places:
    """Find the delimiters and newlines outside of quotes; a row begins at the first byte, the last is a newline."""
    ends = codes == delimiter
    ends |= codes == _NEWLINE
    quotes = codes == _QUOTE
    returns = codes == _RETURN
    if quotes.any():
        _refuse_odd(codes, np.flatnonzero(quotes), delimiter)
        # True from a quote that opens a field up to the one that closes it.
        outside = ~np.bitwise_xor.accumulate(quotes)
        ends &= outside
        returns &= outside
    if returns.any() and (codes[np.flatnonzero(returns) + 1] != _NEWLINE).any():
        raise NotPlainError("a carriage return within a row")
    return np.flatnonzero(ends)


def _refuse_odd(codes: Codes, quotes: Places, delimiter: int) -> None:
    """See to it that quotes are around whole fields, or twice within these."""
    opening, closing = quotes[::2], quotes[1::2]
    before = codes[opening - 1]
    opens = (before == delimiter) | (before == _NEWLINE) | (opening == 0)
    opens[1:] |= opening[1:] - 1 == closing[: len(opening) - 1]
    after = codes[closing + 1]
    closes = (after == delimiter) | (after == _NEWLINE) | (after == _RETURN) | (after == _QUOTE)
    if not (opens.all() and closes.all()):
        raise NotPlainError("a quote within a field that has none around it")


def _fields(lines: bytes, ends: Places, column: int) -> list[bytes]:
    starts = ends[:, column - 1] + 1 if column else np.append(0, ends[:-1, -1] + 1)[: len(ends)]
    fields = [lines[start:stop] for start, stop in zip(starts.tolist(), ends[:, column].tolist(), strict=True)]
    if column == ends.shape[1] - 1:
        fields = [field.removesuffix(b"\r") for field in fields]
    if b'"' in b"".join(fields):
        fields = [field[1:-1].replace(b'""', b'"') if field.startswith(b'"') else field for field in fields]
    if b"" in fields:
        raise NotPlainError("a row without an id")
    return fields
