"""Batches of tokenized texts as a graph is fed with them, and what is kept of its outputs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from embedders.device.memory import TokenBudget, is_out_of_memory
from embedders.device.on_device import OnDevice
from embedders.device.reductions import Batch, Reduction
from embedders.device.settings import BatchSettings
from embedders.device.shapes import bucket_rows
from embedders.graph_session import GraphSession
from embedders.tokenized_texts import TokenizedTexts

Inputs: TypeAlias = "Mapping[str, npt.NDArray[Any]] | Callable[[int], Mapping[str, npt.NDArray[Any]]]"


@dataclass(frozen=True)
class FedBatch:
    """A batch with what the graph is fed, and the seconds that took."""

    batch: Batch
    feed: Mapping[str, Any]
    seconds: float

    @property
    def rows(self) -> npt.NDArray[np.intp]:
        """Positions of its texts among the texts given."""
        return self.batch.rows

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and tokens that are fed, padding included."""
        rows, width = self.batch.padded.ids.shape
        return rows, width


@dataclass(frozen=True)
class DoneBatch:
    """A batch with what is kept of each output, and the seconds that preparing and running it took."""

    batch: Batch
    values: tuple[Any, ...]
    seconds: float


@dataclass(frozen=True)
class TextBatches:
    """Makes batches of some texts and runs them.

    ``outputs`` are names of the graph's outputs, ``reductions`` what is kept of each (None: all of it). ``inputs`` are
    fed beside the tokens. A batch is filled up to the greatest of its texts' ``widths`` (texts,); it has at most
    ``max_rows`` rows, and what ``budget`` allows. ``settings`` are resolved ones. ``upload_to`` is a session of the
    device that all sessions are on; None: whichever session runs a batch uploads it.
    """

    tokens: TokenizedTexts
    outputs: Sequence[str]
    reductions: Sequence[Reduction | None]
    inputs: Inputs
    settings: BatchSettings
    budget: TokenBudget
    widths: npt.NDArray[np.int64]
    max_rows: int | None = None
    upload_to: GraphSession | None = None

    def prepare(self, rows: npt.NDArray[np.intp]) -> FedBatch:
        """Pad the texts at some positions, and bring them to the device where it is known."""
        started = perf_counter()
        width, fed = int(self.widths[rows].max()), rows
        if self.settings.buckets:
            # Repeated texts, unlike rows that are masked as a whole, cannot give NaN.
            most = min(self.budget.at(width) // width, self.max_rows or sys.maxsize)
            fed = np.concatenate([rows, np.repeat(rows[-1:], bucket_rows(len(rows), most) - len(rows))])
        padded = self.tokens.padded(fed, width=width)
        types = np.zeros_like(padded.ids) if padded.types is None else padded.types
        more = self.inputs(len(fed)) if callable(self.inputs) else self.inputs
        mask = padded.attended.astype(np.int64)
        feed: dict[str, Any] = {"input_ids": padded.ids, "attention_mask": mask, "token_type_ids": types, **more}
        device = None if self.upload_to is None or not self.settings.reduce_on_device else self.upload_to.on_device
        if device is not None:
            try:
                feed = device.upload(feed)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                # Left to the call, which is halved where it does not fit either.
        return FedBatch(Batch(rows, padded), feed, perf_counter() - started)

    def call(self, session: GraphSession, fed: FedBatch) -> DoneBatch:
        """Run the graph for a batch, and keep of its outputs what is wanted."""
        started = perf_counter()
        device = session.on_device
        if self.settings.reduce_on_device and device is not None:
            values = self._on_device(device, fed)
        else:
            rows = len(fed.rows)
            found = session.run_outputs(self.outputs, fed.feed)
            values = tuple(
                value[:rows] if reduction is None else reduction.on_host(value[:rows], fed.batch)
                for value, reduction in zip(found, self.reductions, strict=True)
            )
        return DoneBatch(fed.batch, values, fed.seconds + perf_counter() - started)

    def call_bare(self, session: GraphSession, fed: FedBatch) -> DoneBatch:
        """Run the graph for a batch, and leave the outputs where they are; on the host, where that is not possible."""
        started = perf_counter()
        device = session.on_device
        values = session.run_outputs(self.outputs, fed.feed) if device is None else device.run(self.outputs, fed.feed)
        del values
        return DoneBatch(fed.batch, (), fed.seconds + perf_counter() - started)

    def _on_device(self, device: OnDevice, fed: FedBatch) -> tuple[npt.NDArray[Any], ...]:
        found, rows = device.run(self.outputs, fed.feed), len(fed.rows)
        kept: list[npt.NDArray[Any]] = []
        for value, reduction in zip(found, self.reductions, strict=True):
            if reduction is None:
                whole = value.numpy()[:rows]
                kept.append(whole.astype(np.float32) if whole.dtype == np.float16 else whole)
                continue
            reduced = device.reduce(value, reduction, fed.batch)
            # Repeated rows are the last ones; of picked tokens there are none of theirs.
            kept.append(reduced[:rows] if reduction.by_rows else reduced)
        return tuple(kept)
