"""Fixed dimensional encodings: fastembed's vectors, whatever the input is cut into, and what they are good for."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fastembed.postprocess import Muvera as Reference
from hypothesis import given, settings
from hypothesis import strategies as st

from embedders import (
    LateInteractionTextEmbedding,
    Muvera,
    SparseTextEmbedding,
    TextEmbedding,
)
from embedders.muvera import fixed_dimensional_encoding
from tests.model_fixtures import MINILM

Matrix = npt.NDArray[Any]


def unit_tokens(count: int, dim: int, seed: int = 0) -> Matrix:
    """Synthetic token vectors of unit length that lean to one side, as a model's do; (count, dim) float32."""
    rng = np.random.default_rng(seed)
    return unit(rng.normal(size=(count, dim)) + 0.8 * rng.normal(size=dim))


def unit(vectors: Matrix) -> Matrix:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def ends(lengths: Sequence[int]) -> Matrix:
    return np.concatenate(([0], np.cumsum(lengths)))


def cut(tokens: Matrix, lengths: Sequence[int]) -> list[Matrix]:
    return np.split(tokens, ends(lengths)[1:-1])


def test_vectors_are_those_that_fastembed_wrote(shared_data: Path) -> None:
    stored = np.load(shared_data / "reference-vectors" / "muvera_fastembed091.npz")
    muvera, small = Muvera(128), Muvera(128, k_sim=4, dim_proj=8, r_reps=4)
    for ours, expected in (
        (muvera.process_document(stored["rand_in"]), stored["rand_doc_fde"]),
        (muvera.process_query(stored["rand_in"]), stored["rand_query_fde"]),
        (small.process_document(stored["unit_doc"]), stored["unit_doc_fde_k4p8r4"]),
        (small.process_query(stored["unit_query"]), stored["unit_query_fde_k4p8r4"]),
    ):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("dim", "k_sim", "dim_proj", "r_reps", "lengths"),
    [
        (128, 5, 16, 20, [1, 80, 3, 200]),
        (128, 6, 32, 20, [40, 41]),
        (128, 9, 8, 3, [1, 700, 12]),
        (128, 4, 128, 2, [30, 700, 1]),
        (96, 1, 16, 4, [1, 2, 700]),
        (48, 12, 2, 2, [50, 1]),
        (16, 0, 4, 3, [1, 5]),
        (1, 1, 1, 1, [3]),
    ],
)
@pytest.mark.parametrize("seed", [42, 7])
def test_vectors_are_fastembeds(
    dim: int, k_sim: int, dim_proj: int, r_reps: int, lengths: list[int], seed: int
) -> None:
    parameters = (dim, k_sim, dim_proj, r_reps, seed)
    ours, theirs = Muvera(*parameters), Reference(*parameters)
    tokens = unit_tokens(sum(lengths), dim)
    documents, queries = ours.encode_documents(tokens, ends(lengths)), ours.encode_queries(tokens, ends(lengths))
    assert (
        documents.shape == queries.shape == (len(lengths), ours.embedding_size) == (len(lengths), theirs.embedding_size)
    )
    assert documents.dtype == queries.dtype == np.float32
    for row, vectors in enumerate(cut(tokens, lengths)):
        np.testing.assert_allclose(documents[row], theirs.process_document(vectors), atol=1e-5)
        np.testing.assert_allclose(queries[row], theirs.process_query(vectors), atol=1e-5)


@pytest.mark.parametrize("tokens", [1, 60, 3000])
@pytest.mark.parametrize("fill", [True, False])
@pytest.mark.parametrize("average", [True, False])
def test_one_matrix_is_processed_as_by_fastembed(tokens: int, fill: bool, average: bool) -> None:
    vectors = unit_tokens(tokens, 64)
    ours, expected = (
        make(64, k_sim=5, dim_proj=8, r_reps=4).process(vectors, fill, average) for make in (Muvera, Reference)
    )
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
def test_tokens_on_a_plane_fall_to_the_side_that_fastembed_puts_them_on(dtype: Any, scale: float) -> None:
    reference = Reference(64, k_sim=4, dim_proj=16, r_reps=5)
    planes = np.concatenate([part.simhash_vectors for part in reference.simhash_projections], axis=1).T
    tokens = np.repeat(unit_tokens(30, 64), len(planes), axis=0).astype(np.float64)
    planes = np.tile(planes, (30, 1))
    tokens -= planes * (np.einsum("ij,ij->i", tokens, planes) / np.einsum("ij,ij->i", planes, planes))[:, None]
    tokens = (tokens * scale).astype(dtype)
    ours = Muvera(64, k_sim=4, dim_proj=16, r_reps=5).encode_documents(tokens, np.arange(len(tokens) + 1))
    expected = np.stack([reference.process_document(tokens[row : row + 1]) for row in range(len(tokens))])
    np.testing.assert_allclose(ours, expected, atol=1e-5 * scale)


@pytest.mark.parametrize("tiny", [0, 1e-42, 1e-30, 1e-22, 1e-18])
def test_vanishing_tokens_fall_to_the_side_that_fastembed_puts_them_on(tiny: float) -> None:
    tokens = unit_tokens(200, 64).astype(np.float64) * tiny
    # A mean with a token that does not vanish tells which cluster it is in.
    tokens = np.concatenate([tokens, unit_tokens(200, 64, seed=1)])[np.arange(400).reshape(2, -1).T.ravel()]
    ours, theirs = Muvera(64, k_sim=4, dim_proj=16, r_reps=5), Reference(64, k_sim=4, dim_proj=16, r_reps=5)
    for given_as in (tokens, tokens.astype(np.float32)):
        encoded = ours.encode_documents(given_as, np.arange(0, 401, 2))
        expected = np.stack([theirs.process_document(given_as[row : row + 2]) for row in range(0, 400, 2)])
        np.testing.assert_allclose(encoded, expected, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=12),
    chunk_bytes=st.sampled_from([1, 2_000, 20_000, 200_000, 4 << 20]),
    longest_run=st.sampled_from([2, 3, 64]),
    k_sim=st.integers(0, 6),
    dim_proj=st.sampled_from([3, 24]),
    final_dim=st.sampled_from([None, 2]),
    data=st.data(),
)
def test_neighbours_order_and_chunks_change_nothing(
    lengths: list[int], chunk_bytes: int, longest_run: int, k_sim: int, dim_proj: int, final_dim: int | None, data: Any
) -> None:
    muvera = Muvera(24, k_sim, dim_proj, r_reps=3, final_dim=final_dim)
    documents = cut(unit_tokens(sum(lengths), 24), lengths)
    order = data.draw(st.permutations(range(len(lengths))))
    tokens, offsets = np.concatenate([documents[row] for row in order]), ends([lengths[row] for row in order])
    alone = [
        np.stack([encode(documents[row]) for row in order])
        for encode in (muvera.process_document, muvera.process_query)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fixed_dimensional_encoding, "CHUNK_BYTES", chunk_bytes)
        patch.setattr(fixed_dimensional_encoding, "LONGEST_RUN", longest_run)
        together = [encode(tokens, offsets) for encode in (muvera.encode_documents, muvera.encode_queries)]
    np.testing.assert_allclose(together[0], alone[0], atol=2e-6 * (30 if final_dim else 1))
    np.testing.assert_allclose(together[1], alone[1], atol=2e-5 * (30 if final_dim else 1))


def test_memory_does_not_grow_with_a_documents_tokens() -> None:
    muvera = Muvera(128)
    tokens = unit_tokens(60_000, 128)
    tracemalloc.start()
    encoded = muvera.encode_documents(tokens, [0, 20_000, 60_000])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20
    # A mean of many tokens: what the projections make of it can be said without the encoding.
    plain = Muvera(128, k_sim=0, dim_proj=128, r_reps=1).encode_documents(tokens, [0, 20_000, 60_000])
    np.testing.assert_allclose(plain[1], tokens[20_000:].astype(np.float64).mean(axis=0), atol=1e-6)
    assert np.isfinite(encoded).all()


def test_memory_does_not_grow_with_clusters_times_documents() -> None:
    muvera = Muvera(16, k_sim=10, dim_proj=16, r_reps=4, final_dim=100)
    tokens = unit_tokens(300, 16)
    tracemalloc.start()
    muvera.encode_documents(tokens, np.arange(301))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


def test_dot_products_never_pass_maxsim_without_projections() -> None:
    """Lemma A.3 of the paper: for unit vectors, and dim_proj = dim."""
    queries, documents = [8] * 10, [1, 5, 30, 90, 200]
    muvera = Muvera(32, k_sim=4, dim_proj=32, r_reps=10)
    query_tokens, tokens = unit_tokens(80, 32, seed=1), unit_tokens(sum(documents), 32, seed=1)
    scores = (
        muvera.encode_queries(query_tokens, ends(queries)) @ muvera.encode_documents(tokens, ends(documents)).T / 10
    )
    exact = maxsim(cut(query_tokens, queries), cut(tokens, documents))
    assert (scores <= exact + 1e-4).all()
    # One token is the nearest whatever the clusters.
    np.testing.assert_allclose(scores[:, 0], exact[:, 0], atol=1e-4)


def test_synthetic_dot_products_approximate_maxsim() -> None:
    """Documents of a few words said over and over, queries of some of one's words: the case the method is made for."""
    rng = np.random.default_rng(0)
    words = unit(rng.normal(size=(500, 64)))
    chosen = rng.integers(0, 500, size=(100, 10))
    tokens = unit(np.repeat(words[chosen], 6, axis=1).reshape(-1, 64) + rng.normal(scale=0.04, size=(6000, 64)))
    asked = words[chosen[:40][:, rng.integers(0, 10, size=8)]].reshape(-1, 64)
    query_tokens = unit(asked + rng.normal(scale=0.04, size=asked.shape))
    exact = maxsim(cut(query_tokens, [8] * 40), cut(tokens, [60] * 100))
    found, closeness = [], []
    for k_sim, final_dim in ((3, None), (5, None), (8, None), (5, 4096)):
        muvera = Muvera(64, k_sim, final_dim=final_dim)
        encoded = muvera.encode_documents(tokens, np.arange(0, 6001, 60))
        scores = muvera.encode_queries(query_tokens, np.arange(0, 321, 8)) @ encoded.T / muvera.r_reps
        found.append((scores.argmax(axis=1) == np.arange(40)).all())
        closeness.append((scores[:, :40] / exact[:, :40]).diagonal().mean())
        assert np.corrcoef(scores.ravel(), exact.ravel())[0, 1] > 0.75
    assert all(found)
    # Clusters' means fall short of their best token; more clusters, less so.
    assert 0.4 < closeness[0] < closeness[1] - 0.1 < closeness[2] - 0.2 < 0.8
    assert abs(closeness[3] - closeness[1]) < 0.05


def maxsim(queries: list[Matrix], documents: list[Matrix]) -> Matrix:
    return np.array([[(query @ document.T).max(axis=1).sum() for document in documents] for query in queries])


def test_the_final_projection_keeps_dot_products_on_average() -> None:
    query, document = unit_tokens(6, 16, seed=1), unit_tokens(20, 16, seed=2)
    errors = []
    for seed in range(200):
        folded, full = (Muvera(16, 3, 8, 4, seed, final_dim=size) for size in (64, None))
        before = float(full.process_query(query) @ full.process_document(document))
        errors.append(float(folded.process_query(query) @ folded.process_document(document)) - before)
        scale = np.linalg.norm(full.process_query(query)) * np.linalg.norm(full.process_document(document))
    # The variance of a count sketch of m places is about |x|^2 |y|^2 / m.
    assert abs(np.mean(errors)) < 4 * np.std(errors) / np.sqrt(200)
    assert np.std(errors) < 2 * scale / 8


def test_objects_can_be_pickled_and_shared_by_threads() -> None:
    muvera = Muvera(32, k_sim=4, dim_proj=8, r_reps=5, final_dim=128)
    documents = [unit_tokens(50, 32, seed=seed) for seed in range(16)]
    expected = [muvera.process_document(document) for document in documents]
    fresh = Muvera(32, k_sim=4, dim_proj=8, r_reps=5, final_dim=128)
    for other in (fresh, pickle.loads(pickle.dumps(muvera))):
        with ThreadPoolExecutor(4) as pool:
            np.testing.assert_array_equal(list(pool.map(other.process_document, documents)), expected)
        assert other.parameters == muvera.parameters


def test_parameters_are_all_that_changes_the_vectors() -> None:
    muvera = Muvera(8, 2, 4, 3, 42, final_dim=5)
    assert muvera.parameters == {
        "algorithm": "muvera-1",
        "dim": 8,
        "k_sim": 2,
        "dim_proj": 4,
        "r_reps": 3,
        "random_seed": 42,
        "final_dim": 5,
    }
    assert muvera.embedding_size == 5
    assert Muvera(8, 2, 4, 3).embedding_size == 48
    assert repr(muvera) == "Muvera(dim=8, k_sim=2, dim_proj=4, r_reps=3, random_seed=42, final_dim=5)"


@pytest.mark.parametrize("whole", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_numpys_whole_numbers_are_taken_however_small(whole: Any) -> None:
    given, plain = ([make(number) for number in (64, 5, 16, 20, 42)] for make in (whole, int))
    ours = Muvera(*given, final_dim=whole(100))
    assert ours.parameters == Muvera(*plain, final_dim=100).parameters
    assert Muvera(*given).embedding_size == 10_240
    assert all(type(value) is not whole for value in ours.parameters.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"r_reps": 10**12}, "a vector's numbers are 512,000,000,000,000, 16,777,216 at most: lower r_reps"),
        ({"r_reps": 100_000}, "a vector's numbers are 51,200,000, "),
        ({"k_sim": 16}, "a vector's numbers are 20,971,520, "),
        ({"r_reps": 100_000, "final_dim": 1000}, "a vector's numbers are 51,200,000, "),
        ({"k_sim": 0, "r_reps": 10_000}, "the planes' and projections' numbers are 20,480,000, "),
        ({"dim": 10**9, "r_reps": 1}, "the planes' and projections' numbers are 21,000,000,000, "),
    ],
)
def test_sizes_beyond_memory_are_refused_before_anything_is_drawn(arguments: dict[str, int], message: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            Muvera(**{"dim": 128, **arguments})
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_parameters_that_cannot_be_are_refused() -> None:
    for arguments, message in (
        ({"dim": 0}, "dim must be 1 or more, got 0"),
        ({"dim": 8.0}, r"dim must be a whole number, got 8\.0"),
        ({"k_sim": -1}, "k_sim must be from 0 to 16, got -1"),
        ({"k_sim": 17}, "k_sim must be from 0 to 16, got 17"),
        ({"k_sim": True}, "k_sim must be a whole number, got True"),
        ({"dim_proj": 0}, "dim_proj must be 1 or more, got 0"),
        ({"dim_proj": 9}, "dim_proj is 9, but vectors of 8 numbers can only be projected to fewer"),
        ({"r_reps": 0}, "r_reps must be 1 or more, got 0"),
        ({"r_reps": "20"}, "r_reps must be a whole number, got '20'"),
        ({"random_seed": -1}, "random_seed must be 0 or more, got -1"),
        ({"random_seed": None}, "random_seed must be a whole number, got None"),
        ({"final_dim": 0}, "final_dim must be 1 or more, got 0"),
        ({"final_dim": 480}, "final_dim is 480, but without it a vector has 480 numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            Muvera(**{"dim": 8, "k_sim": 2, "dim_proj": 6, **arguments})


def test_synthetic_models_of_multivectors_are_taken(synthetic_model: Callable[[str], Path]) -> None:
    name = "colbert-ir/colbertv2.0"
    model = LateInteractionTextEmbedding(name, specific_model_path=synthetic_model(name), cuda=False, threads=1)
    for source in (model, model.model):
        muvera = Muvera.from_embedder(source, 3, 8, 2, 1, final_dim=20)
        assert muvera.parameters == Muvera(model.dim, 3, 8, 2, 1, final_dim=20).parameters
    muvera = Muvera.from_multivector_model(model, k_sim=3, dim_proj=8, r_reps=2)
    texts = ["hello world", "the quick brown fox jumps"]
    encoded = muvera.encode_documents(model.embed_arrow(texts))
    for row, vectors in zip(encoded, model.embed(texts), strict=True):
        np.testing.assert_allclose(row, muvera.process_document(vectors), atol=1e-6)


def test_other_models_are_refused(minilm: Path) -> None:
    dense = TextEmbedding(MINILM, specific_model_path=minilm, cuda=False)
    with pytest.raises(ValueError, match=f"models of multivectors, but {MINILM} makes dense vectors"):
        Muvera.from_embedder(dense)
    with pytest.raises(ValueError, match="but Qdrant/bm25 makes sparse vectors"):
        Muvera.from_embedder(SparseTextEmbedding("Qdrant/bm25"))
    with pytest.raises(ValueError, match="object tells no dim, embedding_size or spec"):
        Muvera.from_embedder(object())


def test_a_foreign_model_tells_its_size() -> None:
    class Model:
        embedding_size = 24

    assert Muvera.from_multivector_model(Model()).parameters["dim"] == 24
