"""Runs a graph on tokenized texts: in batches, in all of its sessions, within the devices' memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Semaphore
from typing import Any

import numpy as np
import numpy.typing as npt

from embedders.batching import token_budget_batches
from embedders.device.memory import TokenBudget, is_out_of_memory
from embedders.device.reductions import Reduction
from embedders.device.sessions import BatchRuns, SessionPool
from embedders.device.settings import BatchSettings
from embedders.device.shapes import ROWS, bucket_lengths
from embedders.device.text_batches import DoneBatch, FedBatch, Inputs, TextBatches
from embedders.graph_session import GraphSession
from embedders.tokenized_texts import Padding, TokenizedTexts

logger = logging.getLogger(__name__)

# Inputs that need no family's knowledge.
KNOWN_INPUTS = frozenset(["input_ids", "attention_mask", "token_type_ids", "task_id"])
# A batch of this share of the budget ends before texts that are much shorter.
SMALLEST_BATCH = 4
# Threads that tokenize at once. More would have their tokens at the same time, and the sessions nothing until then.
TOKENIZE_AT_ONCE = 2


@dataclass(frozen=True)
class TextRunner:
    """The sessions of a graph, and how texts are put before them; for any number of threads.

    Texts are filled up to ``width`` tokens at least; ``longest`` is what one can have. ``settings`` are resolved ones.
    No batch has more than ``max_rows``.
    """

    pool: SessionPool
    budget: TokenBudget
    settings: BatchSettings
    longest: int
    width: int = 0
    max_rows: int | None = None
    # Held by threads that tokenize, so that some pieces are in the sessions while the next ones are tokenized.
    tokenizing: Semaphore = field(default_factory=partial(Semaphore, TOKENIZE_AT_ONCE))

    def run(
        self,
        tokens: TokenizedTexts,
        outputs: Sequence[str],
        reductions: Sequence[Reduction | None],
        *,
        max_rows: int | None = None,
        inputs: Inputs,
    ) -> Iterator[DoneBatch]:
        """Run the graph for some outputs, of which the ``reductions`` are kept; longest texts first."""
        batches = self._batches(tokens, outputs, reductions, inputs, max_rows)
        return self._run(batches, batches.call)

    def run_bare(self, tokens: TokenizedTexts, outputs: Sequence[str], inputs: Inputs) -> int:
        """Run the graph, keep nothing, and leave its outputs where they are; returns the tokens fed, with padding."""
        batches = self._batches(tokens, outputs, [None] * len(outputs), inputs, None)
        return sum(done.batch.padded.ids.size for done in self._run(batches, batches.call_bare))

    def warm_up(self, outputs: Sequence[str], padding: Padding) -> None:
        """Run the largest batch there can be once in each session; one that does not fit is noticed now.

        A single text that does not fit is logged: others may be shorter. Nothing is done for a graph with inputs that
        only its family can feed.
        """
        session = self.pool.sessions[0]
        if session.inputs - KNOWN_INPUTS:
            return
        rows = max(1, self.budget.at(self.longest) // self.longest) * len(self.pool.sessions)
        ids = np.full(rows * self.longest, padding.token_id, np.int64)
        tokens = TokenizedTexts(ids, np.arange(rows + 1) * self.longest, np.zeros(rows, np.bool_), padding)
        try:
            self.run_bare(tokens, outputs, {"task_id": np.array(0, np.int64)})
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            logger.warning("%s: a text of %d tokens does not fit the device's memory", session.path, self.longest)

    def _batches(
        self,
        tokens: TokenizedTexts,
        outputs: Sequence[str],
        reductions: Sequence[Reduction | None],
        inputs: Inputs,
        max_rows: int | None,
    ) -> TextBatches:
        sessions = self.pool.sessions
        devices = [one.on_device for one in sessions]
        places = {(one.device, one.device_id) for one in devices if one is not None}
        return TextBatches(
            tokens,
            outputs,
            reductions,
            inputs,
            self.settings,
            self.budget,
            self._widths(tokens),
            max_rows=min((most for most in (max_rows, self.max_rows) if most is not None), default=None),
            upload_to=sessions[0] if len(places) == 1 else None,
        )

    def _widths(self, tokens: TokenizedTexts) -> npt.NDArray[np.int64]:
        """Tokens that each text takes with its padding, (texts,), at least one."""
        widths = np.maximum(tokens.lengths, max(1, self.width))
        return bucket_lengths(widths, self.longest, self.settings.step) if self.settings.buckets else widths

    def _run(self, batches: TextBatches, call: Callable[[GraphSession, FedBatch], DoneBatch]) -> Iterator[DoneBatch]:
        limits: dict[str, Any] = {"max_rows": batches.max_rows}
        if self.settings.buckets:
            limits |= {"multiple_of": ROWS, "least": self.budget.at(self.longest) // SMALLEST_BATCH}
        rows = token_budget_batches(batches.widths, self.budget.at, **limits)
        return BatchRuns(self.pool, self.budget, batches.prepare, call, ahead=self.settings.ahead or 0).run(rows)
