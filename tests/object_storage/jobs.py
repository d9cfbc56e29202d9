"""Jobs whose every place is in a bucket, and ways to read back what they wrote."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from pipelines.cli.job import run_job
from tests.conftest import ROOT
from tests.object_storage.server import S3TestServer

COMMAND = [sys.executable, str(ROOT / "jobs" / "embed_corpus.py")]
Row = dict[str, Any]


@dataclass
class BucketJob:
    """A BM25 job from ``docs/`` to ``out/`` of a bucket; ``options`` of the URLs begin with a question mark."""

    s3: S3TestServer
    folder: Path
    options: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def place(self, key: str) -> str:
        return self.s3.place(key) + self.options

    def config(self) -> dict[str, Any]:
        base = {
            "corpus": "test",
            "source": {"path": self.place("docs/"), "id": "id"},
            "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
            "sink": {"type": "parquet", "path": self.place("out")},
            "compute": {"engine": "local", "block_rows": 20},
            "errors": {"max_rate": 1},
            "report": self.place("reports/run.json"),
        }
        return {**base, **self.extra}

    def config_file(self) -> Path:
        path = self.folder / "job.yaml"
        path.write_text(json.dumps(self.config()))
        return path

    def run(self, *overrides: str) -> tuple[int, str]:
        """Run in this process; gives exit code and output."""
        text = io.StringIO()
        code = run_job(self.config_file(), overrides, Console(file=text, width=300))
        return code, text.getvalue()

    def start(self, *overrides: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Run in a process of its own."""
        sets = [argument for override in overrides for argument in ("--set", override)]
        command = [*COMMAND, "--config", str(self.config_file()), *sets]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=environment,
        )

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.s3.get("reports/run.json"))
        return found

    def rows(self) -> list[Row]:
        return self._tables("out/part-")

    def documents(self) -> list[str]:
        return sorted(row["document_id"] for row in self.rows())

    def dead(self) -> dict[str, str]:
        return {row["origin"]: row["error"]["message"] for row in self._tables("reports/dead_letters/")}

    def _tables(self, prefix: str) -> list[Row]:
        files = (self.s3.get(key) for key in self.s3.keys(prefix))
        return [row for file in files for row in pq.read_table(pa.BufferReader(file)).to_pylist()]


def lines(rows: Iterable[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def documents(count: int, name: str = "d") -> list[Row]:
    return [{"id": f"{name}{number:04d}", "text": f"words of document {name} {number}"} for number in range(count)]


def ids(rows: Iterable[Row]) -> list[str]:
    return sorted(row["id"] for row in rows)
