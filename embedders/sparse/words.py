r"""Cuts whole batches of texts into words, the runs of ``\w`` of Python's ``re``, in compiled code.

It works on UTF-8 bytes. ASCII letters are lowered here, all others in terms.py, which sees each distinct word once.
Words are cut before they are lowered, so that a final sigma is told from the word alone. "İ" is the only ``\w``
character that lowering turns into one that is no ``\w``: "i" and a combining dot, which ends the word. Its two bytes
become "i" and a space here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embedders.base import Texts
from embedders.texts import refuse_one_text

# Bytes of text that are cut at a time, so that temporary arrays stay in the processor's cache.
SLICE_BYTES = 1 << 19

_SPACE = ord(" ")
_WORD_BYTES = frozenset(byte for byte in range(256) if byte >= 0x80 or chr(byte).isalnum() or byte == ord("_"))
_LOWER = bytes(byte if byte in _WORD_BYTES else _SPACE for byte in range(256)).lower()

_CODE_POINTS = 0x110000
_DOTTED_CAPITAL_I = 0x130
# UTF-8 sequences: length, least and greatest first byte, and the bits of it that belong to the code point.
_SEQUENCES = ((2, 0xC2, 0xDF, 0x1F), (3, 0xE0, 0xEF, 0x0F), (4, 0xF0, 0xF4, 0x07))


@dataclass(frozen=True)
class Words:
    """Words of a slice of texts, in order; text r owns ``column[offsets[r]:offsets[r + 1]]``.

    ``column`` is large_string, ``offsets`` (texts + 1,) int64.
    """

    column: pa.LargeStringArray
    offsets: npt.NDArray[np.int64]


def text_column(texts: Texts) -> pa.LargeStringArray:
    """Texts as one Arrow column without nulls.

    Raises TypeError for what is not a str, and ValueError for a lone surrogate, which UTF-8 cannot hold, and for bytes
    of a column that are not UTF-8; all name the position in ``texts``.
    """
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if isinstance(texts, pa.Array):
        return _checked_column(texts)
    refuse_one_text(texts)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text {row} must be a str, not {type(text).__name__}")
    try:
        return pa.array(texts, type=pa.large_string())
    except UnicodeEncodeError:
        raise _surrogate_error(texts) from None


def slices(column: pa.LargeStringArray, max_bytes: int = SLICE_BYTES) -> Iterator[pa.LargeStringArray]:
    """Cut a column without nulls into runs of texts of at most ``max_bytes`` bytes; a longer text comes alone."""
    ends = np.cumsum(pc.binary_length(column).to_numpy() + 1)
    start, done = 0, 0
    while start < len(column):
        stop = max(int(np.searchsorted(ends, done + max_bytes, side="right")), start + 1)
        yield column.slice(start, stop - start)
        start, done = stop, int(ends[stop - 1])


def split_words(column: pa.LargeStringArray) -> Words:
    """Cut texts into words. Temporary memory is some 30 bytes a byte of text."""
    spaced = pc.binary_join_element_wise(
        column, pa.scalar("", type=pa.large_string()), pa.scalar(" ", type=pa.large_string())
    )
    _, text_ends, text = spaced.buffers()
    codes = np.frombuffer(_blank_beyond_ascii(text.to_pybytes()).translate(_LOWER), np.uint8)
    # A space before the first text and the one after each text make words' edges come in pairs.
    inside = np.zeros(len(codes) + 1, dtype=np.bool_)
    np.not_equal(codes, _SPACE, out=inside[1:])
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    starts, stops = edges[::2], edges[1::2]
    ends = np.zeros(len(starts) + 1, dtype=np.int64)
    np.cumsum(stops - starts, out=ends[1:])
    # Three times as fast as indexing with the mask, or bytes.translate with characters to delete.
    letters = codes.take(np.flatnonzero(inside[1:]))
    words = pa.LargeStringArray.from_buffers(len(starts), pa.py_buffer(ends), pa.py_buffer(letters))
    text_starts = np.frombuffer(text_ends, np.int64, len(column) + 1)
    return Words(words, np.searchsorted(starts, text_starts))


def _blank_beyond_ascii(text: bytes) -> bytes:
    r"""Overwrite with spaces what is neither ASCII nor ``\w``, byte for byte, so that offsets stay true."""
    codes = np.frombuffer(text, np.uint8)
    leads = np.flatnonzero(codes >= _SEQUENCES[0][1])
    if not len(leads):
        return text
    codes = codes.copy()
    lead_codes = codes[leads]
    for size, low, high, bits in _SEQUENCES:
        places = leads[(lead_codes >= low) & (lead_codes <= high)]
        code_points = (codes[places] & bits).astype(np.int32)
        for step in range(1, size):
            code_points = (code_points << 6) | (codes[places + step] & 0x3F)
        others = places[~_word_code_points()[code_points]]
        for step in range(size):
            codes[others + step] = _SPACE
        dotted = places[code_points == _DOTTED_CAPITAL_I]
        codes[dotted] = ord("i")
        codes[dotted + 1] = _SPACE
    blanked: bytes = codes.tobytes()
    return blanked


@cache
def _word_code_points() -> npt.NDArray[np.bool_]:
    r"""Whether a code point beyond ASCII is ``\w``. Takes 0.1 s to make, and is not made for ASCII texts."""
    return np.fromiter(map(str.isalnum, map(chr, range(_CODE_POINTS))), np.bool_, _CODE_POINTS)


def _checked_column(texts: pa.Array) -> pa.LargeStringArray:
    value_type = texts.type.value_type if pa.types.is_dictionary(texts.type) else texts.type
    is_text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    if len(texts) and not any(check(value_type) for check in is_text):
        raise TypeError(f"texts must be a column of strings, not of {texts.type}")
    if texts.null_count:
        row = pc.index(texts.is_null(), True).as_py()
        raise TypeError(f"text {row} must be a str, not null")
    column = texts.cast(pa.large_string())
    column.validate(full=True)
    return column


def _surrogate_error(texts: Texts) -> ValueError:
    for row, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            code_point = ord(text[error.start])
            return ValueError(
                f"text {row} holds the lone surrogate U+{code_point:04X} at character {error.start}, which UTF-8 "
                'cannot hold; decode its source anew, or replace it: text.encode(errors="replace").decode()'
            )
    raise AssertionError("called for texts without a lone surrogate")
