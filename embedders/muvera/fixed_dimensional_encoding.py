"""The arithmetic of MUVERA: multivectors in, fixed dimensional encodings (FDEs) out, many documents at a time.

Dhulipala et al., "MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings", arXiv 2405.19504, section 2. In
each repetition, random planes cut space into 2^k_sim clusters; a multivector's tokens are added up by cluster, and the
sums projected to dim_proj numbers. Both steps are linear, so that tokens are projected first: one matrix product for
all repetitions, and much shorter vectors to add up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.intp]

# Bytes that a chunk's tokens and vectors take while they are encoded: about 1,200 tokens and 70 documents by the
# defaults. With much less, the overhead of calls dominates; with more, a chunk exceeds the second-level cache.
CHUNK_BYTES = 4 << 20
# Rows of a run that are added up one after the other; bounds the number of calls for one large cluster.
LONGEST_RUN = 64
# Half the distance from 1 to the next float32.
ROUNDING = float(np.finfo(np.float32).eps) / 2


class Tokens(NamedTuple):
    """Token vectors: as they were given, in float32, and their norms; all finite."""

    exact: npt.NDArray[np.floating[Any]]
    single: Floats
    norms: Floats

    @classmethod
    def of(cls, vectors: npt.NDArray[np.floating[Any]]) -> Tokens:
        """Take a (tokens, dim) matrix. A norm is not finite where a number is not, or is above some 1e19."""
        with np.errstate(over="ignore"):
            single = vectors.astype(np.float32, copy=False)
            return cls(vectors, single, np.sqrt(np.einsum("ij,ij->i", single, single)))


class Clusters(NamedTuple):
    """Occupied clusters of some documents, one entry each.

    ``slots`` numbers them by (cluster, repetition, document), ``outputs`` by (document, repetition, cluster).
    ``starts`` and ``counts`` tell where a cluster's tokens are among the sorted ones, ``first`` the row of the
    projected tokens that holds the first of them.
    """

    ids: Positions
    slots: Positions
    outputs: Positions
    starts: Positions
    counts: Positions
    first: Positions

    def largest_first(self, at_least: int = 1) -> Clusters:
        """Clusters of at least so many tokens, largest first."""
        chosen = np.flatnonzero(self.counts >= at_least)
        chosen = chosen[np.argsort(-self.counts[chosen], kind="stable")]
        return Clusters(*(column[chosen] for column in self))


@dataclass(frozen=True)
class FixedDimensionalEncoding:
    """Random planes and projections, and the encodings they make; read only, so that threads may share one.

    The numbers are drawn from ``numpy.random.default_rng(random_seed)``, first all planes, then all projections: the
    order of fastembed's Muvera, whose vectors these therefore are.
    """

    dim: int
    k_sim: int
    dim_proj: int
    r_reps: int
    planes: npt.NDArray[np.float64]
    projections: Floats | None

    @classmethod
    def draw(cls, dim: int, k_sim: int, dim_proj: int, r_reps: int, random_seed: int) -> FixedDimensionalEncoding:
        """Draw planes, (k_sim * r_reps, dim), and projections, (dim, r_reps * dim_proj); none where dim_proj is dim."""
        generator = np.random.default_rng(random_seed)
        normals = generator.normal(size=(r_reps, dim, k_sim))
        planes = np.ascontiguousarray(normals.transpose(2, 0, 1)).reshape(k_sim * r_reps, dim)
        if dim_proj == dim:
            return cls(dim, k_sim, dim_proj, r_reps, planes, None)
        signs = generator.choice([-1, 1], size=(r_reps, dim, dim_proj)).transpose(1, 0, 2).reshape(dim, -1)
        return cls(dim, k_sim, dim_proj, r_reps, planes, (signs / np.sqrt(dim_proj)).astype(np.float32))

    @property
    def size(self) -> int:
        """Numbers in an encoding."""
        return self.r_reps * self.clusters * self.dim_proj

    @property
    def clusters(self) -> int:
        """Clusters in a repetition."""
        return 1 << self.k_sim

    @property
    def chunk_tokens(self) -> int:
        """Tokens to hand to `encode` at once."""
        numbers = self.dim + self.r_reps * (self.k_sim + self.dim_proj)
        # Order, documents, slots and positions of the tokens take 8 bytes each per repetition, some of them twice.
        return max(1, CHUNK_BYTES // (4 * numbers + 64 * self.r_reps))

    @property
    def chunk_rows(self) -> int:
        """Documents to hand to `encode` at once."""
        return max(1, CHUNK_BYTES // (4 * self.size + 32 * self.r_reps * self.clusters))

    @cached_property
    def _single_planes(self) -> Floats:
        return self.planes.astype(np.float32)

    @cached_property
    def _longest_plane(self) -> float:
        return float(np.sqrt(np.square(self.planes).sum(axis=1)).max(initial=0))

    def encode(self, tokens: Tokens, offsets: npt.NDArray[np.int64], out: Floats, *, fill: bool, average: bool) -> None:
        """Write the encodings of a few documents, none of them empty, to ``out``, (documents, size) and contiguous.

        Document i owns tokens offsets[i] to offsets[i + 1]; offsets begin at 0. ``average`` divides each cluster's
        sum by its tokens, ``fill`` gives an empty cluster the first token of the occupied one that differs in the
        fewest planes, of several the one with the lowest number.
        """
        projected = self._project(tokens.single)
        found, positions = self._sort(self.cluster_ids(tokens), offsets)
        vectors = out.reshape(-1, self.dim_proj)
        if fill:
            projected.take(self._nearest(found, len(out)), axis=0, out=vectors, mode="clip")
        else:
            out[...] = 0
        # A filled cluster already holds its first token: one with no other token is done.
        wanted = found.largest_first(at_least=2 if fill else 1)
        sums = sum_runs(projected, positions, wanted.starts, wanted.counts)
        if average:
            sums *= (1 / wanted.counts).astype(np.float32)[:, None]
        vectors[wanted.outputs] = sums

    def encode_long(self, parts: Iterable[Tokens], out: Floats, *, fill: bool, average: bool) -> None:
        """Write the encoding of one document, handed over in parts, to ``out``, (size,); see `encode`."""
        vectors = out.reshape(-1, self.dim_proj)
        vectors[...] = 0
        first = np.empty_like(vectors)
        counts = np.zeros(len(vectors), dtype=np.intp)
        for tokens in parts:
            projected = self._project(tokens.single)
            found, positions = self._sort(self.cluster_ids(tokens), np.array([0, len(tokens.single)]))
            found = found.largest_first()
            vectors[found.outputs] += sum_runs(projected, positions, found.starts, found.counts)
            new = counts[found.outputs] == 0
            first[found.outputs[new]] = projected[found.first[new]]
            counts[found.outputs] += found.counts
        occupied = np.flatnonzero(counts)
        if average:
            vectors[occupied] *= (1 / counts[occupied]).astype(np.float32)[:, None]
        if fill:
            rep, cluster = np.divmod(occupied, self.clusters)
            found = Clusters(cluster, cluster * self.r_reps + rep, occupied, occupied, counts[occupied], occupied)
            empty = counts == 0
            vectors[empty] = first[self._nearest(found, 1)[empty]]

    def cluster_ids(self, tokens: Tokens) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Each token's cluster in each repetition, (r_reps, tokens): bit j tells on which side of plane j it is.

        Equal to float64's: tokens so close to a plane that float32 might err are computed again.
        """
        sketch = self._single_planes @ tokens.single.T
        sides = sketch > 0
        # Any order of summation keeps to this bound (Higham, "Accuracy and Stability of Numerical Algorithms", 3.1).
        # The spare terms are for the rounding of planes, tokens and norms, the constant for squares that underflow.
        bound = (tokens.norms + np.float32(1e-17)) * np.float32((self.dim + 8) * ROUNDING * self._longest_plane)
        doubtful = np.flatnonzero(~(np.abs(sketch, out=sketch).min(axis=0, initial=np.inf) > bound))
        if len(doubtful):
            sides[:, doubtful] = self.planes @ tokens.exact[doubtful].astype(np.float64).T > 0
        kind = np.uint8 if self.k_sim <= 8 else np.uint16
        bits = sides.view(np.uint8).reshape(self.k_sim, self.r_reps, sides.shape[1])
        ids = np.zeros(bits.shape[1:], dtype=kind)
        for plane in range(self.k_sim):
            ids |= bits[plane].astype(kind, copy=False) << kind(plane)
        return ids

    def _project(self, single: Floats) -> Floats:
        """Projected tokens, row token * r_reps + repetition; without projections, row token for all repetitions."""
        if self.projections is None:
            return single
        projected: Floats = (single @ self.projections).reshape(-1, self.dim_proj)
        return projected

    def _sort(
        self, ids: npt.NDArray[np.unsignedinteger[Any]], offsets: npt.NDArray[np.int64]
    ) -> tuple[Clusters, Positions]:
        """Find the occupied clusters, and the rows of the projected tokens in the clusters' order."""
        reps, count = ids.shape
        rows = len(offsets) - 1
        # Documents are in order already: a stable sort by cluster keeps them so, and their tokens. On small
        # integers it is a radix sort.
        order = np.argsort(ids, axis=1, kind="stable")
        documents = np.repeat(np.arange(rows), np.diff(offsets))[order]
        ids = np.take_along_axis(ids, order, axis=1)
        rep = np.arange(reps)[:, None]
        slots = ((ids.astype(np.intp) * reps + rep) * rows + documents).ravel()
        starts = np.concatenate(([0], np.flatnonzero(slots[1:] != slots[:-1]) + 1))
        counts = np.diff(starts, append=len(slots))
        positions = (order if self.projections is None else order * reps + rep).ravel()
        cluster = ids.ravel()[starts].astype(np.intp)
        outputs = (documents.ravel()[starts] * reps + starts // count) * self.clusters + cluster
        return Clusters(cluster, slots[starts], outputs, starts, counts, positions[starts]), positions

    def _nearest(self, found: Clusters, rows: int) -> Positions:
        """Row of the projected tokens that fills each cluster, by (document, repetition, cluster).

        Distances are in planes: min over c' of clusters * popcount(c xor c') + c' takes one pass a plane over the
        corners of a cube, and settles ties by the lower number.
        """
        step = self.clusters
        kind = np.int16 if self.k_sim <= 11 else np.int32
        nearest = np.full((step, self.r_reps * rows), (self.k_sim + 1) * step, dtype=kind)
        nearest.reshape(-1)[found.slots] = found.ids
        for plane in range(self.k_sim):
            pairs = nearest.reshape(step >> (plane + 1), 2, 1 << plane, -1)
            low, high = pairs[:, 0], pairs[:, 1]
            lower = np.minimum(low, high + kind(step))
            np.minimum(high, low + kind(step), out=high)
            pairs[:, 0] = lower
        nearest &= kind(step - 1)
        first = np.empty(nearest.size, dtype=np.intp)
        first[found.slots] = found.first
        columns = nearest.shape[1]
        wanted = nearest.astype(np.intp).reshape(step, self.r_reps, rows) * columns
        wanted += np.arange(columns).reshape(self.r_reps, rows)
        rows_by_output: Positions = first[wanted.transpose(2, 1, 0).ravel()]
        return rows_by_output


def sum_runs(table: Floats, positions: Positions, starts: Positions, lengths: Positions) -> Floats:
    """Sum runs of rows, (runs, columns): run r adds up table[positions[starts[r]:starts[r] + lengths[r]]].

    ``lengths`` fall from the longest run to the shortest, which is 1 or more. Long runs are added up piece by piece.
    """
    if len(lengths) and lengths[0] > LONGEST_RUN:
        pieces = -(-lengths // LONGEST_RUN)
        ends = np.cumsum(pieces)
        begins = (np.arange(ends[-1]) - np.repeat(ends - pieces, pieces)) * LONGEST_RUN
        parts = np.minimum(np.repeat(lengths, pieces) - begins, LONGEST_RUN)
        order = np.argsort(-parts, kind="stable")
        sums = np.empty((len(parts), table.shape[1]), dtype=np.float32)
        sums[order] = sum_runs(table, positions, (np.repeat(starts, pieces) + begins)[order], parts[order])
        return sum_runs(sums, np.arange(len(parts)), ends - pieces, pieces)
    sums = table.take(positions[starts], axis=0)
    # Number of runs, from the front, that have a row of that number.
    longer = np.searchsorted(-lengths, -np.arange(1, int(lengths[0]) if len(lengths) else 1), side="left")
    for number, count in enumerate(longer.tolist(), start=1):
        sums[:count] += table.take(positions[starts[:count] + number], axis=0)
    return sums
