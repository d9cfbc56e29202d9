"""BGE-M3: a dense vector, lexical weights and token vectors of a text from one run of the graph.

Chen et al., "M3-Embedding" (2024, arXiv 2402.03216), with the formulas of FlagEmbedding's `M3Embedder`. Of a token's
last hidden state h:

| vector | formula | compared by |
| --- | --- | --- |
| dense | h of the first token, scaled to unit length | cosine |
| sparse | max(w . h + b, 0) at the token's id; of equal ids the greatest, special tokens left out | dot product |
| multivector | W h + b of every token but the first, scaled to unit length; the last one, </s>, has one | MaxSim |

Queries and passages are embedded alike, without prompts. The graph has an output for each; some scale to unit length
and leave the first token out, and some do not: (texts, dim), (texts, tokens) or (texts, tokens, 1), and
(texts, tokens or tokens - 1, dim). The card's options say more:

| option | meaning | unless given |
| --- | --- | --- |
| graph_outputs | the graph's output of each vector, by position or name | {dense: 0, sparse: 1, multivector: 2} |
| unweighted_tokens | tokens that have no lexical weight | <s>, </s>, <pad>, <unk> |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.arrow import SPARSE_TYPE, Precision, dense_type, multivector_type, vector_dtype
from embedders.base import VectorSpec
from embedders.catalog import ModelCard
from embedders.dense import checked_cut
from embedders.device.reductions import PickedTokens, PooledTexts, Reduction
from embedders.errors import ModelFilesError
from embedders.families import FAMILIES
from embedders.model_options import ModelFiles, Runtime
from embedders.network_model import NetworkModel
from embedders.prompts import Use
from embedders.several_vectors import SeveralVectors, Vectors
from embedders.sparse.entries import Keys, entries_column, entry_keys, greatest_of_equal
from embedders.text_model import PROBES, BatchOutput
from embedders.token_vectors import CollectedTokens
from embedders.tokenized_texts import TokenizedTexts

GRAPH_OUTPUTS: Mapping[str, int | str] = {"dense": 0, "sparse": 1, "multivector": 2}
SHAPES = {
    "dense": "(texts, dim)",
    "sparse": "(texts, tokens) or (texts, tokens, 1)",
    "multivector": "(texts, tokens or tokens - 1, dim)",
}
UNWEIGHTED_TOKENS = ("<s>", "</s>", "<pad>", "<unk>")
# Some repositories have tokenizer.json alone.
TOKENIZER_DEFAULTS: Mapping[str, Any] = {"model_max_length": 8192, "pad_token": "<pad>"}


class BgeM3(NetworkModel, SeveralVectors):
    """A model of BGE-M3's kind: one call of its graph gives a text's dense, sparse and token vectors.

    ``outputs`` lists those that are made, dense and sparse unless it is given: token vectors are by far the largest.
    The graph is asked for no others. ``max_length`` replaces the limit in the tokenizer's files. ``dim`` cuts dense
    vectors to one of the card's Matryoshka sizes. ``dtype`` "float16" halves dense and token vectors. Raises
    ModelNotFoundError, ModelFilesError, DeviceError, or ValueError for invalid options.
    """

    CARD_OPTIONS = ("graph_outputs", "unweighted_tokens", "vocab_size")

    def __init__(
        self,
        card: ModelCard,
        files: ModelFiles,
        runtime: Runtime,
        *,
        outputs: Sequence[str] | None = None,
        max_length: int | None = None,
        dim: int | None = None,
        dtype: Precision = "float32",
    ) -> None:
        self._dtype = vector_dtype(dtype)
        self.kinds = FAMILIES[card.family].chosen(outputs)
        self._outputs = _checked_outputs(card)
        self._unweighted = _checked_tokens(card)
        self._cut = checked_cut(card, dim)
        super().__init__(card, files, runtime, max_length=max_length, tokenizer_defaults=TOKENIZER_DEFAULTS)

    def check(self) -> None:
        """Load tokenizer and graph, and check the shapes of the outputs in use."""
        self._check_tokenizer()
        probed = self.text_model.probe_outputs(self._graph_outputs)
        for kind, name, batch in zip(self.kinds, self._graph_outputs, probed, strict=True):
            if not _fits(kind, batch):
                texts, tokens = batch.ids.shape
                raise ModelFilesError(
                    f"{self.card.model}: for {texts} texts of {tokens} tokens the output {name!r} has shape "
                    f"{batch.values.shape}, and {kind} takes {SHAPES[kind]}; the graph's outputs are "
                    f"{self.text_model.session.describe_outputs()}: say in the option graph_outputs which is which"
                )
            self._check_width(kind, name, batch.values.shape[-1])

    def rehearse(self) -> None:
        """Embed texts."""
        self.embed_arrow(PROBES)

    @cached_property
    def specs(self) -> Mapping[str, VectorSpec]:
        """Kind, type and dimension of each vector that is made, by its kind."""
        return {kind: self._spec(kind) for kind in self.kinds}

    @cached_property
    def fingerprints(self) -> Mapping[str, str]:
        """Fingerprint of each vector that is made, by its kind: the same, whichever others are made."""
        dtype = self._dtype.name
        facts: dict[str, dict[str, Any]] = {
            "dense": {"dim": self._cut, "dtype": dtype},
            "sparse": {"unweighted": sorted(self._unweighted)},
            "multivector": {"dtype": dtype},
        }
        return {
            kind: self.text_model.fingerprint(family="bge_m3", vector=kind, output=self._outputs[kind], **facts[kind])
            for kind in self.kinds
        }

    def embed_each(self, texts: list[str], *, use: Use = "passage", max_rows: int | None = None) -> dict[str, Vectors]:
        """Embed texts; returns their vectors by kind, in order. One model call gets at most ``max_rows`` texts.

        Raises ValueError naming the first text that is not a str of valid Unicode.
        """
        self.load()
        tokens, distinct = self.text_model.tokenize(texts)
        collectors = [self._collector(kind, tokens) for kind in self.kinds]
        kept = [one.kept for one in collectors]
        for batches in self.text_model.run_outputs(self._graph_outputs, tokens, max_rows=max_rows, reductions=kept):
            started = perf_counter()
            for collector, batch in zip(collectors, batches, strict=True):
                collector.add(batch)
            self.text_model.count_model_seconds(perf_counter() - started)
        return {kind: distinct.for_all(one.vectors()) for kind, one in zip(self.kinds, collectors, strict=True)}

    @cached_property
    def _graph_outputs(self) -> list[str]:
        """Names of the graph's outputs in use; raises ModelFilesError where the graph lacks one."""
        return [self.text_model.session.output_name(self._outputs[kind]) for kind in self.kinds]

    def _spec(self, kind: str) -> VectorSpec:
        if kind == "sparse":
            return VectorSpec("sparse", SPARSE_TYPE, distance="dot")
        if kind == "dense":
            dim = self._cut or self._width(kind)
            return VectorSpec("dense", dense_type(dim, self._dtype), dim=dim)
        dim = self._width(kind)
        return VectorSpec("multivector", multivector_type(dim, self._dtype), dim=dim)

    def _width(self, kind: str) -> int:
        """Numbers that the graph gives a text or token: the catalog's, or for files that a user chose the graph's."""
        model = self.text_model
        if model.known_dim is not None:
            return model.known_dim
        name = self._graph_outputs[self.kinds.index(kind)]
        return int(model.session.output_width(name) or model.probe_outputs([name])[0].values.shape[-1])

    def _collector(self, kind: str, tokens: TokenizedTexts) -> Collector:
        if kind == "sparse":
            return LexicalWeights(len(tokens), self._unweighted_ids)
        dim = self.specs[kind].dim or 0
        if kind == "dense":
            kept = PooledTexts("none", normalize=True, cut=self._cut, dtype=self._dtype.name)
            return DenseVectors(np.empty((len(tokens), dim), self._dtype), kept)
        but_first = np.ones(len(tokens.ids), np.bool_)
        but_first[tokens.offsets[:-1]] = False
        return CollectedTokens(PickedTokens(tokens, but_first, normalize=True, dtype=self._dtype.name), dim)

    @cached_property
    def _unweighted_ids(self) -> npt.NDArray[np.int64]:
        ids = [self.text_model.tokenizer.tokenizer.token_to_id(token) for token in self._unweighted]
        if None in ids:
            raise ModelFilesError(
                f"{self.card.model}: the tokenizer has no {self._unweighted[ids.index(None)]!r}; list its special "
                "tokens in the option unweighted_tokens"
            )
        return np.array(ids, dtype=np.int64)

    def _check_tokenizer(self) -> None:
        tokenizer = self.text_model.tokenizer
        if tokenizer.padding.side == "left" or not tokenizer.tokenizer.num_special_tokens_to_add(False):
            raise ModelFilesError(
                f"{self.card.model}: the graph takes a text's first token for its beginning, <s>, and this tokenizer "
                f"{'pads on the left' if tokenizer.padding.side == 'left' else 'adds none'}"
            )
        if "sparse" in self.kinds:
            _ = self._unweighted_ids

    def _check_width(self, kind: str, name: str, width: int) -> None:
        if kind == "sparse":
            return
        model = self.text_model
        # A user's card says the dense vectors' dimension; token vectors may have another.
        wanted = model.expected_dim if kind == "dense" else model.known_dim
        if wanted not in (None, width):
            raise ModelFilesError(
                f"{self.card.model}: the graph's output {name!r} gives {width} numbers, and its card says {wanted}"
            )
        if kind == "dense" and (self._cut or 0) > width:
            raise ModelFilesError(f"{self.card.model}: dim is {self._cut}, and the graph gives {width} numbers")


class Collector(Protocol):
    """Collects the vectors of one kind of some texts, batch by batch: what is ``kept`` of the graph's output."""

    @property
    def kept(self) -> Reduction | None:
        """What is kept of the graph's output."""

    def add(self, batch: BatchOutput) -> None:
        """Take over what is kept of a batch."""

    def vectors(self) -> Any:
        """The vectors of all texts, as Vectors."""


class DenseVectors:
    """Dense vectors: rows of ``matrix`` (texts, dim)."""

    def __init__(self, matrix: npt.NDArray[np.floating], kept: PooledTexts) -> None:
        self._matrix, self.kept = matrix, kept

    def add(self, batch: BatchOutput) -> None:
        """Take over (rows, dim)."""
        self._matrix[batch.rows] = batch.values

    def vectors(self) -> npt.NDArray[np.floating]:
        """The matrix."""
        return self._matrix


class LexicalWeights:
    """Sparse vectors of ``size`` texts, without the token ids ``unweighted``."""

    kept = None

    def __init__(self, size: int, unweighted: npt.NDArray[np.int64]) -> None:
        self._size, self._unweighted = size, unweighted
        self._keys: list[Keys] = []
        self._weights: list[npt.NDArray[np.float32]] = []

    def add(self, batch: BatchOutput) -> None:
        """Take over (rows, tokens) or (rows, tokens, 1)."""
        weights = batch.values.reshape(batch.ids.shape).astype(np.float32, copy=False)
        # Not "above 0": NaN is kept, so that the row fails.
        weighted = batch.mask & ~(weights <= 0) & ~np.isin(batch.ids, self._unweighted)
        self._keys.append(entry_keys(batch.rows[np.nonzero(weighted)[0]], batch.ids[weighted]))
        self._weights.append(weights[weighted])

    def vectors(self) -> pa.Array:
        """A column of SPARSE_TYPE, indices ascending."""
        if not self._keys:
            return pa.array([], SPARSE_TYPE)
        keys, weights = greatest_of_equal(np.concatenate(self._keys), np.concatenate(self._weights))
        return entries_column(keys, weights, self._size)


def _fits(kind: str, batch: BatchOutput) -> bool:
    """Whether an output of some texts has the shape that a kind takes, and not that of another kind."""
    shape, (texts, tokens) = batch.values.shape, batch.ids.shape
    if kind == "dense":
        return len(shape) == 2 and shape[0] == texts and shape[1] != tokens
    if kind == "sparse":
        return shape in ((texts, tokens), (texts, tokens, 1))
    return len(shape) == 3 and shape[0] == texts and shape[1] in (tokens, tokens - 1) and shape[2] > 1


def _checked_outputs(card: ModelCard) -> Mapping[str, int | str]:
    """The graph's output of each vector; raises ValueError for an option that does not say them."""
    given = card.options.get("graph_outputs", {})
    known = FAMILIES[card.family].kinds
    fits = isinstance(given, Mapping) and all(
        kind in known and (isinstance(output, str) or (type(output) is int and output >= 0))
        for kind, output in given.items()
    )
    if not fits:
        raise ValueError(
            f"model {card.model}: the option graph_outputs must map {', '.join(known)} to positions or names of "
            f"outputs, got {given!r}"
        )
    return {**GRAPH_OUTPUTS, **given}


def _checked_tokens(card: ModelCard) -> tuple[str, ...]:
    given = card.options.get("unweighted_tokens", UNWEIGHTED_TOKENS)
    if not isinstance(given, list | tuple) or not all(isinstance(token, str) for token in given):
        raise ValueError(f"model {card.model}: the option unweighted_tokens must be a list of tokens, got {given!r}")
    return tuple(given)
