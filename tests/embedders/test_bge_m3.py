"""BGE-M3's vectors against FlagEmbedding's formulas, whichever way a graph gives them. Synthetic weights throughout."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedders import ModelFilesError
from embedders.api.sparse_embedding import from_arrow
from embedders.arrow import SPARSE_TYPE, dense_matrix
from embedders.catalog import custom_card, find_card
from embedders.factory import make_embedder, make_model
from embedders.session import OnnxSession
from embedders.several_vectors import OneVector
from embedders.tokenization import load_tokenizer
from tests.embedders.texts import ODD_TEXTS
from tests.synthetic_graphs import M3, Graph, Outputs
from tests.synthetic_models import BERT_SPECIAL, MULTILINGUAL, XLM_SPECIAL, Plan, build_network

ALL = ("dense", "sparse", "multivector")
CHOICES: list[tuple[str, ...]] = [("dense",), ("sparse",), ("multivector",), ("dense", "sparse"), ALL]
DIM = 24
# All ways in which the outputs differ: scaled or not, weights with a third axis or not, the first token or not.
LAYOUTS = [
    M3(hidden=True, normalized=normalized, column=column, first=first)
    for normalized, column, first in product([True, False], repeat=3)
]
TEXTS = [*ODD_TEXTS[:8], *ODD_TEXTS[10:], "the money bank", "a cave", "birds fly over the river"]
TOLERANCE = 2e-6


def build(folder: Path, head: M3, **plan: Any) -> Path:
    return build_network(folder, Plan(head, **{**MULTILINGUAL, **plan}), model_file="model.onnx", dim=DIM)


def load(folder: Path, outputs: Sequence[str] = ALL, *, card: Mapping[str, Any] | None = None, **options: Any) -> Any:
    made = custom_card("bge_m3", model="tests/m3", sources=folder, **{"dim": DIM, **(card or {})})
    return make_model(made, {"outputs": outputs, "cuda": False, "threads": 1, **options})


@dataclass
class Expected:
    """Vectors of one text, by FlagEmbedding's formulas from the last hidden state of a batch of its own."""

    dense: np.ndarray[Any, Any]
    multivector: np.ndarray[Any, Any]
    sparse: dict[int, float] = field(default_factory=dict)


def by_the_formulas(folder: Path, head: M3, texts: Sequence[str]) -> list[Expected]:
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    tokens = load_tokenizer(folder).encode(list(texts))
    special = {XLM_SPECIAL.index(token) for token in ("<s>", "</s>", "<pad>", "<unk>")}
    found = []
    for row in range(len(tokens)):
        ids = tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]]
        feed = {"input_ids": ids[None], "attention_mask": np.ones((1, len(ids)), np.int64)}
        hidden = session.run(["token_embeddings"], feed)[0][0].astype(np.float64)
        colbert = hidden[1:] @ head.weights["colbert.weight"] + head.weights["colbert.bias"]
        weights = np.maximum(hidden @ head.weights["sparse.weight"] + head.weights["sparse.bias"], 0)[:, 0]
        one = Expected(hidden[0] / np.linalg.norm(hidden[0]), colbert / np.linalg.norm(colbert, axis=1, keepdims=True))
        for token, weight in zip(ids.tolist(), weights.tolist(), strict=True):
            if token not in special and weight > max(0, one.sparse.get(token, 0)):
                one.sparse[token] = weight
        found.append(one)
    return found


def matrices(column: pa.Array) -> list[np.ndarray[Any, Any]]:
    return [row.values.flatten().to_numpy(zero_copy_only=False).reshape(len(row), -1) for row in column]


def assert_gives(column: pa.StructArray, expected: list[Expected], tolerance: float = TOLERANCE) -> None:
    column.validate(full=True)
    assert len(column) == len(expected)
    np.testing.assert_allclose(
        dense_matrix(column.field("dense")), [one.dense for one in expected], atol=tolerance, rtol=0
    )
    for vector, one in zip(from_arrow(column.field("sparse")), expected, strict=True):
        assert vector.indices.tolist() == sorted(one.sparse)
        assert vector.as_dict() == pytest.approx(one.sparse, abs=tolerance)
    for matrix, one in zip(matrices(column.field("multivector")), expected, strict=True):
        assert matrix.shape == one.multivector.shape
        np.testing.assert_allclose(matrix, one.multivector, atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    "head", LAYOUTS, ids=lambda head: f"normalized-{head.normalized}-column-{head.column}-first-{head.first}"
)
def test_synthetic_graphs_of_every_layout_give_flagembeddings_vectors(head: M3, tmp_path: Path) -> None:
    folder = build(tmp_path, replace(head, weights=(weights := {})))
    expected = by_the_formulas(folder, replace(head, weights=weights), TEXTS)
    assert sum(map(len, (one.sparse for one in expected))) > 100
    model = load(folder)
    assert_gives(model.embed_arrow(TEXTS), expected)
    assert_gives(model.embed_queries_arrow(TEXTS), expected)


def test_synthetic_vectors_are_those_of_bge_m3_lite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another implementation of FlagEmbedding's formulas, from the last hidden state and the heads' weights."""
    lite = pytest.importorskip("bge_m3_lite.embedder", reason="needs bge-m3-lite: pip install --no-deps bge-m3-lite")
    head = M3(hidden=True, weights=(weights := {}))
    folder = build(tmp_path, head)
    tokenizer = load_tokenizer(folder)

    class Tokenizer:
        PAD_ID = tokenizer.padding.token_id
        special_ids = frozenset(XLM_SPECIAL.index(token) for token in ("<s>", "</s>", "<pad>", "<unk>"))

        def encode(self, text: str, max_length: int) -> list[int]:
            ids: list[int] = tokenizer.encode([text]).ids.tolist()
            return ids

    monkeypatch.setattr(lite, "HIDDEN_SIZE", DIM)
    # Its constructor wants the real model's files.
    reference = object.__new__(lite.BGEM3Embedder)
    reference.tokenizer, reference.max_length = Tokenizer(), tokenizer.max_length
    reference.backbone = lite.OnnxBackbone(folder / "model.onnx", num_threads=1)
    reference.sparse_w, reference.sparse_b = weights["sparse.weight"], weights["sparse.bias"]
    reference.colbert_w, reference.colbert_b = weights["colbert.weight"], weights["colbert.bias"]
    theirs = reference.encode(TEXTS, return_sparse=True, return_colbert_vecs=True)
    lexical = [{int(token): weight for token, weight in one.items()} for one in theirs["lexical_weights"]]
    rows = zip(theirs["dense_vecs"], theirs["colbert_vecs"], lexical, strict=True)
    assert_gives(load(folder).embed_arrow(TEXTS), [Expected(*row) for row in rows])


@pytest.fixture(scope="module")
def m3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of synthetic weights, with the outputs that newtechstudio/bge-m3-3head has."""
    head = M3(("dense", "sparse", "colbert"), normalized=False, column=False, first=True)
    return build(tmp_path_factory.mktemp("m3"), head)


def test_synthetic_vectors_do_not_depend_on_order_or_batches(m3: Path) -> None:
    whole = load(m3).embed_arrow(TEXTS)

    @settings(max_examples=12, deadline=None)
    @given(st.permutations(range(len(TEXTS))), st.integers(1, 700), st.sampled_from(CHOICES))
    def check(order: list[int], budget: int, outputs: tuple[str, ...]) -> None:
        column = load(m3, outputs, token_budget=budget).embed_arrow([TEXTS[row] for row in order])
        expected = whole.take(pa.array(order))
        assert [field.name for field in column.type] == list(outputs)
        for kind in outputs:
            ours, theirs = column.field(kind), expected.field(kind)
            if kind == "sparse":
                for own, other in zip(from_arrow(ours), from_arrow(theirs), strict=True):
                    assert own.as_dict() == pytest.approx(other.as_dict(), abs=TOLERANCE)
            else:
                numbers = [one.to_numpy(zero_copy_only=False) for one in (_flat(ours), _flat(theirs))]
                np.testing.assert_allclose(*numbers, atol=TOLERANCE)

    check()


def _flat(column: pa.Array) -> pa.Array:
    while not pa.types.is_floating(column.type):
        column = column.flatten()
    return column


@pytest.mark.parametrize("outputs", CHOICES)
def test_one_run_of_the_synthetic_graph_a_batch_gives_all_vectors_that_are_asked_for(
    outputs: tuple[str, ...], m3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[list[str]] = []
    run = OnnxSession.run_outputs

    def counted(session: OnnxSession, asked: Sequence[str], feed: Mapping[str, Any]) -> list[Any]:
        runs.append(list(asked))
        return run(session, asked, feed)

    monkeypatch.setattr(OnnxSession, "run_outputs", counted)
    # A budget of one token: a batch a text.
    model = load(m3, outputs, token_budget=1)
    runs.clear()
    column = model.embed_arrow(["bat", "the river bank", "bat", "a cave"])
    assert len(column) == 4
    graph = {"dense": "dense", "sparse": "sparse", "multivector": "colbert"}
    assert runs == [[graph[kind] for kind in outputs]] * 3


@pytest.mark.parametrize(
    "texts", [[], ["bat"], pa.array(["bat", "bat"]), pa.chunked_array([["cave"], [], ["bat", "cave"]])], ids=str
)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_synthetic_columns_have_their_types_even_for_no_text(texts: Any, dtype: Any, m3: Path) -> None:
    model = load(m3, dtype=dtype)
    number = {"float32": pa.float32(), "float16": pa.float16()}[dtype]
    kinds = {"dense": pa.list_(number, DIM), "sparse": SPARSE_TYPE, "multivector": pa.list_(pa.list_(number, DIM))}
    assert {kind: spec.arrow_type for kind, spec in model.specs.items()} == kinds
    for column in (model.embed_arrow(texts), model.embed_queries_arrow(texts)):
        column.validate(full=True)
        assert (len(column), column.type, column.null_count) == (len(texts), pa.struct(list(kinds.items())), 0)
    assert [(spec.kind, spec.distance, spec.idf) for spec in model.specs.values()] == [
        ("dense", "cosine", False),
        ("sparse", "dot", False),
        ("multivector", "cosine", False),
    ]


def test_synthetic_half_precision_is_the_rounded_single_precision(m3: Path) -> None:
    half, full = (load(m3, dtype=dtype).embed_arrow(TEXTS) for dtype in ("float16", "float32"))
    for kind in ("dense", "multivector"):
        expected = _flat(full.field(kind)).to_numpy().astype(np.float16)
        np.testing.assert_array_equal(_flat(half.field(kind)).to_numpy(zero_copy_only=False), expected)
    assert half.field("sparse").equals(full.field("sparse"))


def test_synthetic_limits_and_counters(m3: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = load(m3, max_length=10)
    column = model.embed_arrow(["bat " * 50, "bat", "bat"])
    assert [len(matrix) for matrix in matrices(column.field("multivector"))] == [9, 2, 2]
    assert (model.stats.rows, model.stats.truncated, model.stats.tokens) == (3, 1, 13)
    assert model.token_count(["bat " * 50, "bat"]) == 13
    assert "1 of 2 texts are longer than 10 tokens" in caplog.text


@pytest.mark.parametrize("bad", [None, "\udc80", 7], ids=ascii)
def test_synthetic_models_name_the_text_that_is_none(bad: Any, m3: Path) -> None:
    with pytest.raises(ValueError, match=r"text 3\b"):
        load(m3).embed_arrow(["fine", "fine", "other", bad, "fine"])


def test_synthetic_models_load_from_a_tokenizer_without_settings(m3: Path, tmp_path: Path) -> None:
    """Some repositories have no tokenizer_config.json."""
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).write_bytes((m3 / name).read_bytes())
    model = load(tmp_path)
    assert model.text_model.tokenizer.max_length == 8192
    assert model.embed_arrow(["the river bank"]).equals(load(m3).embed_arrow(["the river bank"]))


@pytest.mark.parametrize("named", [True, False])
def test_synthetic_outputs_in_another_order_are_told_by_name_or_position(named: bool, m3: Path, tmp_path: Path) -> None:
    def shuffled(graph: Graph, dim: int) -> Outputs:
        outputs = M3(("d", "s", "c"), normalized=False, column=False, first=True)(graph, dim)
        return {name: outputs[name] for name in ("c", "d", "s")}

    build(tmp_path, shuffled)  # type: ignore[arg-type]
    names = {"dense": "d", "sparse": "s", "multivector": "c"} if named else {"dense": 1, "sparse": 2, "multivector": 0}
    model = load(tmp_path, card={"options": {"graph_outputs": names}})
    assert model.embed_arrow(TEXTS).equals(load(m3).embed_arrow(TEXTS))


def dense_and_sparse(graph: Graph, dim: int) -> Outputs:
    outputs = M3(("dense_embeddings", "sparse_weights", "c"))(graph, dim)
    return {name: shape for name, shape in outputs.items() if name != "c"}


SHAPES = r"for 2 texts of 5 tokens the output '{}' has shape \({}\), and {} takes .*option graph_outputs"
MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"options": {"graph_outputs": {"dense": 1}}}, SHAPES.format("sparse_vecs", "2, 5, 1", "dense")),
    ({"options": {"graph_outputs": {"dense": "colbert_vecs"}}}, SHAPES.format("colbert_vecs", "2, 4, 24", "dense")),
    ({"options": {"graph_outputs": {"sparse": 0}}}, SHAPES.format("dense_vecs", "2, 24", "sparse")),
    ({"options": {"graph_outputs": {"sparse": 2}}}, SHAPES.format("colbert_vecs", "2, 4, 24", "sparse")),
    ({"options": {"graph_outputs": {"multivector": 1}}}, SHAPES.format("sparse_vecs", "2, 5, 1", "multivector")),
    ({"options": {"graph_outputs": {"multivector": 0}}}, SHAPES.format("dense_vecs", "2, 24", "multivector")),
    ({"options": {"graph_outputs": {"dense": "d"}}}, "no output 'd'; its outputs are dense_vecs, sparse_vecs, colbert"),
    ({"options": {"graph_outputs": {"sparse": 7}}}, "no output 7; its outputs are dense_vecs"),
    ({"options": {"graph_outputs": {"colbert": 2}}}, "graph_outputs must map dense, sparse, multivector to positions"),
    ({"options": {"graph_outputs": ["dense"]}}, r"graph_outputs must map .*got \['dense'\]"),
    ({"options": {"graph_outputs": {"dense": -1}}}, "graph_outputs must map"),
    ({"options": {"unweighted_tokens": "<s>"}}, "unweighted_tokens must be a list of tokens, got '<s>'"),
    ({"options": {"unweighted_tokens": ["[CLS]"]}}, r"the tokenizer has no '\[CLS\]'; list its special tokens"),
    ({"options": {"marker": 1}}, "bge_m3 has no option 'marker'; it has graph_outputs, unweighted_tokens"),
    ({"dim": 25}, "output 'dense_vecs' gives 24 numbers, and its card says 25"),
]


@pytest.mark.parametrize(("card", "message"), MISTAKES, ids=[str(card) for card, _ in MISTAKES])
def test_mistakes_are_named_when_the_synthetic_model_is_loaded(
    card: dict[str, Any], message: str, tmp_path: Path
) -> None:
    build(tmp_path, M3())
    with pytest.raises(ValueError, match=message):
        load(tmp_path, card=card)


def test_weights_without_a_third_axis_are_not_taken_for_dense_vectors(tmp_path: Path) -> None:
    build(tmp_path, M3(column=False))
    with pytest.raises(ModelFilesError, match=SHAPES.format("sparse_vecs", "2, 5", "dense")):
        load(tmp_path, card={"dim": None, "options": {"graph_outputs": {"dense": 1, "sparse": 0}}})


def test_synthetic_graphs_without_token_vectors_give_the_others(tmp_path: Path) -> None:
    build(tmp_path, dense_and_sparse)  # type: ignore[arg-type]
    assert [field.name for field in load(tmp_path, ("dense", "sparse")).embed_arrow(["bat"]).type] == [
        "dense",
        "sparse",
    ]
    with pytest.raises(ModelFilesError, match="no output 2; its outputs are dense_embeddings, sparse_weights"):
        load(tmp_path)


def test_tokenizers_whose_first_token_is_no_beginning_are_refused(tmp_path: Path) -> None:
    left = build(tmp_path / "left", M3(), padding_side="left")
    with pytest.raises(ModelFilesError, match=r"takes a text's first token for its beginning.*pads on the left"):
        load(left)
    bare = build(tmp_path / "bare", M3())
    path = bare / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "post_processor": None}))
    with pytest.raises(ModelFilesError, match=r"takes a text's first token for its beginning.*adds none"):
        load(bare)


def test_synthetic_models_of_another_vocabulary_name_their_special_tokens(tmp_path: Path) -> None:
    build(tmp_path, M3(), algorithm="wordpiece", special=BERT_SPECIAL)
    with pytest.raises(ModelFilesError, match="the tokenizer has no '<s>'"):
        load(tmp_path)
    assert len(load(tmp_path, ("dense", "multivector")).embed_arrow(["bat"])) == 1
    names = ["[CLS]", "[SEP]", "[PAD]", "[UNK]"]
    column = load(tmp_path, card={"options": {"unweighted_tokens": names}}).embed_arrow(["bat cave", ""])
    ids = load_tokenizer(tmp_path).encode(["bat cave"]).ids[1:-1]
    sparse = list(from_arrow(column.field("sparse")))
    assert set(sparse[0].indices) <= set(ids.tolist()) and len(sparse[1].indices) == 0


def test_synthetic_dense_vectors_are_cut_where_the_card_allows_it(m3: Path) -> None:
    model = load(m3, dim=8, card={"matryoshka": (8, 99)})
    column, whole = model.embed_arrow(TEXTS), load(m3).embed_arrow(TEXTS)
    cut = dense_matrix(whole.field("dense"))[:, :8]
    cut = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    np.testing.assert_allclose(dense_matrix(column.field("dense")), cut, atol=1e-5)
    assert (model.specs["dense"].dim, model.specs["multivector"].dim) == (8, DIM)
    assert column.field("multivector").equals(whole.field("multivector"))
    with pytest.raises(ModelFilesError, match="dim is 99, and the graph gives 24 numbers"):
        load(m3, dim=99, card={"matryoshka": (8, 99)})
    with pytest.raises(ValueError, match="cannot be cut: its card names no smaller dimension"):
        load(m3, dim=8)


def test_synthetic_fingerprints_are_each_vectors_own(m3: Path) -> None:
    def prints(outputs: Sequence[str] = ALL, **options: Any) -> dict[str, str]:
        return dict(load(m3, outputs, **options).fingerprints)

    whole = prints()
    assert len(set(whole.values())) == 3
    assert prints(("dense",)) == {"dense": whole["dense"]}
    assert prints(("sparse", "dense")) == {kind: whole[kind] for kind in ("dense", "sparse")}
    assert prints(threads=2, token_budget=64, lazy_load=True) == whole
    # What changes which vectors.
    changes: list[tuple[dict[str, Any], set[str]]] = [
        ({"max_length": 20}, set(ALL)),
        ({"dtype": "float16"}, {"dense", "multivector"}),
        ({"dim": 8, "card": {"matryoshka": (8,)}}, {"dense"}),
        ({"card": {"options": {"unweighted_tokens": ["<s>"]}}}, {"sparse"}),
        ({"card": {"options": {"graph_outputs": {"dense": "dense"}}}}, {"dense"}),
    ]
    for options, changed in changes:
        other = prints(**options)
        assert {kind for kind in ALL if other[kind] != whole[kind]} == changed, options
    both = load(m3, ("dense", "sparse")).fingerprint
    assert len({load(m3).fingerprint, both, load(m3, ("sparse", "multivector")).fingerprint}) == 3
    assert both == load(m3, ["sparse", "dense"]).fingerprint


def test_a_synthetic_model_asked_for_one_vector_is_an_ordinary_embedder(m3: Path) -> None:
    several = load(m3)
    card = custom_card("bge_m3", model="tests/m3", sources=m3, dim=DIM)
    for kind in ALL:
        alone: Any = make_embedder(card, outputs=[kind], cuda=False, threads=1)
        assert isinstance(alone, OneVector)
        assert alone.spec == several.specs[kind] and alone.fingerprint == several.fingerprints[kind]
        assert alone.embed_arrow(TEXTS).equals(several.embed_arrow(TEXTS).field(kind))
        assert alone.embed_queries_arrow(TEXTS).equals(alone.embed_arrow(TEXTS))
        assert alone.stats.rows == 3 * len(TEXTS)
        assert alone.token_count(["bat"]) == 3


@pytest.mark.parametrize("outputs", [[], ["dens"], "dense", ["dense", "dense"]], ids=str)
def test_outputs_that_are_no_choice_are_refused(outputs: Any, m3: Path) -> None:
    with pytest.raises(ValueError, match="outputs must be a list of some of dense, sparse, multivector, each once"):
        load(m3, outputs)


def test_the_catalogs_synthetic_model_has_its_cards_dimensions(synthetic_model: Callable[[str], Path]) -> None:
    card = find_card("BAAI/bge-m3")
    assert (card.hf, card.dim, card.max_tokens, card.requires_idf) == ("aapot/bge-m3-onnx", 1024, 8192, False)
    model = make_model(card, {"specific_model_path": synthetic_model(card.model), "outputs": ALL, "cuda": False})
    assert {kind: spec.dim for kind, spec in model.specs.items()} == {
        "dense": 1024,
        "sparse": None,
        "multivector": 1024,
    }
    assert matrices(model.embed_arrow(["the river bank"]).field("multivector"))[0].shape == (4, 1024)
