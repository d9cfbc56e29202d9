"""Fingerprints are stored with every vector: those of one and the same files and options stay what they were.

A changed value here means that every corpus embedded before would be embedded again, or refused. No graph is loaded:
the files' bytes are fixed, and what they hold is written here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from embedders.catalog import find_card
from embedders.factory import make_embedder
from embedders.families import FAMILIES

TOKENIZER = {
    "version": "1.0",
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": {"[PAD]": 0, "[UNK]": 1, "bat": 2}, "unk_token": "[UNK]"},
}
FILES = {
    "tokenizer.json": json.dumps(TOKENIZER),
    "tokenizer_config.json": '{"model_max_length": 64, "pad_token": "[PAD]"}',
    "preprocessor_config.json": '{"image_processor_type": "CLIPImageProcessor"}',
}

# Family, model, options, fingerprint.
PINNED: list[tuple[str, str, dict[str, Any], str]] = [
    (
        "dense",
        "sentence-transformers/all-MiniLM-L6-v2",
        {},
        "3213ef84c52cfff29476aa6e661326383675cf213b5df1b46123a1dcc970156e",
    ),
    (
        "dense",
        "nomic-ai/nomic-embed-text-v1.5",
        {"dim": 256, "prompts": "auto", "dtype": "float16"},
        "0f75e72140293c2d98e6643a5e106583a1df2d8cb8447b9104deefad71f25059",
    ),
    (
        "dense",
        "jinaai/jina-embeddings-v3",
        {"task_id": "separation", "max_length": 9},
        "057d0552651ab223d801d1e152f0a4eddbe1d30cd7fee0621601ea87ac545087",
    ),
    ("static", "minishlab/potion-base-8M", {}, "801460f6ab9451a5509d3084e3df94a6650accd6e887d3a527f739f28972b7f8"),
    (
        "static",
        "minishlab/potion-base-8M",
        {"max_length": 9},
        "cba0f2e3c81246708943e8798bd377b2b6a6c9ac7bac65462d4e46fafea6d106",
    ),
    ("bm25", "Qdrant/bm25", {}, "d0d15dbab0089657e4769289e9a8e01028a72c0a4b5034fbba00ef314f3145a9"),
    (
        "bm25",
        "Qdrant/bm25",
        {"k": 2, "avg_len": 40, "language": "german", "stopwords": ["x", "a"]},
        "2b63489b1bdeccf6fff0b3eacccc9eef510916a08197e53bc81d235b161f8a45",
    ),
    ("splade", "prithivida/Splade_PP_en_v1", {}, "ac98800b8653d02c73c6373d3000a6324be3899538903fda0aa7d229d2d300ac"),
    (
        "neural_sparse",
        "opensearch-project/opensearch-neural-sparse-encoding-doc-v3-gte",
        {},
        "1059d178b8d2f5dc3f9ec2ccc7a41a63479002621b4d2f289ad87aefcae7887d",
    ),
    (
        "bm42",
        "Qdrant/bm42-all-minilm-l6-v2-attentions",
        {},
        "2f36e03b23da156bda2a89518939691ac9fb19d5be8103cb0762ca02b4559c45",
    ),
    (
        "bm42",
        "Qdrant/bm42-all-minilm-l6-v2-attentions",
        {"alpha": 1},
        "963226b3607f30a4bc5453de038db419dba1cdb269dd3b0b3cc01c2072dbf0d0",
    ),
    ("minicoil", "Qdrant/minicoil-v1", {}, "2525ae7cce1e06081ac3f3364410fe28c8d1c1d18f8ffc0cdf8091ff1deb2875"),
    (
        "minicoil",
        "Qdrant/minicoil-v1",
        {"k": 1, "b": 1, "avg_len": 40},
        "d1f3a640521b96aa9b64c82d445b582f08115844570854c09b67249711403638",
    ),
    (
        "late_interaction",
        "colbert-ir/colbertv2.0",
        {},
        "e08a00e096cecbec07eb46e3c7b651ce056913b7aef5da454bbc880ca3084c48",
    ),
    (
        "late_interaction",
        "lightonai/LateOn",
        {"dtype": "float16"},
        "75d6f14f5ff65de01309a1267f7a9149b9f60aaa2586634d378e038f25e55bf2",
    ),
    ("bge_m3", "BAAI/bge-m3", {}, "ad56a069c0c77c8c2cd27c4d8d3949e6e5faed1241f1f1943777164130157c6b"),
    (
        "bge_m3",
        "BAAI/bge-m3",
        {"outputs": ["dense"]},
        "3627470a2c4edcac30adefd9d89ad6cfa62bf25374714d36f5587afc30f4e6a3",
    ),
    (
        "bge_m3",
        "BAAI/bge-m3",
        {"outputs": ["sparse"], "max_length": 9},
        "a6f1a56e4183a2e924d0444d14013cab9e7d1ee3993eaa5e1652897c6b0c6b43",
    ),
    (
        "bge_m3",
        "BAAI/bge-m3",
        {"outputs": ["multivector"], "dtype": "float16"},
        "7b85332b7f79fe41b24942b582048bb8fc482e971dd3082d1497610c4a38de4f",
    ),
    ("image", "Qdrant/clip-ViT-B-32-vision", {}, "0cfddb7fca392d97d6af861c8961499685279ff231a0fa6cf1d906413f29918e"),
    (
        "image",
        "jinaai/jina-clip-v1",
        {"dtype": "float16", "reduced_decoding": True},
        "10e4aca05fcb789de6df1621ec6193349b344e71a54082f9153e91f2b5e8a4d2",
    ),
    ("multimodal", "Qdrant/colpali-v1.3-fp16", {}, "6d6644e6d06320e7296043b74910dcbaf6e0953b73f7eb367545f836ab5a7153"),
    (
        "multimodal",
        "Qdrant/colmodernvbert",
        {"dtype": "float16", "reduced_decoding": True},
        "2313f7d8d849d1d45e5665421a84389a7b509cbfc991222bfa27f9652d0736d6",
    ),
]


@pytest.mark.parametrize(
    ("family", "model", "options", "pinned"), PINNED, ids=[f"{model}-{options}" for _, model, options, _ in PINNED]
)
def test_fingerprints_of_fixed_files_stay_the_same(
    family: str, model: str, options: dict[str, Any], pinned: str, tmp_path: Path
) -> None:
    card = find_card(model, among=(family,))
    contents = {**dict.fromkeys((card.model_file, *card.additional_files), "fixed\n"), **FILES}
    for name, content in contents.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())
    embedder = make_embedder(model, family=family, specific_model_path=tmp_path, lazy_load=True, **options)
    assert embedder.fingerprint == pinned


def test_every_family_that_embeds_is_pinned() -> None:
    assert {family for family, *_ in PINNED} == {name for name, family in FAMILIES.items() if family.embeds}
