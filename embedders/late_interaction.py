"""Late interaction models such as ColBERT: a vector for every token of a text.

Khattab and Zaharia, "ColBERT" (2020); Santhanam et al., "ColBERTv2" (2022). A marker token tells documents from
queries. A query may be filled up with mask tokens, whose vectors count too ("query augmentation"). Of a document, the
vectors of punctuation are left out, and the others scaled to unit length. The card's options say what a model does:

| option | meaning | unless given |
| --- | --- | --- |
| query_marker, document_marker | token ids put behind the first token | no markers |
| reserved_tokens | tokens of the limit that are kept free for the marker | 1 with markers |
| query_length | number of tokens that queries are filled up to, the marker not counted | not filled up |
| mask_token | the token that queries are filled up with | [MASK] |
| attend_to_masks | whether the other tokens attend to the mask tokens | false |
| skip_punctuation | whether punctuation of documents is left out | true with markers |
| normalize, normalize_queries | whether vectors are scaled to unit length | true, false |
"""

from __future__ import annotations

import string
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.arrow import Precision, multivector_array, multivector_type, vector_dtype
from embedders.base import Texts, VectorSpec
from embedders.catalog import ModelCard
from embedders.device.pieces import embed_in_pieces
from embedders.device.reductions import PickedTokens
from embedders.errors import ModelFilesError
from embedders.model_options import ModelFiles, Runtime
from embedders.network_model import NetworkModel
from embedders.prompts import Use
from embedders.text_model import PROBES
from embedders.texts import DistinctTexts, text_list
from embedders.token_vectors import CollectedTokens, TokenVectors
from embedders.tokenized_texts import TokenizedTexts


@dataclass(frozen=True)
class ColbertOptions:
    """Options of a late interaction model's card; see the table at the top of this module."""

    query_marker: int | None = None
    document_marker: int | None = None
    reserved_tokens: int | None = None
    query_length: int | None = None
    mask_token: str = "[MASK]"
    attend_to_masks: bool = False
    skip_punctuation: bool | None = None
    normalize: bool = True
    normalize_queries: bool = False

    @classmethod
    def of(cls, card: ModelCard) -> ColbertOptions:
        """Read a card's options; raises ValueError for an unknown one and for a value of another type."""
        card.refuse_unknown_options(OPTION_NAMES)
        for name, value in card.options.items():
            wanted = {int: "a whole number of 0 or more", bool: "true or false", str: "a str"}[_kind_of(name)]
            if value is not None and (type(value) is not _kind_of(name) or (type(value) is int and value < 0)):
                raise ValueError(f"model {card.model}: the option {name} must be {wanted}, got {value!r}")
        return cls(**card.options)

    @property
    def marked(self) -> bool:
        """Whether a marker tells the model documents from queries."""
        return self.document_marker is not None

    @property
    def reserved(self) -> int:
        """Tokens of the limit that are kept free for the marker."""
        return int(self.marked) if self.reserved_tokens is None else self.reserved_tokens

    @property
    def skips_punctuation(self) -> bool:
        """Whether punctuation of documents is left out."""
        return self.marked if self.skip_punctuation is None else self.skip_punctuation


OPTION_NAMES = tuple(field.name for field in fields(ColbertOptions))


class LateInteraction(NetworkModel):
    """A late interaction model; meets `embedders.base.Embedder`.

    ``max_length`` replaces the limit in the tokenizer's files, the marker included. ``dtype`` "float16" halves the
    vectors. Raises ModelNotFoundError, ModelFilesError, DeviceError, or ValueError for invalid options.
    """

    CARD_OPTIONS = OPTION_NAMES

    def __init__(
        self,
        card: ModelCard,
        files: ModelFiles,
        runtime: Runtime,
        *,
        max_length: int | None = None,
        dtype: Precision = "float32",
    ) -> None:
        self._dtype = vector_dtype(dtype)
        self.card = card
        self.options = ColbertOptions.of(card)
        super().__init__(card, files, runtime, max_length=max_length, reserved=self.options.reserved)

    def check(self) -> None:
        """Load tokenizer and graph."""
        self.text_model.check_output((3,), "late interaction takes token vectors of (texts, tokens, dim)")
        _ = self.dim
        if self.options.query_length is not None:
            _ = self._mask_id

    def rehearse(self) -> None:
        """Embed texts as documents and as queries."""
        self.embed_arrow(PROBES)
        self.embed_queries_arrow(PROBES)

    @property
    def dim(self) -> int:
        """Numbers in a token's vector."""
        return self.text_model.dim

    @property
    def spec(self) -> VectorSpec:
        """Multivectors; compared by cosine, or by dot product where the model does not scale them."""
        distance: Literal["cosine", "dot"] = "cosine" if self.options.normalize else "dot"
        kind = multivector_type(self.dim, self._dtype)
        return VectorSpec(kind="multivector", arrow_type=kind, dim=self.dim, distance=distance)

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 over everything that changes a document's vectors; see Embedder."""
        options = self.options
        return self.text_model.fingerprint(
            family="late_interaction",
            marker=options.document_marker,
            skip_punctuation=options.skips_punctuation,
            normalize=options.normalize,
            dtype=self._dtype.name,
        )

    def embed_arrow(self, texts: Texts) -> pa.Array:
        """Embed documents as a column of list<fixed_size_list<float32 or float16>[dim]>, one entry a text, in order.

        Raises ValueError naming the first text that is not a str of valid Unicode.
        """
        return self._column(texts, "passage")

    def embed_queries_arrow(self, texts: Texts) -> pa.Array:
        """Embed queries, with their marker, and filled up with mask tokens where the model was trained so."""
        return self._column(texts, "query")

    def embed_tokens(self, texts: list[str], *, use: Use = "passage", max_rows: int | None = None) -> TokenVectors:
        """Embed texts as one matrix of token vectors with offsets; one model call gets at most ``max_rows`` texts."""
        self.load()
        return embed_in_pieces(self.text_model, texts, lambda some: self._embed(some, use, max_rows))

    def _embed(self, texts: list[str], use: Use, max_rows: int | None) -> TokenVectors:
        vectors, distinct = self._embed_distinct(texts, use, max_rows)
        return distinct.for_all(vectors)

    def token_count(self, texts: Texts, *, is_doc: bool = True, include_extension: bool = False) -> int:
        """Count the texts' tokens after truncation, special ones included.

        ``include_extension`` also counts the markers, and the mask tokens of queries (``is_doc`` False).
        """
        lengths = self.text_model.tokenizer.encode(text_list(texts)).lengths
        if include_extension and not is_doc:
            lengths = np.maximum(lengths, self.options.query_length or 0)
        return int(lengths.sum()) + (len(lengths) if include_extension and self.options.marked else 0)

    def _column(self, texts: Texts, use: Use) -> pa.Array:
        self.load()
        return embed_in_pieces(self.text_model, text_list(texts), lambda some: self._column_of(some, use))

    def _column_of(self, texts: list[str], use: Use) -> pa.Array:
        vectors, distinct = self._embed_distinct(texts, use, None)
        return distinct.for_all(multivector_array(vectors.offsets, vectors.vectors))

    def _embed_distinct(self, texts: list[str], use: Use, max_rows: int | None) -> tuple[TokenVectors, DistinctTexts]:
        plain, distinct = self.text_model.tokenize(texts)
        tokens = self._marked(plain, use)
        kept = self._kept(tokens, use)
        normalize = self.options.normalize if use == "passage" else self.options.normalize_queries
        collected = CollectedTokens(PickedTokens(tokens, kept, normalize, self._dtype.name), self.dim)
        for batch in self.text_model.run(tokens, max_rows=max_rows, reduction=collected.kept):
            collected.add(batch)
        return collected.vectors(), distinct

    def _marked(self, tokens: TokenizedTexts, use: Use) -> TokenizedTexts:
        options = self.options
        if use == "query" and options.query_length is not None:
            tokens = fill_up(tokens, options.query_length, self._mask_id, attended=options.attend_to_masks)
        marker = options.query_marker if use == "query" else options.document_marker
        return tokens if marker is None else insert_marker(tokens, marker)

    def _kept(self, tokens: TokenizedTexts, use: Use) -> npt.NDArray[np.bool_]:
        """Whether each token's vector is kept."""
        if use == "query" or not self.options.skips_punctuation:
            return np.ones(len(tokens.ids), dtype=np.bool_)
        kept: npt.NDArray[np.bool_] = ~np.isin(tokens.ids, self._skipped_ids)
        return kept

    @cached_property
    def _skipped_ids(self) -> npt.NDArray[np.int64]:
        """The first token of each ASCII punctuation mark, and the padding token where it is no real token's."""
        tokenizer = self.text_model.tokenizer
        encode = tokenizer.tokenizer.encode
        marks = {encode(mark, add_special_tokens=False).ids[0] for mark in string.punctuation}
        padding = () if self.options.normalize_queries else (tokenizer.padding.token_id,)
        return np.array(sorted({*marks, *padding}), dtype=np.int64)

    @cached_property
    def _mask_id(self) -> int:
        number = self.text_model.tokenizer.tokenizer.token_to_id(self.options.mask_token)
        if number is None:
            raise ModelFilesError(
                f"{self.card.model}: the tokenizer has no {self.options.mask_token!r}, which queries are filled with; "
                "set mask_token, or query_length to null"
            )
        return int(number)


def _kind_of(option: str) -> type:
    """Type of an option's values other than None."""
    if option == "mask_token":
        return str
    return int if option in ("query_marker", "document_marker", "reserved_tokens", "query_length") else bool


def insert_marker(tokens: TokenizedTexts, marker: int) -> TokenizedTexts:
    """Put a marker token behind each text's first token."""
    positions = tokens.offsets[:-1] + np.minimum(1, tokens.lengths)
    attended = None if tokens.attended is None else np.insert(tokens.attended, positions, True)
    offsets = tokens.offsets + np.arange(len(tokens.offsets))
    return TokenizedTexts(
        np.insert(tokens.ids, positions, marker), offsets, tokens.truncated, tokens.padding, attended=attended
    )


def fill_up(tokens: TokenizedTexts, length: int, token: int, *, attended: bool) -> TokenizedTexts:
    """Fill texts that are shorter up to ``length`` tokens."""
    missing = np.maximum(length - tokens.lengths, 0)
    positions = np.repeat(tokens.offsets[1:], missing)
    seen = np.insert(np.ones(len(tokens.ids), dtype=np.bool_), positions, attended)
    offsets = tokens.offsets + np.concatenate(([0], np.cumsum(missing)))
    return TokenizedTexts(
        np.insert(tokens.ids, positions, token), offsets, tokens.truncated, tokens.padding, attended=seen
    )
