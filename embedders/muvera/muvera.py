"""MUVERA: multivectors folded into single vectors whose dot product approximates late interaction's MaxSim.

Dhulipala et al., "MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings", arXiv 2405.19504. The dot product
of a query's and a document's encoding is about r_reps times the sum, over the query's tokens, of the greatest dot
product with one of the document's. A store finds candidates by it with any index for single vectors; the multivectors
then rank those. The final projection is a count sketch, as in google/graph-mining's code (Charikar, Chen,
Farach-Colton, "Finding Frequent Items in Data Streams", 2002).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from embedders.muvera.count_sketch import CountSketch
from embedders.muvera.fixed_dimensional_encoding import FixedDimensionalEncoding, Floats, Tokens
from embedders.muvera.multivectors import Block, Multivectors, Offsets, read_blocks

# Part of fingerprints; to be raised when a change gives other vectors for the same parameters.
ALGORITHM = "muvera-1"
# Clusters are numbered in 16 bits.
MOST_PLANES = 16
# Most numbers of a vector, and most random ones to draw: 64 MB a document in float32, hundreds of times what stores
# take as one vector. More than that is a mistake, and would exhaust memory.
MOST_NUMBERS = 1 << 24
ROWS_NAMED = 5


class Muvera:
    """Makes fixed dimensional encodings of multivectors whose vectors have ``dim`` numbers.

    In each of ``r_reps`` repetitions, ``k_sim`` random planes cut space into 2^k_sim clusters, and each cluster's
    tokens are projected to ``dim_proj`` numbers by random signs (not at all where that is ``dim``). ``final_dim``
    folds the r_reps * 2^k_sim * dim_proj numbers to that many by a count sketch, which keeps dot products on average.

    The vectors are those of fastembed 0.9.1 within 1e-5. Documents and queries must be encoded with the same
    parameters, and changing one means encoding all documents again: the encoding by fewer repetitions is no prefix of
    that by more. Compare encodings by dot product. Objects may be pickled, and used by several threads.

    Raises ValueError for invalid parameters, and where r_reps * 2^k_sim * dim_proj, or the random numbers of
    planes and projections, r_reps * dim * (k_sim + dim_proj), are more than 16,777,216.
    """

    def __init__(
        self,
        dim: int,
        k_sim: int = 5,
        dim_proj: int = 16,
        r_reps: int = 20,
        random_seed: int = 42,
        *,
        final_dim: int | None = None,
    ) -> None:
        self.dim = dim = _whole("dim", dim, 1)
        self.k_sim = k_sim = _whole("k_sim", k_sim, 0, MOST_PLANES)
        self.dim_proj = dim_proj = _whole("dim_proj", dim_proj, 1)
        self.r_reps = r_reps = _whole("r_reps", r_reps, 1)
        self.random_seed = random_seed = _whole("random_seed", random_seed, 0)
        if dim_proj > dim:
            raise ValueError(f"dim_proj is {dim_proj}, but vectors of {dim} numbers can only be projected to fewer")
        size = _size(dim, k_sim, dim_proj, r_reps)
        if final_dim is not None:
            final_dim = _whole("final_dim", final_dim, 1)
            if final_dim >= size:
                raise ValueError(f"final_dim is {final_dim}, but without it a vector has {size} numbers: leave it out")
        self.final_dim = final_dim
        self._encoding = FixedDimensionalEncoding.draw(dim, k_sim, dim_proj, r_reps, random_seed)
        self._sketch = None if final_dim is None else CountSketch.draw(size, final_dim, random_seed)

    @classmethod
    def from_embedder(
        cls,
        model: Any,
        k_sim: int = 5,
        dim_proj: int = 16,
        r_reps: int = 20,
        random_seed: int = 42,
        *,
        final_dim: int | None = None,
    ) -> Muvera:
        """Make one for a model of multivectors.

        ``model`` is a LateInteractionTextEmbedding, a LateInteractionMultimodalEmbedding, what `make_embedder` gives,
        or anything else with ``spec``, ``dim`` or ``embedding_size``. Raises ValueError for one whose vectors are no
        multivectors.
        """
        return cls(_token_dim(model), k_sim, dim_proj, r_reps, random_seed, final_dim=final_dim)

    from_multivector_model = from_embedder

    @property
    def embedding_size(self) -> int:
        """Numbers in an encoding."""
        return self.final_dim or self._encoding.size

    @property
    def parameters(self) -> dict[str, int | str | None]:
        """All that changes the encodings of given multivectors, for a fingerprint."""
        return {
            "algorithm": ALGORITHM,
            "dim": self.dim,
            "k_sim": self.k_sim,
            "dim_proj": self.dim_proj,
            "r_reps": self.r_reps,
            "random_seed": self.random_seed,
            "final_dim": self.final_dim,
        }

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self.parameters.items() if name != "algorithm")
        return f"Muvera({given})"

    def encode_documents(self, tokens: Multivectors, offsets: Offsets | None = None) -> Floats:
        """Encode documents; (documents, embedding_size) float32.

        ``tokens`` is an Arrow array or chunked array of list<fixed_size_list<float>[dim]>, or a (tokens, dim) matrix
        of float16, float32 or float64, of which document i owns rows offsets[i] to offsets[i + 1]. Neither is copied
        as a whole, and temporary memory does not grow with the input.

        Raises ValueError for types, shapes and offsets that do not fit, and one naming the rows for rows without
        tokens, null rows, and tokens that are not finite; see `find_bad_rows`.
        """
        return self._encode(read_blocks(tokens, offsets, self.dim), fill=True, average=True)

    def encode_queries(self, tokens: Multivectors, offsets: Offsets | None = None) -> Floats:
        """Encode queries, (queries, embedding_size) float32: sums by cluster, empty ones zero; see encode_documents."""
        return self._encode(read_blocks(tokens, offsets, self.dim), fill=False, average=False)

    def find_bad_rows(self, tokens: Multivectors, offsets: Offsets | None = None) -> dict[int, str]:
        """Rows that have no encoding, in order, and why: no tokens, null, or numbers that are not finite."""
        return _bad_rows(read_blocks(tokens, offsets, self.dim))

    def process_document(self, vectors: npt.NDArray[np.floating[Any]]) -> Floats:
        """Encode one document's (tokens, dim) matrix; (embedding_size,) float32. Many together are far faster."""
        return self.process(vectors)

    def process_query(self, vectors: npt.NDArray[np.floating[Any]]) -> Floats:
        """Encode one query's (tokens, dim) matrix; (embedding_size,) float32."""
        return self.process(vectors, fill_empty_clusters=False, normalize_by_count=False)

    def process(
        self,
        vectors: npt.NDArray[np.floating[Any]],
        fill_empty_clusters: bool = True,
        normalize_by_count: bool = True,
    ) -> Floats:
        """Encode one (tokens, dim) matrix; (embedding_size,) float32.

        ``normalize_by_count`` takes means by cluster instead of sums. ``fill_empty_clusters`` gives an empty cluster
        the first token of the nearest occupied one, by the planes that part them; of several, the lowest in number.
        """
        if not isinstance(vectors, np.ndarray):
            raise TypeError(f"vectors must be a NumPy matrix of (tokens, {self.dim}), got {type(vectors).__name__}")
        blocks = read_blocks(vectors, [0, len(vectors)] if vectors.ndim else None, self.dim)
        encoded: Floats = self._encode(blocks, fill=fill_empty_clusters, average=normalize_by_count)[0]
        return encoded

    def _encode(self, blocks: list[Block], *, fill: bool, average: bool) -> Floats:
        if any(block.has_gaps for block in blocks):
            raise _unfit(blocks)
        out = np.empty((sum(map(len, blocks)), self.embedding_size), dtype=np.float32)
        done = 0
        try:
            for block in blocks:
                for start, stop in block.chunks(self._encoding.chunk_rows, self._encoding.chunk_tokens):
                    self._encode_chunk(block, start, stop, out[done + start : done + stop], fill=fill, average=average)
                done += len(block)
        except _NotFiniteError:
            raise _unfit(blocks) from None
        return out

    def _encode_chunk(self, block: Block, start: int, stop: int, out: Floats, *, fill: bool, average: bool) -> None:
        offsets = block.offsets[start : stop + 1]
        vectors = block.tokens[offsets[0] : offsets[-1]]
        full = out if self._sketch is None else np.empty((len(out), self._encoding.size), dtype=np.float32)
        if len(vectors) > self._encoding.chunk_tokens:
            parts = _parts(vectors, self._encoding.chunk_tokens)
            self._encoding.encode_long(parts, full, fill=fill, average=average)
        else:
            self._encoding.encode(_finite(vectors), offsets - offsets[0], full, fill=fill, average=average)
        if self._sketch is not None:
            self._sketch.fold(full, out)


class _NotFiniteError(Exception):
    """A chunk has a token that is not finite; the rows are found by a second pass over all of them."""


def _finite(vectors: npt.NDArray[np.floating[Any]]) -> Tokens:
    tokens = Tokens.of(vectors)
    if not np.isfinite(tokens.norms).all():
        raise _NotFiniteError
    return tokens


def _parts(vectors: npt.NDArray[np.floating[Any]], size: int) -> Iterator[Tokens]:
    return (_finite(vectors[start : start + size]) for start in range(0, len(vectors), size))


def _bad_rows(blocks: list[Block]) -> dict[int, str]:
    bad: dict[int, str] = {}
    done = 0
    for block in blocks:
        bad |= {done + row: why for row, why in block.bad_rows().items()}
        done += len(block)
    return bad


def _unfit(blocks: list[Block]) -> ValueError:
    bad = _bad_rows(blocks)
    named = ", ".join(f"{row} ({why})" for row, why in list(bad.items())[:ROWS_NAMED])
    more = f" and {len(bad) - ROWS_NAMED} more" if len(bad) > ROWS_NAMED else ""
    rows = "row" if len(bad) == 1 else "rows"
    return ValueError(f"cannot encode {rows} {named}{more}: leave out what find_bad_rows names")


def _whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Check a parameter; an int even for NumPy's small integers, whose products would overflow."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    if value < least or (most is not None and value > most):
        limits = f"{least} or more" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be {limits}, got {value}")
    return int(value)


def _size(dim: int, k_sim: int, dim_proj: int, r_reps: int) -> int:
    """Numbers in an encoding before ``final_dim``; raises ValueError where they, or those to draw, are too many."""
    size = r_reps * dim_proj << k_sim
    drawn = r_reps * dim * (k_sim if dim_proj == dim else k_sim + dim_proj)
    for what, count in (("a vector's", size), ("the planes' and projections'", drawn)):
        if count > MOST_NUMBERS:
            raise ValueError(f"{what} numbers are {count:,}, {MOST_NUMBERS:,} at most: lower r_reps, k_sim or dim_proj")
    return size


def _token_dim(model: Any) -> int:
    """Numbers in a token's vector of a model of multivectors; raises ValueError for other models."""
    name = getattr(model, "model_name", type(model).__name__)
    spec = getattr(model, "spec", None)
    if spec is not None and spec.kind != "multivector":
        raise ValueError(f"MUVERA takes models of multivectors, but {name} makes {spec.kind} vectors")
    dims = (getattr(spec, "dim", None), getattr(model, "dim", None), getattr(model, "embedding_size", None))
    for dim in dims:
        if dim is not None:
            return int(dim)
    raise ValueError(f"{name} tells no dim, embedding_size or spec: give Muvera the dim of its token vectors")
