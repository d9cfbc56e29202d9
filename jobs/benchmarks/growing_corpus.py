"""Corpora of any size made of real texts: rows that differ, of words that real texts have."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measuring import stdlib_texts

ROWS_A_GROUP = 65_536
GROUPS_A_FILE = 16
TITLE_CHARACTERS = 40


def write_corpus(folder: Path, rows: int, words: int) -> None:
    """Write Parquet files of about a million rows each: id, text of ``words`` words on average, title and year.

    A text is two passages of the standard library's docstrings, each from a word that is drawn at random, so that
    hardly two are alike; their lengths are spread evenly from a third of the average to five thirds of it. The words
    are those of the docstrings, however many rows there are.
    """
    passages = _Passages(" ".join(stdlib_texts()).split())
    folder.mkdir(parents=True, exist_ok=True)
    file_rows = ROWS_A_GROUP * GROUPS_A_FILE
    for start in range(0, rows, file_rows):
        path = folder / f"part-{start // file_rows:04}.parquet"
        with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
            for first in range(start, min(rows, start + file_rows), ROWS_A_GROUP):
                count = min(ROWS_A_GROUP, rows - first)
                texts = list(passages.draw(count, words, np.random.default_rng(first)))
                numbers = range(first, first + count)
                columns = [
                    [f"doc-{number}" for number in numbers],
                    texts,
                    [text[:TITLE_CHARACTERS] for text in texts],
                    [1990 + number % 35 for number in numbers],
                ]
                writer.write_table(pa.table(columns, schema=_SCHEMA))


_SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string()), ("title", pa.string()), ("year", pa.int32())])


class _Passages:
    """Draws passages of a text that goes round: behind its last word comes the first."""

    def __init__(self, words: list[str]) -> None:
        self._text = " ".join([*words, *words])
        self._starts = list(accumulate((len(word) + 1 for word in [*words, *words]), initial=0))
        self._words = len(words)

    def draw(self, count: int, words: int, random: np.random.Generator) -> Iterator[str]:
        halves = random.integers(0, self._words, (count, 2)).tolist()
        longest = min(self._words, max(2, words * 5 // 6))
        lengths = random.integers(max(1, words // 6), longest + 1, (count, 2)).tolist()
        for places, sizes in zip(halves, lengths, strict=True):
            yield " ".join(self._passage(place, size) for place, size in zip(places, sizes, strict=True))

    def _passage(self, start: int, words: int) -> str:
        return self._text[self._starts[start] : self._starts[start + words] - 1]
