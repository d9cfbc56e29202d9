"""What a worker imports for a job of texts: each of its processes pays for it, at every start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# Images, networks, models, servers, terminals: a worker loads what its own stage needs of them, when it needs it.
HEAVY = {"PIL", "httpx", "httpcore", "huggingface_hub", "onnxruntime", "qdrant_client", "grpc", "rich", "pandas", "ray"}
OURS = {"embedders.images", "embedders.api", "pipelines.sources.images", "pipelines.sinks.qdrant.sink"}


def loaded(code: str) -> set[str]:
    """Modules that are loaded after some code has run in a process of its own."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_stages_of_a_job_import_nothing_that_not_every_worker_needs() -> None:
    modules = loaded("import pipelines.run.stages.job_stages")
    assert "pipelines.run.stages.job_stages" in modules
    assert not modules & HEAVY
    assert not {name for name in modules if any(name == one or name.startswith(f"{one}.") for one in OURS)}


def test_a_driver_imports_no_more() -> None:
    assert not loaded("import pipelines.pipeline") & (HEAVY - {"rich"})


def test_a_scan_of_text_files_imports_no_more(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "a", "text": "b"}\n')
    code = f"""
from pipelines.config.source import SourceConfig
from pipelines.run.scan import scan
from pipelines.sources import plan_source
from pipelines.sources.id_comparison import compare_ids_here
source = SourceConfig(path={str(tmp_path / "a.jsonl")!r}, id="id")
assert scan(plan_source(source).splits, source, compare_ids_here).documents == 1
"""
    assert not loaded(code) & HEAVY


def test_a_parquet_sink_imports_no_more(tmp_path: Path) -> None:
    code = f"""
from pipelines.config.file import load_config
from pipelines.sinks.factory import make_sink
job = {{
    "source": {{"path": "x.jsonl"}},
    "embeddings": [{{"name": "bm25", "model": "Qdrant/bm25"}}],
    "sink": {{"type": "parquet", "path": {str(tmp_path)!r}}},
}}
make_sink(load_config(job).sink[0])
"""
    assert not loaded(code) & HEAVY
