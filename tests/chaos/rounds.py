"""Rounds: a job that is disturbed, run until it is complete, and held against one that nobody disturbed."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil

from tests.chaos.job import MOST_SECONDS, ChaosJob, SinkKind, write_corpus, write_model
from tests.chaos.places import Points, compare, read_points
from tests.chaos.remains import remains
from tests.chaos.victims import kill_one
from tests.cluster.nodes import Nodes, cluster
from tests.qdrant_server import QdrantTestServer

VICTIMS = ("driver", "embed", "write", "read", "tally", "raylet")
MOST_RUNS = 4


@dataclass(frozen=True)
class Plan:
    """What becomes of a round: which process is killed, where the job runs, and when it is killed.

    ``after`` is the part of the rows that is written by then; below zero, so many seconds after the start. ``pause``
    seconds are waited beyond that.
    """

    victim: str
    on_nodes: bool
    chunked: bool
    kills: int
    after: float
    pause: float

    @classmethod
    def draw(cls, random: Random, victim: str) -> Plan:
        """Choose at random when and where a victim is killed."""
        early = victim == "driver" and random.random() < 0.2
        return cls(
            victim=victim,
            on_nodes=victim == "raylet" or random.random() < 0.25,
            chunked=random.random() < 0.3,
            kills=random.choice((1, 1, 2)),
            after=-random.uniform(0.5, 12) if early else 0 if victim == "read" else random.uniform(0, 0.7),
            pause=random.uniform(0, 0.6),
        )


@dataclass
class Harness:
    """Carries rounds out in a folder, whose path is short for the sake of Ray's sockets."""

    folder: Path
    kind: SinkKind
    rows: int = 800
    _undisturbed: dict[bool, Points] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _nodes: Nodes | None = None
    _server: QdrantTestServer | None = None
    _workers: list[Any] = field(default_factory=list)

    def __enter__(self) -> Harness:
        self.corpus, self.model = self.folder / "corpus", self.folder / "model"
        self.rows = write_corpus(self.corpus, self.rows)
        write_model(self.model)
        if self.kind == "server":
            self._server = self._stack.enter_context(QdrantTestServer())
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def carry_out(self, number: int, plan: Plan, random: Random) -> dict[str, Any]:
        """Carry one round out; ``ok`` in the outcome says that all was as if nothing had happened."""
        started = time.monotonic()
        undisturbed = self._read_undisturbed(plan.chunked)
        temporary = self.folder / f"t{number}"
        temporary.mkdir()
        job = self._job(f"r{number}", plan.chunked)
        if plan.on_nodes:
            job.address = self._start_nodes().address
        killed = []
        while len(job.exits) < MOST_RUNS and 0 not in job.exits:
            disturbed = len(killed) == len(job.exits) < plan.kills
            child = job.start(temporary)
            try:
                if disturbed:
                    killed.append(self._disturb(plan, job, child, len(undisturbed), random))
                with suppress(subprocess.TimeoutExpired):
                    child.wait(MOST_SECONDS)
            finally:
                hangs = child.poll() is None
                child.kill()
                job.exits.append("hangs" if child.wait() and hangs else child.returncode)
        points, twice = read_points(job)
        differences = compare(points, undisturbed)
        left = remains(job, temporary, own_ray=not plan.on_nodes)
        told = [line for run, code in enumerate(job.exits) if code == 1 for line in job.log(run).splitlines()[-2:]]
        embedded = job.report["rows"]["embedded"]
        report = _odd_figures(job.report, self.rows, len(undisturbed))
        wrong = [differences["missing"], differences["extra"], differences["different"], twice, *left, *report]
        if not any(wrong) and job.exits[-1] == 0:
            shutil.rmtree(job.folder)
            shutil.rmtree(temporary)
        return {
            "round": number,
            "sink": self.kind,
            **plan.__dict__,
            "killed": killed,
            "exits": job.exits,
            "told": told,
            "points": len(points),
            **differences,
            "twice": twice,
            "embedded": embedded,
            "left": left,
            "report": report,
            "seconds": round(time.monotonic() - started, 1),
            "ok": not any(wrong) and job.exits[-1] == 0,
        }

    def _job(self, name: str, chunked: bool) -> ChaosJob:
        url = self._server.url if self._server else None
        return ChaosJob(self.folder / name, self.corpus, self.model, self.kind, chunked, url, collection=name)

    def _read_undisturbed(self, chunked: bool) -> Points:
        if chunked not in self._undisturbed:
            job = self._job(f"undisturbed-{chunked}", chunked)
            code = job.start(self.folder, "local").wait(MOST_SECONDS)
            job.exits.append(code)
            assert code == 0, job.log()
            self._undisturbed[chunked] = read_points(job)[0]
        return self._undisturbed[chunked]

    def _start_nodes(self) -> Nodes:
        """A head and two more nodes, one of which may have to take a killed one's place."""
        if self._nodes is None:
            self._nodes = self._stack.enter_context(cluster(num_cpus=2))
        while len(self._workers) < 2:
            self._workers.append(self._nodes.add(num_cpus=2))
        return self._nodes

    def _disturb(
        self, plan: Plan, job: ChaosJob, child: subprocess.Popen[str], points: int, random: Random
    ) -> dict[str, Any]:
        """Wait for the moment and kill; returns what was killed and when, or that the job was over before."""
        started = time.monotonic()
        earlier = job.report.get("run_id")

        def written() -> int:
            report = job.report
            return 0 if report.get("run_id") == earlier else report["rows"]["written"] + report["rows"]["skipped"]

        def over() -> bool:
            return child.poll() is not None or time.monotonic() - started > MOST_SECONDS

        _wait(
            lambda: time.monotonic() - started >= -plan.after if plan.after < 0 else written() > plan.after * points,
            over,
        )
        moment = time.monotonic()
        _wait(lambda: time.monotonic() - moment > plan.pause, over)
        done = False if over() else self._kill(plan.victim, child, random, over)
        return {
            "victim": plan.victim if done else None,
            "settled": written(),
            "seconds": round(time.monotonic() - started, 1),
        }

    def _kill(self, victim: str, child: subprocess.Popen[str], random: Random, over: Callable[[], bool]) -> bool:
        if victim == "driver":
            child.kill()
            return True
        if victim == "raylet":
            assert self._nodes is not None
            self._nodes.kill(self._workers.pop(random.randrange(len(self._workers))))
            return True
        # On nodes, workers are the nodes' children, which are this process's own.
        within = psutil.Process() if self._nodes is not None else psutil.Process(child.pid)
        return kill_one(victim, within, random, over)


def _wait(condition: Callable[[], bool], over: Callable[[], bool]) -> None:
    while not condition() and not over():
        time.sleep(0.02)


def _odd_figures(report: dict[str, Any], documents: int, points: int) -> list[str]:
    """Say what in the report of a complete run does not add up."""
    rows = report["rows"]
    odd = []
    if report["status"] != "complete":
        odd.append(f"status {report['status']}")
    if report["documents"] != documents:
        odd.append(f"{report['documents']} documents of {documents}")
    if (settled := rows["written"] + rows["skipped"] + rows["dead"]) != points:
        odd.append(f"{settled} rows settled of {points}: {rows}")
    if report["sinks"][0].get("points", points) != points:
        odd.append(f"{report['sinks'][0]['points']} points told of {points}")
    return odd
