"""The job that is disturbed: real text with payload and odd ids, a synthetic dense model and BM25, on Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, Literal

from pipelines.config.compute import ComputeConfig
from tests.conftest import ROOT
from tests.synthetic_models import build_network

SinkKind = Literal["parquet", "folder", "server"]
COMMAND = [sys.executable, str(ROOT / "jobs" / "embed_corpus.py")]
COLLECTION = "chaos"
MOST_SECONDS = 300


def write_corpus(path: Path, rows: int) -> int:
    """Write paragraphs of Python's own manual as JSON lines, in several files; returns the number of rows."""
    paragraphs = [
        (name, number, text)
        for name, topic in sorted(topics.items())
        for number, text in enumerate(topic.split("\n\n"))
        if len(text.split()) > 3
    ][:rows]
    path.mkdir()
    for part in range(4):
        lines = [
            {
                "id": f"{name}/{number} § 日本 {name[::-1]}",
                "text": text,
                "topic": name,
                "number": number,
                "odd": number % 2 == 1,
            }
            for name, number, text in paragraphs[part::4]
        ]
        (path / f"{part}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return len(paragraphs)


def write_model(folder: Path) -> Path:
    """Write the synthetic dense model."""
    return build_network(folder, limit=512)


@dataclass
class ChaosJob:
    """One job in a folder of its own."""

    folder: Path
    corpus: Path
    model: Path
    kind: SinkKind
    chunked: bool
    url: str | None = None
    address: str | None = None
    collection: str = COLLECTION
    exits: list[int | str] = field(default_factory=list)

    @property
    def out(self) -> Path:
        """Where the Parquet files or the Qdrant folder are."""
        return self.folder / "out"

    @property
    def report(self) -> dict[str, Any]:
        """The last report there is; empty before the first."""
        try:
            found: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def config(self, engine: str) -> dict[str, Any]:
        """The job as its YAML file has it."""
        place = {"url": self.url} if self.kind == "server" else {"path": str(self.out)}
        sink = {"type": "parquet", **place}
        if self.kind != "parquet":
            sink = {"type": "qdrant", "collection": self.collection, **place}
        dense: dict[str, Any] = {"token_budget": 512}
        compute: dict[str, Any] = {"engine": engine, "block_rows": 8, "stages": {"dense": dense}}
        if self.address:
            # A reader's whole CPU is left on each node.
            dense |= {"workers": 2, "cpus": 0.5}
        if engine == "ray":
            compute |= {"address": self.address} if self.address else {"cpus": 4, "object_store_mb": 80}
            if "shared_storage" in ComputeConfig.model_fields:
                compute["shared_storage"] = True
        chunking = {"chunking": {"tokenizer": str(self.model), "max_tokens": 96, "overlap": 8}} if self.chunked else {}
        return {
            "corpus": "chaos",
            "source": {"path": str(self.corpus / "*.jsonl"), "id": "id"},
            "embeddings": [
                {"name": "dense", "model": {"path": str(self.model), "pooling": "mean"}},
                {"name": "bm25", "model": "Qdrant/bm25"},
            ],
            "sink": [sink],
            "compute": compute,
            "report": str(self.folder / "report.json"),
            **chunking,
        }

    def start(self, temporary: Path, engine: str = "ray") -> subprocess.Popen[str]:
        """Start the job; what its Ray needs lies in ``temporary``."""
        self.folder.mkdir(exist_ok=True)
        config = self.folder / "job.yaml"
        config.write_text(json.dumps(self.config(engine)))
        kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        with (self.folder / f"run-{len(self.exits)}.log").open("w") as log:
            return subprocess.Popen(
                [*COMMAND, "--config", str(config)],
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                env={**kept, "RAY_TMPDIR": str(temporary)},
            )

    def log(self, run: int = -1) -> str:
        """What a run said."""
        return (self.folder / f"run-{range(len(self.exits))[run]}.log").read_text()
