"""Hashes of whole Arrow columns of text: what xxhash and hashlib give for each entry, made for all of them together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

Column: TypeAlias = pa.Array | pa.ChunkedArray

# Up to so many entries become Python's one by one: faster is NumPy's way, for which pyarrow imports pandas.
FEW = 1024

# Hexadecimal digits of a UUID between its dashes, and where each group begins in its 36 characters.
_UUID_GROUPS = ((0, 0, 8), (9, 8, 12), (14, 12, 16), (19, 16, 20), (24, 20, 32))


def xxh3_128_hex(column: Column) -> pa.Array:
    """Hash entries, none of which is null, to the 32 digits of ``xxh3_128_hexdigest``."""
    return _hex_strings(_digests(xxhash.xxh3_128_digest, column), 32)


def xxh3_64_hex(column: Column) -> pa.Array:
    """Hash entries, none of which is null, to the 16 digits of ``xxh3_64_hexdigest``."""
    return _hex_strings(_digests(xxhash.xxh3_64_digest, column), 16)


def xxh3_64(column: Column) -> npt.NDArray[np.uint64]:
    """Hash entries, none of which is null, to 64-bit integers."""
    return np.frombuffer(_digests(xxhash.xxh3_64_digest, column), ">u8").astype(np.uint64)


def hash_of_all(*columns: pa.ChunkedArray) -> str:
    """Hash all entries of columns of text without nulls, in their order, to 16 digits, however they are chunked."""
    texts = [
        pc.binary_join(pa.LargeListArray.from_arrays(np.array([0, len(column)]), column.combine_chunks()), "\n")
        for column in columns
    ]
    return str(xxhash.xxh3_64_hexdigest(b"\n".join(text[0].as_buffer() for text in texts)))


def uuid5_strings(namespace: bytes, *parts: str | Column) -> pa.Array:
    """Name entries by UUIDs of version 5 (RFC 9562, section 5.5), as ``uuid.uuid5`` does.

    ``namespace`` are the 16 bytes of a UUID. A name is all ``parts``, a text or an entry of a column without nulls,
    one behind the other; one of them is a column.
    """
    kind = pa.binary()
    pieces = [pa.scalar(part.encode(), kind) if isinstance(part, str) else part.cast(kind) for part in parts]
    named = join(pa.scalar(namespace, kind), *pieces)
    digests = b"".join([hashed.digest() for hashed in map(hashlib.sha1, entries(named))])
    codes = np.frombuffer(digests, np.uint8).reshape(-1, hashlib.sha1().digest_size)[:, :16].copy()
    codes[:, 6] = codes[:, 6] & 0x0F | 0x50
    codes[:, 8] = codes[:, 8] & 0x3F | 0x80
    digits = np.frombuffer(codes.tobytes().hex().encode(), np.uint8).reshape(-1, 32)
    texts = np.full((len(digits), 36), ord("-"), np.uint8)
    for at, start, stop in _UUID_GROUPS:
        texts[:, at : at + stop - start] = digits[:, start:stop]
    return _fixed_strings(texts.tobytes(), 36)


def text_column(texts: Sequence[str]) -> pa.Array:
    """Put texts into a column without pandas, which ``pa.array`` imports to look at a list. Refuses lone surrogates."""
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return pa.LargeStringArray.from_buffers(len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))


def join(*parts: Column | pa.Scalar) -> Column:
    """Join columns and scalars, all of one type, entry by entry; null where one of them is."""
    kind = parts[0].type
    empty = pa.scalar(b"" if pa.types.is_large_binary(kind) or pa.types.is_binary(kind) else "", kind)
    return pc.binary_join_element_wise(*parts, empty)


def entries(column: Column) -> list[Any]:
    """Entries of a column of text or bytes as ``bytes``; None for null."""
    binary = pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        column = column.cast(binary)
    if len(column) <= FEW:
        few: list[Any] = column.to_pylist()
        return few
    listed: list[Any] = (
        column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy()
    ).tolist()
    return listed


def _digests(digest: Callable[[bytes], bytes], column: Column) -> bytes:
    return b"".join(map(digest, entries(column)))


def _hex_strings(digests: bytes, width: int) -> pa.Array:
    return _fixed_strings(digests.hex().encode(), width)


def _fixed_strings(characters: bytes, width: int) -> pa.Array:
    """Cut ASCII characters into strings of one length."""
    offsets = np.arange(0, len(characters) + 1, width, dtype=np.int32)
    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(characters))
