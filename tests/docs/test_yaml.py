"""The YAML of the documentation is what a job takes.

A block is a job, or some of a job's keys, which are then put into another one. A block that is neither stands behind
the comment ``<!-- not a job -->``.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from pipelines.config.file import load_config
from tests.docs.pages import Block, all_blocks

NO_JOB = "not a job"
BASE: dict[str, Any] = {
    "source": {"path": "corpus.jsonl"},
    "embeddings": [{"name": "dense", "model": "BAAI/bge-small-en-v1.5"}, {"name": "bm25", "model": "Qdrant/bm25"}],
    "sink": {"type": "parquet", "path": "vectors"},
}
BLOCKS = all_blocks("yaml", "yml")


def whole_job(block: Block) -> dict[str, Any]:
    """The job that a block is, or is a part of."""
    given = yaml.safe_load(block.text)
    assert isinstance(given, dict), f"{block} is no mapping: mark it with <!-- {NO_JOB} -->"
    source = given.get("source", {})
    brought = "vectors" in source or source.get("qdrant", {}).get("vectors")
    base = {key: value for key, value in BASE.items() if not (brought and key == "embeddings")}
    return {**base, **given}


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.mark != NO_JOB], ids=str)
def test_a_block_is_a_job_or_keys_of_one(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QDRANT_API_KEY",):
        monkeypatch.setenv(name, "secret")
    assert load_config(whole_job(block)).sink


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.mark == NO_JOB], ids=str)
def test_a_block_that_is_no_job_is_yaml(block: Block) -> None:
    yaml.safe_load(block.text)


def test_there_are_whole_jobs_among_them() -> None:
    given = [yaml.safe_load(block.text).keys() for block in BLOCKS if block.mark != NO_JOB]
    assert sum({"source", "sink", "embeddings"} <= keys for keys in given) > 5


def test_a_misspelt_key_is_noticed() -> None:
    block = Block("page.md", 1, "yaml", "chunking: {tokeniser: BAAI/bge-small-en-v1.5}", "")
    with pytest.raises(Exception, match="unknown key; did you mean 'tokenizer'"):
        load_config(whole_job(block))
