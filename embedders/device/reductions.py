"""What is kept of a graph's output: computed by a small graph where the model ran, or with NumPy; see `Reduction`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from embedders.catalog import Pooling
from embedders.device.reduction_graph import MASK, POSITIONS, ReductionGraph
from embedders.errors import ModelFilesError
from embedders.pooling import cut_dimensions, pool
from embedders.token_vectors import unit_vectors
from embedders.tokenized_texts import PaddedTokens, TokenizedTexts

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """Texts of one call: ``rows`` are their positions among the texts given, ``padded`` the tokens that are fed.

    Padded rows beyond ``rows`` repeat the last one, so that calls have few shapes.
    """

    rows: npt.NDArray[np.intp]
    padded: PaddedTokens

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Token ids of the texts, (rows, tokens)."""
        return self.padded.ids[: len(self.rows)]

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """True at the texts' tokens, False at padding, (rows, tokens)."""
        return self.padded.real[: len(self.rows)]


class Reduction(Protocol):
    """What is kept of one output of a batch. Both ways give the same, within float tolerance.

    ``by_rows`` tells that it has a row for each row that was fed.
    """

    by_rows: ClassVar[bool]

    def graph(self, shape: tuple[int, ...], element: str) -> ReductionGraph:
        """The graph for an output of this shape and element type ("float32", "float16")."""

    def inputs(self, batch: Batch, shape: tuple[int, ...]) -> dict[str, Array]:
        """What the graph takes beside an output of this shape."""

    def on_host(self, values: Array, batch: Batch) -> Array:
        """Reduce an output, of the texts alone, with NumPy; ``values`` may be overwritten."""


@dataclass(frozen=True)
class PooledTexts:
    """One vector a text; see `embedders.pooling.pool` and ``cut_dimensions``.

    ``dtype`` ("float32", "float16") is the vectors' type, which the caller converts to what NumPy gives.
    """

    by_rows: ClassVar[bool] = True

    pooling: Pooling
    normalize: bool
    cut: int | None = None
    layer_norm: bool = False
    dtype: str = "float32"

    def graph(self, shape: tuple[int, ...], element: str) -> ReductionGraph:
        """See Reduction."""
        whole = len(shape) == 2 and self.pooling in ("cls", "none")
        if not whole and (len(shape) != 3 or self.pooling == "none"):
            raise ModelFilesError(f"the model's output has shape {shape}, which pooling {self.pooling!r} cannot take")
        return ReductionGraph(
            "whole" if whole else "mean" if self.pooling == "mean" else "rows",
            shape[-1],
            element,
            normalize=self.normalize or self.cut is not None,
            cut=self.cut,
            layer_norm=self.layer_norm and self.cut is not None,
            dtype=self.dtype,
        )

    def inputs(self, batch: Batch, shape: tuple[int, ...]) -> dict[str, Array]:
        """See Reduction."""
        if len(shape) == 2:
            return {}
        if self.pooling == "mean":
            return {MASK: batch.padded.real}
        mask, width = batch.mask, batch.mask.shape[1]
        columns = np.argmax(mask, axis=1) if self.pooling == "cls" else width - 1 - np.argmax(mask[:, ::-1], axis=1)
        return {POSITIONS: np.arange(len(mask)) * width + columns}

    def on_host(self, values: Array, batch: Batch) -> Array:
        """See Reduction."""
        if self.cut is None:
            return pool(values, batch.mask, self.pooling, normalize=self.normalize)
        whole = pool(values, batch.mask, self.pooling, normalize=False)
        return cut_dimensions(whole, self.cut, layer_norm=self.layer_norm)


@dataclass(frozen=True)
class PickedTokens:
    """Vectors of some tokens, text after text.

    ``picked`` (bool, as long as ``tokens.ids``) tells which. ``dtype`` is the vectors' type, which the caller converts
    to what NumPy gives. An output may leave each text's first token out, (rows, tokens - 1, dim), if ``picked`` does.
    """

    by_rows: ClassVar[bool] = False

    tokens: TokenizedTexts
    picked: npt.NDArray[np.bool_]
    normalize: bool
    dtype: str = "float32"

    def positions(self, batch: Batch, width: int) -> npt.NDArray[np.int64]:
        """Positions of the picked tokens of a batch in its output of (rows x width) tokens."""
        at = np.flatnonzero(batch.mask)[self.picked[self.tokens.positions(batch.rows)]]
        missing = batch.mask.shape[1] - width
        if missing:
            rows, columns = np.divmod(at, batch.mask.shape[1])
            at = rows * width + columns - missing
        return at

    def graph(self, shape: tuple[int, ...], element: str) -> ReductionGraph:
        """See Reduction."""
        return ReductionGraph("rows", shape[2], element, normalize=self.normalize, dtype=self.dtype)

    def inputs(self, batch: Batch, shape: tuple[int, ...]) -> dict[str, Array]:
        """See Reduction."""
        return {POSITIONS: self.positions(batch, shape[1])}

    def on_host(self, values: Array, batch: Batch) -> Array:
        """See Reduction."""
        at = self.positions(batch, values.shape[1])
        flat = values.reshape(-1, values.shape[2])
        kept: Array = flat if len(at) == len(flat) else flat.take(at, axis=0)
        return unit_vectors(kept) if self.normalize else kept


class GreatestLogits:
    """Greatest logit of each vocabulary entry over a text's tokens, at least 0, (rows, vocabulary) float32.

    The weights of SPLADE grow with the logit, so that the maximum may be taken first: the logarithms then see one row a
    text instead of one a token, and only what is not zero.
    """

    by_rows: ClassVar[bool] = True

    def graph(self, shape: tuple[int, ...], element: str) -> ReductionGraph:
        """See Reduction."""
        return ReductionGraph("greatest", shape[2], element)

    def inputs(self, batch: Batch, shape: tuple[int, ...]) -> dict[str, Array]:
        """See Reduction."""
        return {MASK: batch.padded.real}

    def on_host(self, values: Array, batch: Batch) -> Array:
        """See Reduction."""
        padding = ~batch.mask
        if padding.any():
            values[padding] = 0
        greatest: npt.NDArray[np.float32] = values.max(axis=1).astype(np.float32, copy=False)
        np.maximum(greatest, 0, out=greatest)
        return greatest
