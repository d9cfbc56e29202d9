"""Dense text embeddings: one vector a text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.arrow import dense_array, dense_type
from embedders.base import EmbedStats, Texts, VectorSpec
from embedders.batching import take_lists
from embedders.catalog import ModelCard, describe, find_card, load_cards
from embedders.errors import ModelFilesError
from embedders.hub import files_digest, model_files, resolve_model
from embedders.pooling import pool
from embedders.session import Cuda, Provider, SessionSettings
from embedders.text_model import TextModel, text_list
from embedders.tokenization import TextTokenizer

FAMILIES = ("dense",)
# Texts read, tokenized and sorted together: enough that neighbours by length hardly differ.
READ_AHEAD = 1024

Vector = npt.NDArray[np.float32]


class TextEmbedding:
    """A dense embedding model: the tokenizer and graph of a catalog model, its pooling and normalization.

    ``threads``, ``cuda``, ``providers``, ``session_options``, ``session_config``, ``provider_options`` and
    ``allow_spinning`` are those of SessionSettings. One object works on one device, the first of ``device_ids``.
    ``max_length`` replaces the limit in the tokenizer's files; ``token_budget`` is what one model call may hold in
    tokens, padding included (None: a measured default for the device).

    The files are looked up at once, and loaded at once unless ``lazy_load``. Raises ModelNotFoundError,
    ModelFilesError or DeviceError.
    """

    def __init__(
        self,
        model_name: str = "BAAI/bge-small-en-v1.5",
        cache_dir: str | Path | None = None,
        threads: int | None = None,
        providers: Sequence[Provider] | None = None,
        cuda: Cuda = "auto",
        device_ids: Sequence[int] | None = None,
        lazy_load: bool = False,
        *,
        specific_model_path: str | Path | None = None,
        local_files_only: bool = False,
        max_length: int | None = None,
        token_budget: int | None = None,
        allow_spinning: bool = True,
        session_options: Mapping[str, Any] | None = None,
        session_config: Mapping[str, str] | None = None,
        provider_options: Mapping[str, Any] | None = None,
    ) -> None:
        if token_budget is not None and token_budget < 1:
            raise ValueError(f"token_budget must be 1 or more, got {token_budget}; None chooses one for the device")
        self.card = find_card(model_name, among=FAMILIES)
        self.settings = SessionSettings(
            threads=threads,
            cuda=cuda,
            providers=providers,
            device_id=device_ids[0] if device_ids else None,
            allow_spinning=allow_spinning,
            provider_options=provider_options or {},
            session_options=session_options or {},
            session_config=session_config or {},
        )
        self.stats = EmbedStats()
        self._own_files = specific_model_path is not None
        self._max_length = max_length
        self._token_budget = token_budget
        self._folder = resolve_model(
            self.card,
            cache_dir=cache_dir,
            specific_model_path=specific_model_path,
            local_files_only=local_files_only,
        )
        if not lazy_load:
            self.load()

    @property
    def model_name(self) -> str:
        """The model's name in the catalog."""
        return self.card.model

    def load(self) -> None:
        """Load the tokenizer and the graph now rather than at the first text."""
        _ = self._model

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The model's tokenizer with the limit in force."""
        return TextTokenizer(self._folder, max_length=self._max_length)

    @cached_property
    def _model(self) -> TextModel:
        model = TextModel(
            self._folder,
            self.card.model_file,
            output=self.card.output,
            tokenizer=self.tokenizer,
            settings=self.settings,
            token_budget=self._token_budget,
            stats=self.stats,
        )
        width = model.output_width
        if not self._own_files and width is not None and width != self.card.dim:
            raise ModelFilesError(
                f"{self.card.model}: the graph gives {width} numbers, the catalog says {self.card.dim}"
            )
        return model

    @property
    def token_budget(self) -> int:
        """Tokens, padding included, of one model call."""
        return self._model.token_budget

    @property
    def providers(self) -> list[str]:
        """ONNX Runtime's execution providers in use, first choice first."""
        return self._model.session.providers

    @cached_property
    def dim(self) -> int:
        """Numbers in a vector: the catalog's, or the graph's own for files given by ``specific_model_path``."""
        width = self._model.output_width if self._own_files else None
        if width is None and self.card.dim is None:
            raise ModelFilesError(f"{self.card.model}: neither the catalog nor the graph gives the dimension")
        return width or int(self.card.dim or 0)

    @property
    def embedding_size(self) -> int:
        """Same as ``dim``."""
        return self.dim

    @classmethod
    def get_embedding_size(cls, model_name: str) -> int:
        """Numbers in a vector of a catalog model; raises ModelNotFoundError."""
        return int(find_card(model_name, among=FAMILIES).dim or 0)

    @classmethod
    def list_supported_models(cls) -> list[dict[str, Any]]:
        """Facts of every model this class takes, in the catalog's order."""
        return [describe(card) for family in FAMILIES for card in load_cards(family)]

    @property
    def spec(self) -> VectorSpec:
        """Dense float32 vectors, compared by cosine."""
        return VectorSpec(kind="dense", arrow_type=dense_type(self.dim), dim=self.dim)

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 over everything that changes a vector; see Embedder."""
        return _fingerprint(self.card, self._folder, self.tokenizer.max_length)

    def embed(self, documents: str | Iterable[str], batch_size: int = 256) -> Iterator[Vector]:
        """Yield a float32 (dim,) vector a document, in order.

        ``documents`` may be endless: at most max(batch_size, 1,024) are read ahead. ``batch_size`` is the most
        documents one model call gets; the token budget usually stops it earlier.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        return self._embed_lazily(documents, batch_size)

    def query_embed(self, query: str | Iterable[str], batch_size: int = 256) -> Iterator[Vector]:
        """Same as ``embed``: these models embed queries and documents alike, and prefixes are the caller's."""
        return self.embed(query, batch_size)

    def passage_embed(self, texts: str | Iterable[str], batch_size: int = 256) -> Iterator[Vector]:
        """Same as ``embed``."""
        return self.embed(texts, batch_size)

    def embed_arrow(self, texts: Texts) -> pa.Array:
        """Embed documents as a column of fixed_size_list<float32>[dim], one entry a text, in order.

        Raises ValueError naming the first text that is not a str of valid Unicode.
        """
        return dense_array(self.embed_matrix(text_list(texts)))

    def embed_queries_arrow(self, texts: Texts) -> pa.Array:
        """Same as ``embed_arrow``."""
        return self.embed_arrow(texts)

    def embed_matrix(self, texts: list[str], *, max_rows: int | None = None) -> npt.NDArray[np.float32]:
        """Embed texts as one float32 matrix (texts, dim), in order; one model call gets at most ``max_rows``."""
        tokens, inverse = self._model.tokenize(texts)
        vectors = np.empty((len(tokens), self.dim), dtype=np.float32)
        for batch in self._model.run(tokens, max_rows=max_rows):
            started = perf_counter()
            pooled = pool(batch.values, batch.mask, self.card.pooling, normalize=self.card.normalize)
            if pooled.shape[1] != self.dim:
                raise ModelFilesError(f"{self.card.model} gives {pooled.shape[1]} numbers, its card says {self.dim}")
            vectors[batch.rows] = pooled
            self.stats.model_seconds += perf_counter() - started
        return vectors if len(tokens) == len(inverse) else vectors[inverse]

    def token_count(self, texts: str | Iterable[str], batch_size: int = 1024) -> int:
        """Count the tokens the model would get for these texts, after truncation, special tokens included."""
        return sum(int(self.tokenizer.encode(some).offsets[-1]) for some in take_lists(texts, batch_size))

    def _embed_lazily(self, documents: str | Iterable[str], batch_size: int) -> Iterator[Vector]:
        for some in take_lists(documents, max(batch_size, READ_AHEAD)):
            yield from self.embed_matrix(some, max_rows=batch_size)


def _fingerprint(card: ModelCard, folder: Path, max_length: int) -> str:
    facts = {
        "files": files_digest(folder, model_files(card, folder)),
        "max_length": max_length,
        "model_file": card.model_file,
        "normalize": card.normalize,
        "output": card.output,
        "pooling": card.pooling,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
