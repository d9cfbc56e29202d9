"""Dense models: MiniLM against fastembed and against bare ONNX Runtime."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import MINILM, Documents, Repeats, drain, minilm_folder, show, stdlib_texts, take_turns
from embedders import TextEmbedding

BUDGETS = (256, 512, 1024, 2048, 4096, 8192)


def reference_dense(folder: Path, threads: int) -> Any:
    """fastembed's own class on the same files."""
    from fastembed import TextEmbedding as Reference

    return Reference(MINILM, specific_model_path=str(folder), threads=threads, cuda=False)


def dense(documents: Documents = 512, repeats: Repeats = 3, threads: int = 2) -> None:
    """MiniLM: mixed and equal lengths against fastembed, and against a bare ONNX Runtime loop."""
    folder, texts = minilm_folder(), stdlib_texts(documents)
    ours = TextEmbedding(MINILM, specific_model_path=str(folder), threads=threads, cuda=False)
    theirs = reference_dense(folder, threads)
    ours.embed_arrow(texts[:32])
    drain(theirs.embed(texts[:32]))
    tokens = ours.token_count(texts)
    before = (ours.stats.tokens, ours.stats.padded_tokens)
    seconds = take_turns(
        {
            "fleetembed": lambda: ours.embed_arrow(texts),
            "bare ONNX Runtime, sorted batches": bare_loop(ours, folder, texts, threads),
            "fastembed embed(batch_size=32)": lambda: drain(theirs.embed(texts, batch_size=32)),
            "fastembed embed() default, 256": lambda: drain(theirs.embed(texts)),
        },
        repeats,
    )
    waste = 1 - (ours.stats.tokens - before[0]) / (ours.stats.padded_tokens - before[1])
    title = f"dense, {documents} docstrings, {tokens:,} tokens, {threads} threads; padding waste {waste:.1%}"
    show(title, seconds, tokens, "tokens/s", "fleetembed")
    equal = equal_length_texts(texts, ours)
    equal_seconds = take_turns(
        {
            "fleetembed": lambda: ours.embed_arrow(equal),
            "fastembed embed(batch_size=32)": lambda: drain(theirs.embed(equal, batch_size=32)),
            "fastembed embed() default, 256": lambda: drain(theirs.embed(equal)),
            "its matrix products alone": products_alone(ours, folder, ours.token_count(equal), threads),
        },
        repeats,
    )
    show(f"dense, {len(equal)} texts of equal length", equal_seconds, ours.token_count(equal), "tokens/s", "fleetembed")


def products_alone(model: TextEmbedding, folder: Path, tokens: int, threads: int) -> Callable[[], None]:
    """The products of a BERT's tokens and weights, in the same batches, by the same library: what no graph can beat.

    Four of hidden by hidden and two of hidden by inner a layer, each of what the one before gave. Attention's own
    products, 4 x length x hidden operations a token and layer, are not among them.
    """
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    rng, nodes, weights, value = np.random.default_rng(0), [], [], "x"
    for layer in range(config["num_hidden_layers"]):
        for number, shape in enumerate([(hidden, hidden)] * 4 + [(hidden, inner), (inner, hidden)]):
            name = f"{layer}_{number}"
            matrix = rng.normal(0, shape[0] ** -0.5, shape).astype(np.float32)
            weights.append(numpy_helper.from_array(matrix, f"w_{name}"))
            nodes.append(helper.make_node("MatMul", [value, f"w_{name}"], [f"y_{name}"]))
            value = f"y_{name}"
    ports = [helper.make_tensor_value_info(port, TensorProto.FLOAT, ["tokens", hidden]) for port in ("x", value)]
    graph = helper.make_graph(nodes, "products", ports[:1], ports[1:], weights)
    opset = helper.make_opsetid("", 17)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )
    budget = model.model.text_model.token_budget
    batches = [rng.normal(size=(min(budget, tokens - start), hidden)) for start in range(0, tokens, budget)]
    feeds = [{"x": batch.astype(np.float32)} for batch in batches]

    def run() -> None:
        for feed in feeds:
            session.run(None, feed)

    return run


def equal_length_texts(texts: Sequence[str], model: TextEmbedding, words: int = 100, count: int = 256) -> list[str]:
    """Texts of real words that all have the same number of tokens."""
    pool = [word for text in texts for word in text.split() if word.isalpha()]
    single = [word for word in dict.fromkeys(pool) if model.token_count([word]) == 3]
    rng = random.Random(0)
    return [" ".join(rng.choices(single, k=words)) for _ in range(count)]


def bare_loop(model: TextEmbedding, folder: Path, texts: Sequence[str], threads: int) -> Callable[[], None]:
    """A loop of session.run over batches tokenized beforehand, sorted by length over the whole corpus: the ceiling."""
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(model.model.text_model.tokenizer.max_length)
    rows = sorted((encoding.ids for encoding in tokenizer.encode_batch(list(texts))), key=len)
    feeds, batch = [], []
    for row, following in itertools.zip_longest(rows, rows[1:]):
        batch.append(row)
        if following is None or (len(batch) + 1) * len(following) > model.model.text_model.token_budget:
            ids = np.zeros((len(batch), len(batch[-1])), np.int64)
            for line, tokens in zip(ids, batch, strict=True):
                line[: len(tokens)] = tokens
            mask = (np.arange(ids.shape[1]) < np.array([[len(tokens)] for tokens in batch])).astype(np.int64)
            feeds.append({"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})
            batch = []

    def run() -> None:
        for feed in feeds:
            session.run(None, feed)

    return run


def budget(documents: Documents = 512, repeats: Repeats = 3, threads: int = 2) -> None:
    """The token budget's default: MiniLM's speed at several budgets."""
    folder, texts = minilm_folder(), stdlib_texts(documents)
    models = {
        f"budget {cells}": TextEmbedding(
            MINILM, specific_model_path=str(folder), threads=threads, cuda=False, token_budget=cells
        )
        for cells in BUDGETS
    }
    for model in models.values():
        model.embed_arrow(texts[:16])
    seconds = take_turns({name: partial(model.embed_arrow, texts) for name, model in models.items()}, repeats)
    tokens = next(iter(models.values())).token_count(texts)
    chosen = TextEmbedding(MINILM, specific_model_path=str(folder), cuda=False).model.text_model.token_budget
    default = f"budget {chosen}"
    show(f"token budget, {documents} docstrings", seconds, tokens, "tokens/s", default)
