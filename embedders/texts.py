"""Texts as users give them: read as lists, and each distinct one computed once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from more_itertools import chunked

from embedders.base import Texts


class Results(Protocol):
    """Results of texts by position: a matrix of vectors, an Arrow column, token vectors."""

    def __len__(self) -> int: ...

    def take(self, indices: Any, /) -> Any:
        """The results at these positions."""


Item = TypeVar("Item")
ResultsT = TypeVar("ResultsT", bound=Results)


@dataclass(frozen=True)
class DistinctTexts:
    """``texts`` without repetitions, in the order of their first appearance.

    ``inverse`` (texts given,) has the position in ``texts`` of each text that was given.
    """

    texts: list[str]
    inverse: npt.NDArray[np.intp]

    @classmethod
    def of(cls, texts: Iterable[str]) -> DistinctTexts:
        """Find the distinct ones among some texts; raises TypeError for what cannot be hashed, such as a list."""
        numbers: dict[str, int] = {}
        inverse = np.array([numbers.setdefault(text, len(numbers)) for text in texts], dtype=np.intp)
        return cls(list(numbers), inverse)

    def for_all(self, results: ResultsT) -> ResultsT:
        """Results of all texts that were given, in their order, from those of the distinct ones."""
        if len(results) == len(self.inverse):
            return results
        repeated = results[self.inverse] if isinstance(results, np.ndarray) else results.take(self.inverse)
        return cast("ResultsT", repeated)


def text_list(texts: Texts) -> list[str]:
    """Texts of any kind an embedder takes, as a list; raises TypeError for a single str."""
    refuse_one_text(texts)
    if isinstance(texts, (pa.Array, pa.ChunkedArray)):
        return list(texts.to_pylist())
    return list(texts)


def refuse_one_text(texts: Texts) -> None:
    """Raise TypeError for a single str, whose items are letters."""
    if isinstance(texts, str):
        raise TypeError("texts must be a sequence of str, not one str; wrap it in a list")


def check_batch_size(batch_size: int) -> None:
    """Raise ValueError for a number of texts or images below 1."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {batch_size}")


def take_lists(texts: str | Iterable[str], batch_size: int) -> Iterator[list[str]]:
    """Cut an iterable into lists without reading ahead; one str is one text, an Arrow column many.

    Raises ValueError, when first iterated, for a ``batch_size`` below 1.
    """
    check_batch_size(batch_size)
    if isinstance(texts, (pa.Array, pa.ChunkedArray)):
        texts = texts.to_pylist()
    yield from chunked([texts] if isinstance(texts, str) else texts, batch_size)
