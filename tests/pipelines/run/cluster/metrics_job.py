"""Runs a job twice on a local Ray, scrapes Ray's metrics port, and prints what both tell as JSON.

``python -m tests.pipelines.run.cluster.metrics_job JOB.yaml``: in a process of its own, since a process has one Ray.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import ray
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from pipelines import EmbeddingPipeline
from tests.waiting import SECONDS

TAGS = ("corpus", "stage", "embedding", "sink")
# Ray's own is 10 s.
SECONDS_BETWEEN_REPORTS = 0.5


def scrape(port: int) -> dict[str, float]:
    """Sum a node's samples of ours over the processes that gave them: ``name corpus,stage,embedding,sink`` -> value."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    sums: dict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("ray_fleetembed_"):
                sums[f"{sample.name} {','.join(sample.labels[tag] for tag in TAGS)}"] += sample.value
    return dict(sums)


def settled(port: int, seconds: float) -> dict[str, float]:
    """Scrape until the stages' seconds are all there, and nothing has changed for some reports of Ray's."""
    deadline = time.monotonic() + SECONDS
    before: dict[str, float] = {}
    same = 0
    while same < 4 or abs(stage_seconds(before) - seconds) > 0.01:
        assert time.monotonic() < deadline, f"the figures still change, or are not those of {seconds} s: {before}"
        time.sleep(SECONDS_BETWEEN_REPORTS)
        now = scrape(port)
        same = same + 1 if now == before else 0
        before = now
    return before


def stage_seconds(samples: dict[str, float]) -> float:
    """Sum what the stages have worked."""
    return sum(value for key, value in samples.items() if key.startswith("ray_fleetembed_stage_seconds_total"))


def main(job: Path) -> None:
    """Run the job twice, and print both reports and the samples."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=80 << 20,
        log_to_driver=False,
        _metrics_export_port=port,
        _system_config={"metrics_report_interval_ms": int(1000 * SECONDS_BETWEEN_REPORTS)},
    )
    reports: list[dict[str, Any]] = []
    for _ in range(2):
        report = EmbeddingPipeline.from_config(job).run(console=Console(quiet=True))
        reports.append({"rows": report.rows, "stages": report.stages, "documents": report.documents})
    seconds = sum(figures.get("seconds", 0) for report in reports for figures in report["stages"].values())
    print(json.dumps({"reports": reports, "samples": settled(port, seconds)}))
    ray.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
