from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fastembed import SparseTextEmbedding as ReferenceFacade

from embedders.api.sparse_embedding import SparseEmbedding, from_arrow
from embedders.api.sparse_text_embedding import SparseTextEmbedding
from embedders.catalog import find_card
from embedders.errors import ModelNotFoundError


@pytest.fixture(scope="module")
def embedder(stopword_folder: Path) -> SparseTextEmbedding:
    return SparseTextEmbedding("qdrant/BM25", specific_model_path=stopword_folder)


def test_a_string_is_one_document(embedder: SparseTextEmbedding) -> None:
    assert len(list(embedder.embed("hello world"))) == 1
    assert len(list(embedder.query_embed("hello world"))) == 1
    assert list(embedder.embed([])) == []


def test_dtypes(embedder: SparseTextEmbedding) -> None:
    vectors = [*embedder.embed(["hello", ""]), *embedder.query_embed(["hello", ""])]
    assert [len(vector.indices) for vector in vectors] == [1, 0, 1, 0]
    for vector in vectors:
        assert (vector.values.dtype, vector.indices.dtype) == (np.float32, np.int64)
        assert vector.values.flags.writeable
        assert vector.indices.flags.writeable


def test_csr_arrays_are_those_of_the_vectors_one_by_one_and_make_a_matrix_of_scipy(
    embedder: SparseTextEmbedding,
) -> None:
    texts = ["hello world", "", "a world of worlds"]
    matrix = embedder.embed_csr(texts)
    assert (matrix.data.dtype, matrix.indices.dtype, matrix.indptr.dtype) == (np.float32, np.int64, np.int64)
    assert matrix.rows == 3 and matrix.indptr[0] == 0 and matrix.data.flags.writeable
    for row, one in enumerate(embedder.embed(texts)):
        own = slice(matrix.indptr[row], matrix.indptr[row + 1])
        np.testing.assert_array_equal(matrix.data[own], one.values)
        np.testing.assert_array_equal(matrix.indices[own], one.indices)
    assert [len(part) for part in embedder.embed_csr([])] == [0, 0, 1]
    sparse = pytest.importorskip("scipy.sparse")
    kept, columns = np.unique(matrix.indices, return_inverse=True)
    small = sparse.csr_array((matrix.data, columns, matrix.indptr), shape=(matrix.rows, len(kept)))
    scores = (small @ small.T).toarray()
    assert scores[0, 2] > 0 == scores[0, 1]
    assert sparse.csr_array(matrix, shape=(matrix.rows, 1 << 32)).nnz == len(matrix.data)
    with pytest.raises(TypeError, match="not one str"):
        embedder.embed_csr("hello world")


def test_passages_are_documents(embedder: SparseTextEmbedding) -> None:
    texts = ["hello world", "world"]
    assert [v.as_dict() for v in embedder.passage_embed(texts)] == [v.as_dict() for v in embedder.embed(texts)]


def test_documents_are_read_a_batch_ahead(embedder: SparseTextEmbedding) -> None:
    read = []

    def endless() -> Iterator[str]:
        while True:
            read.append(len(read))
            yield f"document {len(read)}"

    assert len(list(islice(embedder.embed(endless(), batch_size=8), 10))) == 10
    assert len(read) == 16


def test_batch_size_below_one_is_refused(embedder: SparseTextEmbedding) -> None:
    with pytest.raises(ValueError, match="batch_size must be 1 or more, got 0"):
        next(embedder.embed(["a"], batch_size=0))


def test_token_count_is_fastembeds(embedder: SparseTextEmbedding, stopword_folder: Path, docstrings: list[str]) -> None:
    reference = ReferenceFacade("Qdrant/bm25", specific_model_path=str(stopword_folder))
    texts = ["the hello_world don't", "İstanbul ’ 中文", "", *docstrings[:100]]
    assert embedder.token_count(texts, batch_size=7) == reference.token_count(texts)
    assert embedder.token_count("the hello_world don't") == 4


def test_supported_models_have_fastembeds_fields() -> None:
    ours = {row["model"]: row for row in SparseTextEmbedding.list_supported_models()}
    for theirs in ReferenceFacade.list_supported_models():
        mine = ours[theirs["model"]]
        assert theirs.keys() <= mine.keys()
        same = ("model", "model_file", "license", "size_in_GB", "additional_files", "requires_idf", "vocab_size")
        assert {key: mine[key] for key in same} == {key: theirs[key] for key in same}
        assert mine["sources"]["hf"] == theirs["sources"]["hf"]
    assert "Qdrant/bm25" in ours


def test_every_sparse_model_listed_has_its_card() -> None:
    rows = SparseTextEmbedding.list_supported_models()
    assert len(rows) > 5
    for row in rows:
        assert find_card(row["model"]).model == row["model"]


def test_arguments_of_networks_change_nothing_for_bm25(embedder: SparseTextEmbedding, stopword_folder: Path) -> None:
    tuned = SparseTextEmbedding(
        "Qdrant/bm25",
        threads=2,
        providers=["CPUExecutionProvider"],
        cuda=False,
        device_ids=[0],
        lazy_load=True,
        specific_model_path=stopword_folder,
    )
    assert tuned.fingerprint == embedder.fingerprint


def test_unknown_models_and_options_are_refused_with_what_there_is(stopword_folder: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"Did you mean Qdrant/bm25"):
        SparseTextEmbedding("Qdrant/bm26")
    with pytest.raises(TypeError, match=r"takes no 'xyz'; it takes k, b, avg_len, language"):
        SparseTextEmbedding("Qdrant/bm25", specific_model_path=stopword_folder, xyz=1)
    with pytest.raises(TypeError, match=r"takes no 'lang'; did you mean 'language'"):
        SparseTextEmbedding("Qdrant/bm25", specific_model_path=stopword_folder, lang="english")


def test_sparse_embedding_turns_into_dicts_and_back() -> None:
    vector = SparseEmbedding.from_dict({7: 0.5, 3: 2.0})
    assert vector.indices.tolist() == [7, 3]
    assert vector.as_dict() == {7: 0.5, 3: 2.0}
    assert vector.as_object() == {"values": vector.values, "indices": vector.indices}
    assert pickle.loads(pickle.dumps(vector)).as_dict() == vector.as_dict()
    exact = {7: 0.1, 3: 1e-300, 2**40: 5.0}
    assert SparseEmbedding.from_dict(exact).as_dict() == exact
    # In fastembed's types: numbers that a user gives are not rounded to those of the models.
    empty = SparseEmbedding.from_dict({})
    assert (empty.values.dtype, empty.indices.dtype, empty.as_dict()) == (np.float64, np.int64, {})


def test_a_slice_of_a_column_is_read_from_its_own_rows(embedder: SparseTextEmbedding) -> None:
    texts = ["one two", "", "three four five", "six"]
    column = embedder.embed_arrow(texts)
    expected = [vector.as_dict() for vector in embedder.embed(texts)]
    assert [vector.as_dict() for vector in from_arrow(column.slice(1, 2))] == expected[1:3]
    assert list(from_arrow(column.slice(0, 0))) == []
    joined = pa.concat_arrays([column.slice(2), column.slice(0, 1)])
    assert [vector.as_dict() for vector in from_arrow(joined)] == [*expected[2:], expected[0]]
