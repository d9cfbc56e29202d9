"""What a report shows of a configuration lets nobody in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.run.report.settings import MOST_ENTRIES, shown_settings


def config(**more: Any) -> JobConfig:
    return load_config(
        {
            "source": {"path": "in.jsonl"},
            "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
            "sink": {"type": "parquet", "path": "out"},
            **more,
        }
    )


def test_it_is_what_differs_from_the_defaults() -> None:
    assert shown_settings(config()) == {
        "source": {"path": "in.jsonl"},
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
        "sink": [{"type": "parquet", "path": "out"}],
    }


def test_secrets_of_urls_are_left_out_and_references_stay() -> None:
    shown = shown_settings(
        config(
            source={"path": ["s3://id:SECRET@bucket/x?secret_key=SECRET", "filecache::s3://id:SECRET@bucket/y"]},
            sink={
                **{"type": "qdrant", "url": "https://me:SECRET@host:6333", "collection": "c"},
                "api_key": "${SOME_KEY}",
            },
            report="s3://id:SECRET@bucket/run.json",
            compute={"price_per_hour": 3.5, "stages": {"bm25": {"token_budget": 512}}},
        )
    )
    assert "SECRET" not in json.dumps(shown)
    assert shown["source"]["path"][0] == "s3://bucket/x"
    assert shown["sink"][0]["api_key"] == "${SOME_KEY}"
    assert shown["compute"] == {"price_per_hour": 3.5, "stages": {"bm25": {"token_budget": 512}}}


@pytest.mark.parametrize(
    "arguments",
    [
        {"password": "SECRET", "user": "me"},
        {"headers": {"Authorization": "Bearer SECRET"}},
        {"sasToken": "SECRET"},
        {"aws": [{"secret_access_key": "SECRET"}]},
        {"uri": "mongodb://me:SECRET@host/db?password=SECRET"},
        {"text": "Server=tcp:host;Uid=me;Pwd=SECRET;Encrypt=yes"},
        {"sql": "select 1 from 'postgresql://me:SECRET@host/x'"},
        {"connection_string": "SECRET"},
    ],
)
def test_secrets_below_any_key_are_hidden(arguments: dict[str, Any]) -> None:
    # Options may hold whatever a model, or a reader of another library, takes.
    made = config()
    embedding = made.embeddings[0].model_copy(update={"options": {"arguments": arguments}})
    shown = shown_settings(made.model_copy(update={"embeddings": [embedding]}))
    assert "SECRET" not in json.dumps(shown) and "arguments" in json.dumps(shown)


def test_what_is_long_is_cut_and_what_is_no_json_is_named() -> None:
    made = config(source={"path": [f"{number}.jsonl" for number in range(1000)]}, corpus="x" * 10_000)
    embedding = made.embeddings[0].model_copy(update={"options": {"call": len, "rows": {"bytes": b"\xff"}}})
    shown = shown_settings(made.model_copy(update={"embeddings": [embedding]}))
    assert len(shown["source"]["path"]) == MOST_ENTRIES + 1 and shown["source"]["path"][-1] == "… 950 more"
    assert shown["corpus"].endswith("… (10,000 characters)")
    assert shown["embeddings"][0]["options"] == {
        "call": "<builtins.builtin_function_or_method>",
        "rows": {"bytes": "<builtins.bytes>"},
    }
