"""Tiny ONNX graphs of seeded random numbers: one encoder, and the outputs that each family of models has."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

POSITIONS = 512
TYPES = 2
TASKS = 5
# Standard ones: weights of the usual size would leave random attention almost even.
ATTENTION_SCALE = 3.0


@dataclass
class Graph:
    """A graph under construction; ``op`` and ``weights`` give the names of what they add."""

    inputs: Sequence[str]
    vocabulary: int
    hidden: int = 16
    heads: int = 2
    seed: int = 0
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def constant(self, value: Any) -> str:
        name = f"constant_{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.array(value), name))
        return name

    def weights(self, *shape: int, scale: float | None = None) -> str:
        spread = 1 / math.sqrt(shape[0]) if scale is None else scale
        return self.constant(self.random.normal(0, spread, shape).astype(np.float32))

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        name = out or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def scalar(self, value: float) -> str:
        return self.constant(np.float32(value))

    def axes(self, *axes: int) -> str:
        return self.constant(np.array(axes, np.int64))

    def layer_norm(self, x: str) -> str:
        ones, zeros = np.ones(self.hidden, np.float32), np.zeros(self.hidden, np.float32)
        return self.op("LayerNormalization", x, self.constant(ones), self.constant(zeros), axis=-1)

    def mask(self) -> str:
        """Attention mask as int64; all ones where the graph takes none."""
        if "attention_mask" in self.inputs:
            return "attention_mask"
        return self.op("Cast", self.op("Equal", "input_ids", "input_ids"), to=TensorProto.INT64)

    def save(self, path: Path, outputs: dict[str, Sequence[int | str]], *, external: str | None = None) -> None:
        """Write the model; ``external`` is the name of a file beside it that its tensors are put into."""
        shapes = {name: [] if name == "task_id" else ["batch", "sequence"] for name in self.inputs}
        graph = helper.make_graph(
            self.nodes,
            "synthetic",
            [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name, shape in shapes.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            self.tensors,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        if external is None:
            onnx.save_model(model, str(path))
            return
        (path.parent / external).unlink(missing_ok=True)
        onnx.save_model(model, str(path), save_as_external_data=True, location=external, size_threshold=1024)


def encoder(graph: Graph, attention: str | None = None) -> str:
    """Embeddings, one block of masked self-attention and a feed-forward layer, as in BERT; (batch, sequence, hidden).

    Padding is masked out and positions are counted from the first real token: real tokens do not depend on how much
    padding there is, or on which side. Ids are taken modulo the vocabulary, so that every marker id has an embedding.
    ``attention`` names the probabilities (batch, heads, sequence, sequence).
    """
    op, hidden, size = graph.op, graph.hidden, graph.hidden // graph.heads
    ids = op("Mod", "input_ids", graph.constant(np.int64(graph.vocabulary)))
    mask = graph.mask()
    counted = op("CumSum", mask, graph.constant(np.int64(1)))
    places = op("Max", op("Sub", counted, graph.axes(1)), graph.axes(0))
    own = op("Gather", graph.weights(graph.vocabulary, hidden, scale=1), ids)
    x = op("Add", own, op("Gather", graph.weights(POSITIONS, hidden, scale=0.5), places))
    if "token_type_ids" in graph.inputs:
        x = op("Add", x, op("Gather", graph.weights(TYPES, hidden, scale=1), "token_type_ids"))
    x = graph.layer_norm(x)
    split = graph.axes(0, 0, graph.heads, size)

    def project(permutation: list[int]) -> str:
        projected = op("MatMul", x, graph.weights(hidden, hidden))
        return op("Transpose", op("Reshape", projected, split), perm=permutation)

    query, key = project([0, 2, 1, 3]), project([0, 2, 3, 1])
    value = project([0, 2, 1, 3])
    scores = op("Mul", op("MatMul", query, key), graph.scalar(ATTENTION_SCALE / math.sqrt(size)))
    padding = op("Sub", op("Cast", mask, to=TensorProto.FLOAT), graph.scalar(1))
    hidden_keys = op("Unsqueeze", op("Mul", padding, graph.scalar(1e9)), graph.axes(1, 2))
    shares = op("Softmax", op("Add", scores, hidden_keys), axis=-1, out=attention)
    mixed = op("Transpose", op("MatMul", shares, value), perm=[0, 2, 1, 3])
    mixed = op("MatMul", op("Reshape", mixed, graph.axes(0, 0, hidden)), graph.weights(hidden, hidden))
    x = graph.layer_norm(op("Add", x, mixed))
    inner = op("Tanh", op("MatMul", x, graph.weights(hidden, 2 * hidden)))
    return graph.layer_norm(op("Add", x, op("MatMul", inner, graph.weights(2 * hidden, hidden))))


def mean_of_tokens(graph: Graph, x: str) -> str:
    """(batch, sequence, n) -> (batch, n), padding left out."""
    op = graph.op
    mask = op("Unsqueeze", op("Cast", graph.mask(), to=TensorProto.FLOAT), graph.axes(2))
    total = op("ReduceSum", op("Mul", x, mask), graph.axes(1), keepdims=0)
    return op("Div", total, op("ReduceSum", mask, graph.axes(1), keepdims=0))


Outputs = dict[str, Sequence[int | str]]
TOKENS = ("batch", "sequence")


def tokens(graph: Graph, dim: int) -> Outputs:
    """Token vectors, what most dense models, ColBERT and miniCOIL give; not of unit length."""
    graph.op("MatMul", encoder(graph), graph.weights(graph.hidden, dim), out="last_hidden_state")
    return {"last_hidden_state": (*TOKENS, dim)}


def pooled(graph: Graph, dim: int) -> Outputs:
    """One vector a text, not of unit length."""
    mean = mean_of_tokens(graph, encoder(graph))
    graph.op("MatMul", mean, graph.weights(graph.hidden, dim), out="text_embeds")
    return {"text_embeds": ("batch", dim)}


def two_outputs(graph: Graph, dim: int) -> Outputs:
    """Token vectors first, the text's vector second: EmbeddingGemma, Granite."""
    outputs = tokens(graph, dim)
    graph.op("Identity", mean_of_tokens(graph, "last_hidden_state"), out="sentence_embedding")
    return {**outputs, "sentence_embedding": ("batch", dim)}


def pooler(graph: Graph, dim: int) -> Outputs:
    """SigLIP's text tower: it pools the last position, whether that is padding or not."""
    outputs = tokens(graph, dim)
    last = graph.op("Gather", "last_hidden_state", graph.constant(np.int64(-1)), axis=1)
    graph.op("MatMul", last, graph.weights(dim, dim), out="pooler_output")
    return {**outputs, "pooler_output": ("batch", dim)}


def tasks(graph: Graph, dim: int) -> Outputs:
    """Token vectors that depend on a task: Jina v3."""
    adapted = graph.op(
        "Add", encoder(graph), graph.op("Gather", graph.weights(TASKS, graph.hidden, scale=1), "task_id")
    )
    graph.op("MatMul", adapted, graph.weights(graph.hidden, dim), out="text_embeds")
    return {"text_embeds": (*TOKENS, dim)}


def logits(graph: Graph, dim: int) -> Outputs:
    """A masked language model's logits, most of them negative; ``dim`` does not matter."""
    raw = graph.op("MatMul", encoder(graph), graph.weights(graph.hidden, graph.vocabulary))
    graph.op("Sub", raw, graph.scalar(1.5), out="logits")
    return {"logits": (*TOKENS, graph.vocabulary)}


def attention(graph: Graph, dim: int) -> Outputs:
    """BM42's attention, behind another output."""
    x = encoder(graph, attention="attention_6")
    graph.op("MatMul", x, graph.weights(graph.hidden, dim), out="last_hidden_state")
    return {"last_hidden_state": (*TOKENS, dim), "attention_6": ("batch", graph.heads, "sequence", "sequence")}


def score(graph: Graph, dim: int) -> Outputs:
    """A reranker's score of a pair; ``dim`` does not matter."""
    mask = graph.op("Unsqueeze", graph.op("Cast", graph.mask(), to=TensorProto.FLOAT), graph.axes(2))
    masked = graph.op("Mul", encoder(graph), mask)
    # The sum of all tokens over the square root of their number: sensitive to each, and of one size for any length.
    total = graph.op("ReduceSum", masked, graph.axes(1), keepdims=0)
    count = graph.op("Sqrt", graph.op("ReduceSum", mask, graph.axes(1), keepdims=0))
    graph.op("MatMul", graph.op("Div", total, count), graph.weights(graph.hidden, 1), out="logits")
    return {"logits": ("batch", 1)}


Head = Callable[[Graph, int], Outputs]


@dataclass(frozen=True)
class M3:
    """BGE-M3's three outputs, as exports differ in them.

    ``names`` of the dense vector, token weights, token vectors. ``normalized`` scales dense and token vectors to unit
    length, ``column`` gives the weights a third axis, ``first`` gives the first token a vector. ``hidden`` adds the
    last hidden state, token_embeddings. ``weights`` takes the heads' tensors: sparse and colbert, weight and bias.
    """

    names: tuple[str, str, str] = ("dense_vecs", "sparse_vecs", "colbert_vecs")
    normalized: bool = True
    column: bool = True
    first: bool = False
    hidden: bool = False
    weights: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict, hash=False, compare=False)

    def __call__(self, graph: Graph, dim: int) -> Outputs:
        op = graph.op
        hidden = op("MatMul", encoder(graph), graph.weights(graph.hidden, dim), out="token_embeddings")
        dense, sparse, colbert = self.names
        first = op("Gather", hidden, graph.constant(np.int64(0)), axis=1)
        self._scaled(graph, first, dense)
        weights = op("Relu", self._linear(graph, "sparse", hidden, dim, 1))
        op("Identity", weights, out=sparse) if self.column else op("Squeeze", weights, graph.axes(2), out=sparse)
        ends = (graph.axes(0 if self.first else 1), graph.constant(np.array([2**31], np.int64)), graph.axes(1))
        self._scaled(graph, self._linear(graph, "colbert", op("Slice", hidden, *ends), dim, dim), colbert)
        tokens = "sequence" if self.first else "tokens_but_first"
        outputs: Outputs = {dense: ("batch", dim), sparse: (*TOKENS, 1) if self.column else TOKENS}
        outputs[colbert] = ("batch", tokens, dim)
        return {**outputs, **({"token_embeddings": (*TOKENS, dim)} if self.hidden else {})}

    def _linear(self, graph: Graph, name: str, x: str, size: int, width: int) -> str:
        # Above 0, so that most tokens have a lexical weight, and some none.
        bias = graph.constant(graph.random.normal(0.3, 0.1, width).astype(np.float32))
        weight = graph.weights(size, width)
        stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.tensors}
        self.weights.update({f"{name}.weight": stored[weight], f"{name}.bias": stored[bias]})
        return graph.op("Add", graph.op("MatMul", x, weight), bias)

    def _scaled(self, graph: Graph, x: str, out: str) -> None:
        if not self.normalized:
            graph.op("Identity", x, out=out)
            return
        norms = graph.op("ReduceL2", x, axes=[-1], keepdims=1)
        graph.op("Div", x, graph.op("Max", norms, graph.scalar(1e-12)), out=out)
