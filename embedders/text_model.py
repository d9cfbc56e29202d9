"""Tokenizer and graph of one ONNX text model, run over token-budget batches: what every ONNX text family shares."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.base import EmbedStats, Texts
from embedders.batching import default_token_budget, token_budget_batches
from embedders.session import OnnxSession, SessionSettings
from embedders.tokenization import TextTokenizer, TokenizedTexts, refuse_invalid

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchOutput:
    """What the graph gave for one batch.

    ``rows`` (rows,) are positions among the texts given, ``values`` the graph's output, rows first, ``ids`` (int64)
    and ``mask`` (bool, True at real tokens) are (rows, tokens) as they were fed.
    """

    rows: npt.NDArray[np.intp]
    values: npt.NDArray[Any]
    ids: npt.NDArray[np.int64]
    mask: npt.NDArray[np.bool_]


class TextModel:
    """A loaded model folder. ``stats`` counts what went through it."""

    def __init__(
        self,
        folder: Path,
        model_file: str,
        *,
        output: int | str = 0,
        tokenizer: TextTokenizer,
        settings: SessionSettings,
        token_budget: int | None = None,
        stats: EmbedStats | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.session = OnnxSession(folder / model_file, settings)
        self.output = self.session.output_name(output)
        self.token_budget = token_budget or default_token_budget(
            threads=settings.effective_threads, on_gpu=self.session.on_gpu
        )
        self.stats = stats or EmbedStats()
        _warn_of_positions(folder, tokenizer.max_length)

    @property
    def output_width(self) -> int | None:
        """Size of the output's last axis, None where the graph leaves it open."""
        return self.session.output_width(self.output)

    def tokenize(self, texts: list[str]) -> tuple[TokenizedTexts, npt.NDArray[np.intp]]:
        """Tokenize texts, identical ones once.

        Returns the distinct texts' tokens and, for each text given, which of them is its own.
        """
        started = perf_counter()
        numbers: dict[str, int] = {}
        try:
            own = [numbers.setdefault(text, len(numbers)) for text in texts]
            tokens = self.tokenizer.encode(list(numbers))
        except (TypeError, ValueError):
            # Named by its place among the texts given, not among the distinct ones.
            refuse_invalid(texts)
            raise
        inverse = np.array(own, dtype=np.intp)
        self.stats.rows += len(texts)
        self.stats.truncated += int(tokens.truncated[inverse].sum())
        self.stats.tokenize_seconds += perf_counter() - started
        return tokens, inverse

    def run(self, tokens: TokenizedTexts, *, max_rows: int | None = None) -> Iterator[BatchOutput]:
        """Run the graph batch by batch, as the caller asks for them; longest texts first."""
        for rows in token_budget_batches(tokens.lengths, self.token_budget, max_rows=max_rows):
            started = perf_counter()
            ids, mask = tokens.padded(rows)
            # The tokenizer's own token types are not fed: embedding models see one segment, all zeros.
            feed = {"input_ids": ids, "attention_mask": mask.astype(np.int64), "token_type_ids": np.zeros_like(ids)}
            values = self.session.run(self.output, feed)
            self.stats.tokens += int(mask.sum())
            self.stats.padded_tokens += mask.size
            self.stats.model_seconds += perf_counter() - started
            yield BatchOutput(rows, values, ids, mask)


def _warn_of_positions(folder: Path, max_length: int) -> None:
    """Log that a limit is beyond the model's table of positions, where the graph is going to fail."""
    try:
        positions = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("max_position_embeddings")
    except (OSError, ValueError, AttributeError):
        return
    if isinstance(positions, int) and max_length > positions:
        logger.warning("max_length %d exceeds the %d positions that %s gives", max_length, positions, folder)


def text_list(texts: Texts) -> list[str]:
    """Texts of any kind an embedder takes, as a list."""
    if isinstance(texts, (pa.Array, pa.ChunkedArray)):
        return list(texts.to_pylist())
    return list(texts)
