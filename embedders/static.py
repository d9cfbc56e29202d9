"""Static text models (model2vec, potion): the average of the tokens' vectors, no network.

Tulkens and van Dongen, "Model2Vec" (2024). Each token id has a row of the matrix ``embeddings``, directly or through
``mapping`` (token id -> row), and perhaps a weight. The vector of a text is the weighted sum of its tokens' rows,
scaled to unit length, which is the direction of their mean. Unknown tokens do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.arrow import dense_array, dense_type
from embedders.base import EmbedStats, Texts, VectorSpec
from embedders.catalog import ModelCard
from embedders.errors import ModelFilesError
from embedders.files.digest import files_digest
from embedders.files.safetensors_file import read_safetensors
from embedders.fingerprint import facts_digest
from embedders.length_counts import count_lengths
from embedders.model_options import ModelFiles, Runtime
from embedders.pooling import l2_normalize
from embedders.prompts import Use
from embedders.texts import text_list
from embedders.tokenization import Limits, TextTokenizer, read_tokenizer
from embedders.tokenized_texts import Padding
from embedders.travel import UnloadedWithFolder

TOKENIZER_FILE = "tokenizer.json"
# Model2vec's limit.
DEFAULT_MAX_LENGTH = 512
# Tokens of the texts that share a matrix product. Seconds for 4,000 docstrings on one core, 256 dimensions: 0.05 at
# 8,192 tokens, 0.07 at 16,384, 0.12 at 65,536.
TOKENS_AT_ONCE = 1 << 13
# Most texts that share one: the matrix of counts has 67 MB at the most.
TEXTS_AT_ONCE = 1 << 10


@dataclass(frozen=True)
class _Table:
    """Tensors of a static model: ``rows`` (rows, dim) float32, ``mapping`` and ``weights`` (token ids,) or None."""

    rows: npt.NDArray[np.float32]
    mapping: npt.NDArray[np.int64] | None
    weights: npt.NDArray[np.float32] | None

    @classmethod
    def load(cls, path: Path) -> _Table:
        tensors = read_safetensors(path)
        if "embeddings" not in tensors or tensors["embeddings"].ndim != 2:
            raise ModelFilesError(f"{path} has no matrix 'embeddings'; it holds {', '.join(tensors) or 'nothing'}")
        mapping, weights = tensors.get("mapping"), tensors.get("weights")
        rows, ids = len(tensors["embeddings"]), len(tensors["embeddings"] if mapping is None else mapping)
        if mapping is not None and len(mapping) and not 0 <= mapping.min() <= mapping.max() < rows:
            raise ModelFilesError(f"{path} maps tokens to rows that its {rows} embeddings do not have")
        if not tensors["embeddings"].shape[1] or (weights is not None and len(weights) < ids):
            raise ModelFilesError(f"{path} has embeddings of size 0, or fewer weights than token ids")
        return cls(
            tensors["embeddings"].astype(np.float32, copy=False),
            None if mapping is None else mapping.astype(np.int64, copy=False),
            None if weights is None else weights.astype(np.float32, copy=False),
        )

    def sums(self, ids: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Weighted sum of each text's rows, (texts, dim); text r owns ``ids[offsets[r]:offsets[r + 1]]``."""
        total = np.zeros((len(offsets) - 1, self.rows.shape[1]), dtype=np.float32)
        start = 0
        while start < len(total):
            fit = int(np.searchsorted(offsets, offsets[start] + TOKENS_AT_ONCE, side="right")) - 1
            stop = max(start + 1, min(fit, start + TEXTS_AT_ONCE))
            self._add(total[start:stop], ids[offsets[start] : offsets[stop]], np.diff(offsets[start : stop + 1]))
            start = stop
        return total

    def _add(self, total: npt.NDArray[np.float32], ids: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> None:
        """Add up some texts' rows by one matrix product: counts (texts, distinct rows) times the distinct rows."""
        rows, numbers = np.unique(ids if self.mapping is None else self.mapping[ids], return_inverse=True)
        texts = np.repeat(np.arange(len(lengths)), lengths)
        weights = None if self.weights is None else self.weights[ids]
        counts = np.bincount(texts * len(rows) + numbers, weights=weights, minlength=len(lengths) * len(rows))
        np.matmul(counts.reshape(len(lengths), -1).astype(np.float32), self.rows.take(rows, axis=0), out=total)


class StaticModel(UnloadedWithFolder):
    """A static model; meets `embedders.base.Embedder`. ``max_length`` is in tokens, 512 unless given.

    Of the runtime only ``lazy_load`` counts. Raises ModelNotFoundError or ModelFilesError.
    """

    def __init__(self, card: ModelCard, files: ModelFiles, runtime: Runtime, *, max_length: int | None = None) -> None:
        card.refuse_unknown_options(())
        self.card = card
        self._files = files
        _ = self.folder
        self.stats = EmbedStats()
        self._max_length = DEFAULT_MAX_LENGTH if max_length is None else max_length
        if not runtime.lazy_load:
            self.load()

    def load(self) -> None:
        """Load tokenizer and table now rather than at the first text."""
        _ = self._table

    @cached_property
    def folder(self) -> Path:
        """Folder of the model's files."""
        return self._files.folder(self.card)

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The model's tokenizer: no special tokens, no padding."""
        limits = Limits(self._max_length, special_tokens=False)
        return TextTokenizer(read_tokenizer(self.folder), limits, Padding(0, "right"))

    @cached_property
    def _table(self) -> _Table:
        table = _Table.load(self.folder / self.card.model_file)
        width = table.rows.shape[1]
        if self._files.expected_dim(self.card) not in (None, width):
            raise ModelFilesError(f"{self.card.model}: its vectors have {width} numbers, its card says {self.card.dim}")
        ids = len(table.rows) if table.mapping is None else len(table.mapping)
        if self._files.chosen_by_user(self.card) and ids < self.tokenizer.vocabulary_size:
            raise ModelFilesError(
                f"{self.card.model}: the table has {ids} token ids, the tokenizer "
                f"{self.tokenizer.vocabulary_size}: they do not belong together"
            )
        return table

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        known = self._files.known_dim(self.card)
        return int(self._table.rows.shape[1]) if known is None else known

    @property
    def spec(self) -> VectorSpec:
        """Dense float32 vectors, compared by cosine."""
        return VectorSpec(kind="dense", arrow_type=dense_type(self.dim), dim=self.dim)

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 over everything that changes a vector; see Embedder."""
        facts = {
            "files": files_digest(self.folder, [self.card.model_file, TOKENIZER_FILE]),
            "max_length": self._max_length,
            "normalize": self.card.normalize,
        }
        return facts_digest(facts)

    def embed_arrow(self, texts: Texts) -> pa.Array:
        """Embed documents as a column of fixed_size_list<float32>[dim]; a text without known tokens is all zeros."""
        return dense_array(self.embed_array(text_list(texts)))

    def embed_queries_arrow(self, texts: Texts) -> pa.Array:
        """Same as ``embed_arrow``."""
        return self.embed_arrow(texts)

    def embed_array(
        self, texts: list[str], *, use: Use = "passage", max_rows: int | None = None
    ) -> npt.NDArray[np.float32]:
        """Embed texts as one matrix (texts, dim), in order; ``use`` and ``max_rows`` make no difference here."""
        started = perf_counter()
        tokens = self.tokenizer.encode(texts)
        tokenized = perf_counter()
        ids, offsets = tokens.ids, tokens.offsets
        if self.tokenizer.unknown_id is not None:
            known = ids != self.tokenizer.unknown_id
            kept = np.concatenate(([0], np.cumsum(known)))
            ids, offsets = ids[known], kept[offsets]
        sums = self._table.sums(ids, offsets)
        vectors = l2_normalize(sums) if self.card.normalize else sums / np.maximum(np.diff(offsets)[:, None], 1)
        count = int(tokens.offsets[-1])
        unknown = int(self.tokenizer.mostly_unknown(tokens).sum())
        self.tokenizer.warn_of_unknown(unknown, len(texts))
        self.stats.add(
            EmbedStats(
                rows=len(texts),
                tokens=count,
                padded_tokens=count,
                truncated=int(tokens.truncated.sum()),
                unknown=unknown,
                length_counts=count_lengths(tokens.lengths),
                tokenize_seconds=tokenized - started,
                model_seconds=perf_counter() - tokenized,
            )
        )
        return vectors.astype(np.float32, copy=False)

    def token_count(self, texts: Texts) -> int:
        """Count the texts' tokens after truncation, unknown ones included."""
        return int(self.tokenizer.encode(text_list(texts)).offsets[-1])
