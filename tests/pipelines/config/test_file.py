from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from embedders.fingerprint import facts_digest
from pipelines.config.chunking import ChunkingConfig
from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.config.sinks import SINKS
from pipelines.errors import ConfigError
from pipelines.fingerprints import chunking_facts, fingerprint_facts


def job(**changes: Any) -> dict[str, Any]:
    return {
        "source": {"path": "docs/*.jsonl"},
        "embeddings": [{"name": "dense", "model": "sentence-transformers/all-MiniLM-L6-v2"}],
        "sink": {"type": "parquet", "path": "out"},
        **changes,
    }


def test_a_minimal_job_gets_documented_defaults() -> None:
    config = load_config(job())
    assert config.sink[0].type == "parquet"
    assert config.errors.max_rate == 0.01
    assert config.dead_letters == "dead_letters"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sorce": {}}, r"sorce: unknown key; did you mean 'source'\?"),
        ({"source": {"path": "a", "txt": "body"}}, r"source\.txt: unknown key; did you mean 'text'\?"),
        ({"compute": {"stages": {"dense": {"worker": 2}}}}, r"stages\.dense\.worker: unknown key; .*'workers'"),
        (
            {"sink": {"type": "qdrant", "collection": "c", "pth": "x"}},
            r"sink\.0\.pth: unknown key; did you mean 'path'",
        ),
        ({"sink": {"type": "qdrant", "collection": "c"}}, "exactly one of url"),
        ({"sink": {"type": "qdrnt", "path": "out"}}, r"sink\.0\.type: unknown type 'qdrnt'; did you mean 'qdrant'\?$"),
        ({"sink": {"type": "zzz"}}, r"sink\.0\.type: unknown type 'zzz'; known here: qdrant, parquet$"),
        (
            {"sink": {"type": "parquet", "path": "out", "deletions": "swep"}},
            r"sink\.0\.deletions: input should be 'keep' or 'sweep' \(got 'swep'\); did you mean 'sweep'\?$",
        ),
        (
            {"source": {"qdrant": {"colection": "c"}}},
            r"source\.qdrant\.colection: unknown key; did you mean 'collection'",
        ),
        ({"source": {"qdrant": {"collection": "c"}}}, r"source\.qdrant: give exactly one of url"),
        ({"source": {"vectors": [""]}}, r"source\.vectors\.0: string should have at least 1 character"),
        ({"searches": {"qdrant": {"usig": 1}}}, r"searches\.qdrant\.usig: unknown key; did you mean 'using'"),
        ({"sink": {"path": "out"}}, rf"sink\.0\.type: is missing; write {' or '.join(SINKS)}$"),
        ({"sink": []}, "sink: "),
        (
            {"sink": {"type": "parquet", "path": "out"}, "errors": {"path": "out/"}},
            r"errors\.path: out/? is the folder of sink\.0; choose another one",
        ),
        ({"source": {}}, r"source: path is missing; give exactly one of path"),
        ({"source": {"path": ""}}, r"source\.path.*at least 1 character"),
        ({"sink": {"type": "parquet", "path": ""}}, r"sink\.0\.path.*at least 1 character"),
        ({"source": {"path": "a", "image": "i", "format": "image"}}, "format image has none; leave image out"),
        ({"source": {"path": "a", "image": "text"}}, r"source: image: the column 'text' is that of text or id"),
        ({"source": {"path": "a", "image_root": "b"}}, "image_root needs image"),
        ({"source": {"path": "a", "image": "i", "image_root": "HTTPS://x.test"}}, r"set http\.allow to true"),
        ({"source": {"path": "a", "http": {"max": 1}}}, r"source\.http\.max: unknown key; did you mean 'max_mb'"),
        ({"source": {"path": "a", "max_image_mb": 0}}, r"source\.max_image_mb: .*greater than 0"),
        ({"errors": {"max_rate": 7}}, r"errors\.max_rate: .*less than or equal to 1.*got 7"),
        ({"compute": {"stages": {"densse": {}}}}, "'densse' is no embedding of this job"),
        ({"embeddings": [{"name": "text", "model": "m"}]}, "name of a column that every row has"),
        ({"embeddings": [{"name": "chunk_count", "model": "m"}]}, "name of a column that every row has"),
        ({"embeddings": [{"name": "a", "model": "m"}, {"name": "a", "model": "n"}]}, "'a' is used twice"),
        ({"chunking": {"tokenizer": "t", "max_tokens": 20, "overlap": 15}}, "more than half"),
    ],
)
def test_a_wrong_job_is_refused_with_the_key_and_a_suggestion(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(job(**changes))


def test_what_an_embedding_is_called_is_free_of_the_images_column() -> None:
    model = {"name": "image", "model": "sentence-transformers/all-MiniLM-L6-v2"}
    config = load_config(job(embeddings=[model, {**model, "name": "other", "model": "unknown"}]))
    assert config.embeddings[0].name == "image" and not config.takes_images


def test_a_job_without_a_source_is_told_how_to_give_one() -> None:
    without = {key: value for key, value in job().items() if key != "source"}
    with pytest.raises(
        ConfigError, match=r"source: is missing; write source: \{path: .*from_config\(job, source=data\)$"
    ):
        load_config(without)


def test_every_wrong_key_is_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)extra: unknown key.*more: unknown key"):
        load_config(job(extra=1, more=2))


def test_set_overrides_nested_keys_and_list_items() -> None:
    config = load_config(job(), ["compute.block_rows=64"])
    assert config.compute.block_rows == 64
    listed = job(sink=[{"type": "parquet", "path": "out"}])
    changed = load_config(listed, ["sink.0.path=elsewhere", "source.limit=3"])
    assert (changed.sink[0].path, changed.source.limit) == ("elsewhere", 3)


@pytest.mark.parametrize(
    "override", ["compute.block_rows", "=3", "sink.5.path=x", "sink.².path=x", "corpus.name=x", "errors={"]
)
def test_a_malformed_override_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        load_config(job(corpus="c", sink=[{"type": "parquet", "path": "out"}]), [override])


def test_a_key_in_the_configuration_is_refused_and_not_repeated() -> None:
    sink = {"type": "qdrant", "collection": "c", "url": "http://127.0.0.1:1", "api_key": "s3cr3t"}
    with pytest.raises(ConfigError, match=r"sink\.0: a key must not stand in .*QDRANT_API_KEY") as caught:
        load_config(job(sink=sink))
    assert "s3cr3t" not in str(caught.value)


def test_a_secret_comes_from_the_named_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = {"type": "qdrant", "collection": "c", "url": "http://127.0.0.1:1", "api_key": "${MY_KEY}"}
    config = load_config(job(sink=sink)).sink[0]
    assert config.type == "qdrant"
    with pytest.raises(ConfigError, match="MY_KEY is not set"):
        config.secret()
    monkeypatch.setenv("MY_KEY", "s3cr3t")
    assert config.secret() == "s3cr3t"
    assert "s3cr3t" not in repr(config)


def test_environment_variables_elsewhere_are_refused() -> None:
    with pytest.raises(ConfigError, match="only stand for secrets"):
        load_config(job(source={"path": "${HOME}/docs"}))


def test_files_that_are_no_jobs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "absent.yaml")
    wrong = (
        ("- a\n", "must hold keys"),
        ("a: [", "not valid YAML"),
        ("corpus: 2020-02-31", "not valid YAML"),
        ("sink: {}\nsink: {}", "'sink' stands twice"),
        ("compute: &a {stages: *a}", "refers to itself"),
    )
    for text, message in wrong:
        (tmp_path / "job.yaml").write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_config(tmp_path / "job.yaml")


def fingerprint(embeddings: dict[str, str], chunking: ChunkingConfig | None, tokenizer: str = "") -> str:
    return facts_digest(fingerprint_facts(embeddings, chunking and chunking_facts(chunking, tokenizer)))


def test_the_fingerprint_covers_models_and_chunking() -> None:
    plain = load_config(job())
    chunked = load_config(job(chunking={"tokenizer": "t"}))
    prints = {
        fingerprint({"dense": "a"}, plain.chunking),
        fingerprint({"dense": "b"}, plain.chunking),
        fingerprint({"other": "a"}, plain.chunking),
        fingerprint({"dense": "a"}, chunked.chunking, "{}"),
        fingerprint({"dense": "a"}, chunked.chunking, "{another}"),
    }
    assert len(prints) == 5


def test_where_the_chunkings_tokenizer_lies_is_not_in_the_fingerprint() -> None:
    here, there = (load_config(job(chunking={"tokenizer": place})).chunking for place in ("here", "there"))
    assert fingerprint({"dense": "a"}, here, "{}") == fingerprint({"dense": "a"}, there, "{}")
    # Places hold it: it must not change from one version to the next.
    assert fingerprint({"dense": "a"}, here, "{}") == "7dbf7a347da06830f53e6d5a4198cb3366caae9e0d809077a8ef52c6c1d62dfd"


def test_the_schema_can_be_printed_for_editors() -> None:
    schema = json.loads(json.dumps(JobConfig.model_json_schema()))
    assert {"source", "embeddings", "sink"} <= set(schema["properties"])
    assert set(schema["properties"]["sink"]["items"]["discriminator"]["mapping"]) == set(SINKS)


LONG = "a document " * 10_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": [{"text": f"{LONG} ${{x}}"}]}, r"source must be a section of keys, not a list; .*source=data"),
        ({"source": pd.DataFrame({"text": [LONG]})}, r"not a DataFrame; data goes into EmbeddingPipeline.from_config"),
        ({"source": LONG}, r"not a str; for files write source: {path: a document"),
        ({"source": {"path": f"${{x}}{LONG}"}}, "only stand for secrets; use --set for '"),
        ({"source": {LONG: 1}}, r"source\.a document .*\.\.\.: unknown key"),
        ({"source": {"path": "x", "format": LONG}}, r"source\.format: input should be .*\(got 'a doc"),
        ({"source": {"ray": LONG}}, r"source\.ray: ray\.data has no public reader 'a document"),
        ({"source": {"path": "x", "payload": LONG}}, r"source\.payload: "),
        ({"sink": {"type": LONG}}, r"sink\.0\.type: unknown type 'a document"),
        ({"corpus": [LONG]}, r"corpus: input should be a valid string"),
        ({"errors": {"max_rate": LONG}}, r"errors\.max_rate: .*\(got 'a document"),
        ({"embeddings": [LONG] * 1000}, r"(?s)embeddings\.0: .*  and \d+ more"),
        ({"searches": {LONG: {"usig": 1}}}, r"searches\.a document .*usig: unknown key"),
        ({LONG: 1}, r"a document .*unknown key"),
    ],
    ids=lambda value: "message" if isinstance(value, str) else next(iter(value))[:20],
)
def test_a_message_has_no_more_than_a_line_of_data(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        load_config({**job(), **change})
    lines = str(refused.value).splitlines()
    assert len(lines) <= 25
    assert all(len(line) < 1_000 for line in lines)


def test_an_override_is_shown_in_a_line() -> None:
    for override in (LONG, f"source.path.x={LONG}", f"{LONG}=[", f"source.{LONG}=1"):
        with pytest.raises(ConfigError, match=r"--set |source\.a document") as refused:
            load_config(job(), [override])
        assert len(str(refused.value)) < 1_000
