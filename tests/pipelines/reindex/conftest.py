"""Jobs of one alias on the test server, which differ in the language of BM25, and the command as it is called."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from qdrant_client import QdrantClient, models
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.search import Searcher
from tests.qdrant_server.process import QdrantTestServer

# "runs" has the stem of "running" in English alone, "Häuser" that of "Haus" in German alone.
RUNNER, HOUSE = "she was running home", "ein Haus im Garten"
DOCUMENTS = [RUNNER, HOUSE, *(f"filler{number} text" for number in range(18))]


@dataclass
class Story:
    """A corpus, a server and configurations by name, each of which is a job of the alias ``docs``."""

    folder: Path
    server: QdrantTestServer
    client: QdrantClient

    def config(self, name: str, language: str = "english", **sink: Any) -> Path:
        """Write a job's configuration."""
        corpus = self.folder / "corpus.jsonl"
        corpus.write_text("".join(json.dumps({"id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(DOCUMENTS)))
        address = {"type": "qdrant", "url": self.server.url, "alias": "docs", "batch_points": 4, "writers": 1}
        job = {
            "corpus": "books",
            "source": {"path": str(corpus), "id": "id"},
            "embeddings": [{"name": "bm25", "model": "Qdrant/bm25", "options": {"language": language}}],
            "sink": {key: value for key, value in {**address, **sink}.items() if value is not None},
            "compute": {"engine": "local", "block_rows": 4},
            "report": str(self.folder / f"{name}.json"),
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(job))
        return path

    def collection(self, name: str) -> str:
        """Name the collection that a job's last run filled."""
        return f"docs-{self.report(name)['fingerprint'][:12]}"

    def report(self, name: str) -> dict[str, Any]:
        """Read the report of a job's last run."""
        found: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_text())
        return found

    @property
    def alias(self) -> str | None:
        """What the alias names."""
        return {one.alias_name: one.collection_name for one in self.client.get_aliases().aliases}.get("docs")

    def let_alias_name(self, collection: str) -> None:
        """Move the alias by hand."""
        create = models.CreateAlias(alias_name="docs", collection_name=collection)
        self.client.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])

    def delete_alias(self) -> None:
        """Let the alias name nothing."""
        delete = models.DeleteAlias(alias_name="docs")
        self.client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=delete)])


@pytest.fixture
def story(tmp_path: Path, qdrant_server: QdrantTestServer, qdrant_client: QdrantClient) -> Iterator[Story]:
    logger = logging.getLogger("fleetembed")
    # The command sets it, for the process that is its own.
    level = logger.level
    yield Story(tmp_path, qdrant_server, qdrant_client)
    logger.setLevel(level)


def call(*arguments: str | Path) -> Result:
    """Call ``fleetembed``."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="fleetembed")


def done(command: str, config: Path, *options: str) -> str:
    """Call ``fleetembed reindex`` and return what it said; it must end well."""
    result = call("reindex", command, "--config", config, *options)
    assert result.exit_code == 0, result.output
    return result.output


def refused(command: str, config: Path, *options: str, code: int = 1) -> str:
    """Call ``fleetembed reindex`` and return what it said; it must end with a code."""
    result = call("reindex", command, "--config", config, *options)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def found(config: Path) -> set[str]:
    """Which of the two documents are found by a word of the same stem in one of the languages."""
    with Searcher.from_config(config) as searcher:
        return {hit.payload["text"] for query in ("runs", "Häuser") for hit in searcher.search(query)}
