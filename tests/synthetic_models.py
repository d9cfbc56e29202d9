"""Synthetic model folders for every text model of the catalog: seeded random numbers in the real models' files.

Inputs, outputs, file names, padding side and kind of tokenizer are those of each model; sizes are not. Both this
project and fastembed load them under the catalog's name by ``specific_model_path``.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from py_rust_stemmers import SnowballStemmer
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from embedders.catalog import ModelCard
from tests import synthetic_graphs as heads

BERT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
XLM_INPUTS = ("input_ids", "attention_mask")

# Tokens a text has at most: short, so that many texts are truncated; beyond the 31 of a ColBERT query.
LIMIT = 48
HIDDEN = 16

BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
XLM_SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")

_STOPWORDS = "the a an is are of in and to it or for on with"
_MEANINGFUL = "bat cave fly bird read book river bank money hash file object name value string line"
_OTHERS = """return this that if not be by as at from class function method list given number type default error hello
    world fox jump dog search vector paris berlin capital city what who where when how high low new open"""
STOPWORDS, MEANINGFUL = _STOPWORDS.split(), _MEANINGFUL.split()
WORDS = [*STOPWORDS, *MEANINGFUL, *_OTHERS.split()]
ENDINGS = ("s", "es", "ed", "ing", "er", "ly", "tion", "ment", "er's")
# Of every script in the tests' texts a few letters are known; "°" so that "bat°" is one word of two pieces.
OTHER_LETTERS = "éß日本東京مرحبا°😀_"

Algorithm = Literal["wordpiece", "bpe", "unigram"]


@dataclass(frozen=True)
class Plan:
    """How a model's folder is made: what its graph computes and takes, and its tokenizer."""

    head: heads.Head = heads.tokens
    inputs: tuple[str, ...] = BERT_INPUTS
    algorithm: Algorithm = "wordpiece"
    special: tuple[str, ...] = BERT_SPECIAL
    padding_side: Literal["left", "right"] = "right"


FAMILY_PLANS = {
    "dense": Plan(),
    "splade": Plan(heads.logits),
    "neural_sparse": Plan(heads.logits),
    "bm42": Plan(heads.attention),
    "minicoil": Plan(),
    "late_interaction": Plan(inputs=XLM_INPUTS),
    "bge_m3": Plan(heads.M3()),
    "rerank": Plan(heads.score),
}
MULTILINGUAL: dict[str, Any] = {"inputs": XLM_INPUTS, "algorithm": "unigram", "special": XLM_SPECIAL}
BYTE_LEVEL: dict[str, Any] = {"algorithm": "bpe", "special": XLM_SPECIAL}

# What models have beyond their family's plan and that of multilingual ones.
MODEL_PLANS: Mapping[str, dict[str, Any]] = {
    "jinaai/jina-clip-v1": {"head": heads.pooled, "inputs": XLM_INPUTS},
    "Qdrant/constella-zero": {"head": heads.pooled},
    "Qdrant/clip-ViT-B-32-text": {"head": heads.pooled, **BYTE_LEVEL, "inputs": XLM_INPUTS},
    "google/siglip2-base-patch16-224": {"head": heads.pooler, "inputs": ("input_ids",)},
    "jinaai/jina-embeddings-v2-base-code": BYTE_LEVEL,
    "jinaai/jina-embeddings-v2-base-zh": BYTE_LEVEL,
    "jinaai/jina-embeddings-v3": {"head": heads.tasks, "inputs": (*XLM_INPUTS, "task_id")},
    "google/embeddinggemma-300m": {"head": heads.two_outputs},
    "ibm-granite/granite-embedding-small-english-r2": {
        "head": heads.two_outputs,
        "inputs": XLM_INPUTS,
        "algorithm": "bpe",
    },
    "Qwen/Qwen3-Embedding-0.6B": {**BYTE_LEVEL, "padding_side": "left"},
    "Qwen/Qwen3-Embedding-0.6B-Q": {**BYTE_LEVEL, "padding_side": "left"},
    "lightonai/LateOn": {"algorithm": "bpe"},
    "BAAI/bge-reranker-base": MULTILINGUAL,
}


def plan_of(card: ModelCard) -> Plan:
    """The plan of a catalog model that has a graph."""
    multilingual = MULTILINGUAL if "multilingual" in card.languages else {}
    return replace(FAMILY_PLANS[card.family], **{**multilingual, **MODEL_PLANS.get(card.model, {})})


def build_model(card: ModelCard, folder: Path, *, limit: int = LIMIT) -> Path:
    """Write all files of a catalog model; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if card.family == "bm25":
        write_bm25(card, folder)
    elif card.family == "static":
        build_static(folder, dim=card.dim or 0, **STATIC_MODELS[card.model])
    else:
        external = [name for name in card.additional_files if name.startswith(card.model_file)]
        build_network(
            folder,
            plan_of(card),
            model_file=card.model_file,
            dim=card.dim or HIDDEN,
            limit=limit,
            external=Path(external[0]).name if external else None,
        )
        WRITERS.get(card.family, lambda folder: None)(folder)
    for name in card.additional_files:
        assert (folder / name).is_file(), f"{card.model}: {name} was not written"
    return folder


def build_network(
    folder: Path,
    plan: Plan = FAMILY_PLANS["dense"],
    *,
    model_file: str = "onnx/model.onnx",
    dim: int = HIDDEN,
    limit: int = LIMIT,
    external: str | None = None,
    seed: int = 0,
) -> Path:
    """Write tokenizer and graph; ``external`` is the name of a file of their own for the graph's tensors."""
    graph = heads.Graph(plan.inputs, write_tokenizer(folder, plan, limit=limit), seed=seed)
    graph.save(folder / model_file, plan.head(graph, dim), external=external)
    return folder


def write_tokenizer(folder: Path, plan: Plan, *, limit: int = LIMIT) -> int:
    """Write a tokenizer's files; returns the size of its vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = MAKERS[plan.algorithm](plan.special)
    pad, unknown, first, last, mask = plan.special
    pair = f"{first} $A {last} $B:1 {last}:1" if plan.special is BERT_SPECIAL else f"{first} $A {last} {last} $B {last}"
    ends = [(token, tokenizer.token_to_id(token)) for token in (first, last)]
    tokenizer.post_processor = processors.TemplateProcessing(f"{first} $A {last}", pair, ends)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in plan.special])
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {"model_max_length": limit, "pad_token": pad, "padding_side": plan.padding_side},
    )
    names = {"pad_token": pad, "unk_token": unknown, "cls_token": first, "sep_token": last, "mask_token": mask}
    further = {"additional_special_tokens": ["[unused1]"] if plan.algorithm == "wordpiece" else []}
    write_json(folder / "special_tokens_map.json", {**names, **further})
    write_json(folder / "config.json", {"pad_token_id": tokenizer.token_to_id(pad)})
    return int(tokenizer.get_vocab_size())


def wordpiece(special: Sequence[str]) -> Tokenizer:
    pad, unknown, *others = special
    # ColBERT's markers are the ids 1 and 2.
    letters = [*string.ascii_lowercase, *string.digits, *OTHER_LETTERS]
    pieces = [f"##{piece}" for piece in (*letters, *ENDINGS)]
    tokens = [pad, "[unused0]", "[unused1]", unknown, *others, *string.punctuation, *letters, *pieces, *WORDS]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def byte_level_bpe(special: Sequence[str]) -> Tokenizer:
    tokens = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges = []
    for word in WORDS:
        left = "Ġ"
        for letter in word:
            merges.append((left, letter))
            left += letter
            tokens.append(left)
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.BPE(vocabulary, list(dict.fromkeys(merges))))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def unigram(special: Sequence[str]) -> Tokenizer:
    pieces = [(token, 0.0) for token in special]
    letters = dict.fromkeys([*string.printable.strip(), *OTHER_LETTERS, "▁"])
    pieces += [(letter, -6.0) for letter in letters]
    pieces += [(ending, -8.0) for ending in ENDINGS]
    pieces += [(f"▁{word}", -9.0) for word in WORDS]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=special.index("<unk>")))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


MAKERS = {"wordpiece": wordpiece, "bpe": byte_level_bpe, "unigram": unigram}


def write_stopwords(folder: Path) -> None:
    (folder / "stopwords.txt").write_text("\n".join(STOPWORDS), encoding="utf-8")


def write_bm25(card: ModelCard, folder: Path) -> None:
    write_json(folder / "config.json", {})
    for name in card.additional_files:
        (folder / name).write_text("\n".join(STOPWORDS), encoding="utf-8")


def write_idf(folder: Path) -> None:
    """Query weights of the words, and of tokens that do not count: a special one, and one that is in no vocabulary."""
    weights = {word: 1 + number / 7 for number, word in enumerate(WORDS)}
    write_json(folder / "idf.json", {**weights, "[CLS]": 3.0, "not-a-token": 2.0})


def write_minicoil(folder: Path, dim: int = HIDDEN) -> None:
    """Word matrices, vocabulary and stop words; inflected words lead to the vocabulary's by their stem."""
    write_stopwords(folder)
    stemmer = SnowballStemmer("english")
    stems = {stemmer.stem_word(word): word for word in MEANINGFUL}
    # One that is no stem of its own: the mapping is asked for the word before it is asked for the stem.
    mapping = {**stems, "feathers": "bird"}
    write_json(folder / "minicoil.triplet.model.vocab", {"vocab": MEANINGFUL, "stem_mapping": mapping})
    matrices = np.random.default_rng(3).normal(0, 0.3, (len(MEANINGFUL) + 1, dim, 4))
    np.save(folder / "minicoil.triplet.model.npy", matrices.astype(np.float32))


WRITERS = {"bm42": write_stopwords, "neural_sparse": write_idf, "minicoil": write_minicoil}

STATIC_MODELS: Mapping[str, dict[str, Any]] = {
    "minishlab/potion-base-8M": {},
    "minishlab/potion-retrieval-32M": {"dtype": "float16", "weights": True},
    "minishlab/potion-multilingual-128M": {
        "dtype": "bfloat16",
        "weights": True,
        "mapping": True,
        "plan": Plan(algorithm="unigram", special=XLM_SPECIAL),
    },
}


def build_static(
    folder: Path,
    *,
    dim: int = HIDDEN,
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    weights: bool = False,
    mapping: bool = False,
    plan: Plan = FAMILY_PLANS["dense"],
) -> Path:
    """Write a static model: a table in ``dtype``, perhaps token weights, perhaps a mapping of tokens to fewer rows."""
    random = np.random.default_rng(5)
    vocabulary = write_tokenizer(folder, plan)
    rows = vocabulary // 3 if mapping else vocabulary
    table = random.normal(size=(rows, dim)).astype(np.float32)
    tensors: dict[str, tuple[str, np.ndarray[Any, Any]]] = {"embeddings": _stored(table, dtype)}
    if weights:
        tensors["weights"] = ("F64", random.uniform(0.1, 2, vocabulary))
    if mapping:
        tensors["mapping"] = ("I64", random.integers(0, rows, vocabulary))
    (folder / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    return folder


def _stored(table: np.ndarray[Any, Any], dtype: str) -> tuple[str, np.ndarray[Any, Any]]:
    if dtype == "bfloat16":
        return "BF16", (table.view(np.uint32) >> 16).astype(np.uint16)
    return {"float32": "F32", "float16": "F16"}[dtype], table.astype(dtype)


def safetensors_bytes(tensors: Mapping[str, tuple[str, np.ndarray[Any, Any]]]) -> bytes:
    """A safetensors file of arrays given with their type's name, which NumPy does not always know (BF16)."""
    header, body = {}, b""
    for name, (kind, array) in tensors.items():
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": (len(body), len(body) + array.nbytes)}
        body += array.tobytes()
    start = json.dumps(header).encode()
    start += b" " * (-len(start) % 8)
    return len(start).to_bytes(8, "little") + start + body


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
