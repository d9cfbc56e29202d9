"""From token vectors to one vector a text: cls, mean, last token or none, then L2."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from embedders.catalog import Pooling
from embedders.errors import ModelFilesError

Floats = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

SMALLEST_NORM = 1e-12
# PyTorch's default.
LAYER_NORM_EPSILON = 1e-5


def pool(output: Floats, mask: Mask, pooling: Pooling, *, normalize: bool) -> Floats:
    """Reduce a model's output to (rows, dim), of the same dtype.

    ``output`` is (rows, tokens, dim), or (rows, dim) where the graph pools itself (``cls`` and ``none``); ``mask``
    is (rows, tokens), True at real tokens. Raises ModelFilesError for an output of another shape.
    """
    pooled_already = output.ndim == 2 and pooling in ("cls", "none")
    if not pooled_already and (output.ndim != 3 or pooling == "none"):
        raise ModelFilesError(f"the model's output has shape {output.shape}, which pooling {pooling!r} cannot take")
    if pooled_already:
        pooled = output
    elif pooling == "cls":
        pooled = first_token(output, mask)
    elif pooling == "mean":
        pooled = masked_mean(output, mask)
    else:
        pooled = last_token(output, mask)
    return (l2_normalize(pooled) if normalize else pooled).astype(output.dtype, copy=False)


def cut_dimensions(vectors: Floats, dim: int, *, layer_norm: bool = False) -> npt.NDArray[np.float32]:
    """Keep the first ``dim`` numbers of Matryoshka vectors (rows, more), scaled to unit length.

    Kusupati et al., "Matryoshka Representation Learning" (2022). ``layer_norm`` first shifts and scales each whole
    vector to mean 0 and variance 1, as the card of nomic-embed-text-v1.5 asks.
    """
    vectors = vectors.astype(np.float32, copy=False)
    if layer_norm:
        centred = vectors - vectors.mean(axis=1, keepdims=True)
        vectors = centred / np.sqrt(np.mean(centred**2, axis=1, keepdims=True) + LAYER_NORM_EPSILON)
    return l2_normalize(vectors[:, :dim])


def masked_mean(tokens: Floats, mask: Mask) -> npt.NDArray[np.float32]:
    """Mean of the real tokens' vectors, (rows, tokens, dim) -> (rows, dim); zeros where a row has none."""
    tokens = tokens.astype(np.float32, copy=False)
    weights = mask.astype(np.float32)
    # One small matrix product a row: 10 times faster than a sum with ``where``, and no copy of the tokens.
    with np.errstate(invalid="ignore"):
        total = np.matmul(weights[:, None, :], tokens)[:, 0]
    if not np.isfinite(total).all():
        # 0 x NaN is NaN: some graphs leave NaN or infinity at padding.
        total = np.sum(tokens, axis=1, where=mask[:, :, None], dtype=np.float32)
    return np.asarray(total / np.maximum(weights.sum(axis=1, keepdims=True), 1), dtype=np.float32)


def first_token(tokens: Floats, mask: Mask) -> Floats:
    """Vector of each row's first real token, whichever side is padded; (rows, tokens, dim) -> (rows, dim)."""
    picked: Floats = tokens[np.arange(len(tokens)), np.argmax(mask, axis=1)]
    return picked


def last_token(tokens: Floats, mask: Mask) -> Floats:
    """Vector of each row's last real token, whichever side is padded; (rows, tokens, dim) -> (rows, dim)."""
    last = mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)
    picked: Floats = tokens[np.arange(len(tokens)), last]
    return picked


def l2_normalize(vectors: Floats) -> npt.NDArray[np.float32]:
    """Scale (rows, dim) to unit length; norms below 1e-12 count as 1e-12, so that zeros stay zeros."""
    vectors = vectors.astype(np.float32, copy=False)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, SMALLEST_NORM), dtype=np.float32)
