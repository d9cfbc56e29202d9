"""A report with something in every section of its page, long names among it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.config.file import load_config
from pipelines.run.placement.nodes import Node
from pipelines.run.report.machine import describe_machine
from pipelines.run.report.report import RunReport
from pipelines.run.report.settings import shown_settings
from pipelines.run.report.timeline import Timeline
from pipelines.run.tally import LENGTH

# What a run wrote before there were pages.
OLD_REPORT = Path(__file__).parent / "report_of_0_1.json"
LONG = "s3://a-bucket-with-a-rather-long-name/and/a/folder/that_has_one_very_long_name_without_any_blank_in_it/out"


def old_report() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(OLD_REPORT.read_text())
    return found


def full_report(corpus: str = "a corpus <b>&amp;") -> dict[str, Any]:
    """A report as its file has it: 40 minutes on a cluster, two embeddings, dead letters of three reasons."""
    models: dict[str, dict[str, Any]] = {
        "dense": {"embedding": "dense", "model": "sentence-transformers/all-MiniLM-L6-v2", "kind": "dense", "dim": 384},
        "bm25": {"embedding": "bm25", "model": "Qdrant/bm25", "kind": "sparse", "dim": None, "license": "apache-2.0"},
    }
    report = RunReport("20260101T000000-abcdef", corpus, "complete", models=models, engine="ray", seconds=2400.0)
    report.startup_seconds, report.started = 60.0, "2026-01-01T00:00:00+00:00"
    report.startup = {"imports": 2.0, "checks": 8.0, "engine": 20.0, "workers": 20.0, "models": 10.0}
    report.max_lengths = {"dense": 300}
    report.price_per_hour = 12.5
    report.fingerprint = "f" * 64
    report.notices = [f"<script>alert('a notice')</script> of {LONG}"]
    report.machine = describe_machine([Node("a", 16, 1, resources={"accelerator_type:H100": 1}, memory=64 << 30)] * 3)
    report.config = shown_settings(
        load_config(
            {
                "source": {"path": f"{LONG}?access_key=hidden&secret_key=hidden"},
                "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
                "sink": {"type": "qdrant", "url": "https://somebody:hidden@qdrant.example", "collection": "docs"},
            }
        )
    )
    report.dead_letters = f"{LONG}/dead_letters"
    timeline, stages = Timeline(), {}
    for second in range(0, 2400, 3):
        done = max(0.0, (second - 60) * 500.0)
        stages = {
            "read": {"rows": min(1e6, second * 900.0), "chunks": min(1e6, second * 900.0), "seconds": second * 1.0},
            "dense": {
                **{"rows": done, "tokens": done * 110, "padded_tokens": done * 120, "seconds": second * 2.0},
                **{"truncated": 12345.0, "model_seconds": second * 1.5, "tokenize_seconds": second * 0.2},
                **{f"{LENGTH}{tokens}": 9000.0 for tokens in (12, 16, 20, 48, 96, 112, 192, 256, 320)},
            },
            "bm25": {"rows": done, "tokens": done * 50, "padded_tokens": done * 50, "seconds": second * 0.1},
            "write qdrant": {"rows": done, "retries": 7.0, "seconds": second * 0.7},
        }
        timeline.add(second, stages)
    report.take_stages(stages)
    report.timeline = timeline.figures()
    report.rows |= {"written": 1_169_500, "dead": 321, "deleted": 12}
    report.documents = 1_000_000
    report.dead_reasons = [
        {
            "stage": "read",
            "type": "InvalidJson",
            "rows": 300,
            "samples": [f"(a.jsonl:{n}): <i>no JSON</i>" for n in "123"],
        },
        {"stage": "dense", "type": "NotFinite", "rows": 20, "samples": [f"document '{LONG}'"]},
        {"stage": "sink", "type": "Rejected", "rows": 1, "samples": ["document 'x'"]},
    ]
    report.sinks = [{"type": "qdrant", "place": LONG, "points": 1_169_500, "deleted": 12, "indexed": True}]
    report.nodes_lost, report.actors_restarted = 1, 2
    report.passes = [{"number": 1, "read": 10, "seconds": 1.5}]
    found: dict[str, Any] = json.loads(json.dumps(asdict(report)))
    return found
