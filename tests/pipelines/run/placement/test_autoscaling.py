"""What is asked of an autoscaler, and what becomes of a job while it waits for that."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from pipelines.config.compute import ComputeConfig
from pipelines.config.file import load_config
from pipelines.config.placement import ExpectConfig
from pipelines.errors import PreflightError
from pipelines.run.cluster.start import start_ray_engine
from pipelines.run.placement import autoscaling
from pipelines.run.placement.autoscaling import bundles_of, expected
from pipelines.run.placement.nodes import Machines, Node, missing
from pipelines.run.placement.plan import joins_cluster, plan_placement
from pipelines.stopping import stoppable


def machines(*shapes: tuple[float, float]) -> Machines:
    return Machines(
        tuple(Node(str(number), cpus, gpus, int(cpus)) for number, (cpus, gpus) in enumerate(shapes)), ("told before",)
    )


HEAD = (0.0, 0.0)


@pytest.mark.parametrize(
    ("expect", "there", "bundles"),
    [
        ({"gpus": 2, "cpus": 8}, [HEAD], [{"GPU": 1, "CPU": 4}] * 2),
        ({"gpus": 2, "cpus": 9}, [HEAD], [{"GPU": 1, "CPU": 4}] * 2 + [{"CPU": 1}]),
        ({"gpus": 2}, [HEAD], [{"GPU": 1}] * 2),
        ({"cpus": 3}, [(2, 0)], [{"CPU": 1}] * 3),
        ({"cpus": 12, "gpus": 3, "nodes": 3}, [HEAD], [{"CPU": 4, "GPU": 1}] * 3),
        ({"nodes": 2}, [HEAD, (16, 0)], [{"CPU": 16}] * 2),
        ({"nodes": 2}, [HEAD], [{"CPU": 1}] * 2),
    ],
)
def test_what_is_expected_is_cut_into_what_nodes_must_have(
    expect: dict[str, Any], there: list[tuple[float, float]], bundles: list[dict[str, float]]
) -> None:
    asked = bundles_of(ExpectConfig(**expect), machines(*there))
    assert asked == bundles


def test_a_head_without_cpus_is_none_of_the_expected_nodes() -> None:
    expect = ExpectConfig(nodes=2, gpus=1)
    assert missing(expect, machines(HEAD, (4, 0))) == "0 of 1 GPUs, 1 of 2 nodes"
    assert missing(expect, machines(HEAD, (4, 0), (4, 1))) == ""


class Autoscaler:
    """Takes requests down, and brings a node more with each look, up to three."""

    def __init__(self, *shapes: tuple[float, float]) -> None:
        self.requests: list[dict[str, Any]] = []
        self.shapes, self.looks = shapes, 0

    def request(self, **asked: Any) -> None:
        self.requests.append(asked)

    def look(self) -> Machines:
        self.looks += 1
        return machines(*self.shapes[: self.looks])


@pytest.fixture
def autoscaler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Autoscaler]]:
    def make(*shapes: tuple[float, float]) -> Autoscaler:
        made = Autoscaler(*shapes)
        monkeypatch.setattr(autoscaling, "request_resources", made.request)
        return made

    monkeypatch.setattr(autoscaling, "SECONDS_BETWEEN_LOOKS", 0.01)
    yield make


def test_a_job_begins_when_all_has_come_and_gives_the_request_back_at_its_end(
    autoscaler: Callable[..., Autoscaler], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "fleetembed")
    monkeypatch.setattr(autoscaling, "SECONDS_BETWEEN_LINES", 0.0)
    cloud = autoscaler(HEAD, (4, 0), (4, 0))
    compute = ComputeConfig(expect=ExpectConfig(cpus=8), wait_seconds=60)
    with expected(compute, machines(HEAD), cloud.look) as came:
        assert (came.cpus, came.notices) == (8, ("told before",))
        assert cloud.requests == [{"bundles": [{"CPU": 1}] * 8}]
    assert cloud.requests[1:] == [{"num_cpus": 0}]
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "waiting at most 60 s for the nodes that compute.expect names: there are 0 of 8 CPUs"
    assert lines[1].startswith("waiting for the nodes that compute.expect names: there are 4 of 8 CPUs; ")
    assert lines[-1] == "what compute.expect names is there: 2 nodes of 4 CPUs, 1 node of 0 CPUs"


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, ValueError])
def test_the_request_is_given_back_whatever_ends_the_job(
    autoscaler: Callable[..., Autoscaler], end: type[BaseException]
) -> None:
    cloud = autoscaler((4, 0))
    compute = ComputeConfig(expect=ExpectConfig(cpus=4))
    with suppress(end), expected(compute, machines(), cloud.look):
        raise end
    assert cloud.requests[-1] == {"num_cpus": 0}

    def interrupted() -> Machines:
        raise end

    with suppress(end), expected(compute, machines(), interrupted):
        pytest.fail("it waits for nothing")
    assert cloud.requests[2:] == [{"bundles": [{"CPU": 1}] * 4}, {"num_cpus": 0}]


def test_a_signal_gives_the_request_back_before_anything_is_closed_and_only_once(
    autoscaler: Callable[..., Autoscaler],
) -> None:
    cloud = autoscaler((4, 0))
    compute = ComputeConfig(expect=ExpectConfig(cpus=4))
    with stoppable(signal.SIGTERM), expected(compute, machines(), cloud.look):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert cloud.requests[1:] == [{"num_cpus": 0}]
    assert cloud.requests[1:] == [{"num_cpus": 0}]


def test_a_cluster_that_is_gone_hides_no_error_of_the_job(
    autoscaler: Callable[..., Autoscaler], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cloud = autoscaler((4, 0))

    def refuse(**asked: Any) -> None:
        raise ConnectionError("no GCS")

    with (
        pytest.raises(ValueError, match="the job's own"),
        expected(ComputeConfig(expect=ExpectConfig(cpus=4)), machines(), cloud.look),
    ):
        monkeypatch.setattr(autoscaling, "request_resources", refuse)
        raise ValueError("the job's own")
    assert "could not be given back: no GCS" in caplog.text


def test_less_than_expected_is_used_and_told_of(autoscaler: Callable[..., Autoscaler]) -> None:
    cloud = autoscaler((4, 0))
    with expected(ComputeConfig(expect=ExpectConfig(cpus=8), wait_seconds=0), machines(), cloud.look) as came:
        assert came.notices == (
            "told before",
            "compute.expect: after 0 s there were 4 of 8 CPUs; the job goes on with 1 node of 4 CPUs",
        )


@pytest.mark.parametrize(("expect", "shape"), [({"gpus": 2}, (4, 0)), ({"cpus": 2}, HEAD)])
def test_nothing_to_run_on_is_refused(
    autoscaler: Callable[..., Autoscaler], expect: dict[str, Any], shape: tuple[float, float]
) -> None:
    cloud = autoscaler(shape)
    with (
        pytest.raises(PreflightError, match=r"after 0 s there are 0 of 2 .PUs, and nothing to run on.*wait_seconds"),
        expected(ComputeConfig(expect=ExpectConfig(**expect), wait_seconds=0), machines(), cloud.look),
    ):
        pytest.fail("there is nothing")
    assert cloud.requests[-1] == {"num_cpus": 0}


def test_a_ray_of_the_jobs_own_has_no_autoscaler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("pipelines.run.placement.plan.running_ray", lambda: None)
    job = {
        "source": {"path": "in.jsonl"},
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
        "sink": {"type": "parquet", "path": "out"},
        "compute": {"expect": {"cpus": 8}},
    }
    config = load_config(job)
    compute = config.compute
    assert not joins_cluster(compute)
    refused = pytest.raises(PreflightError, match=r"the job names none; give compute\.address")
    with refused, start_ray_engine(config):
        pytest.fail("there is none")
    with refused:
        plan_placement(config)
    # Which the run says beside other keys that are for Ray alone.
    assert plan_placement(load_config(job, ["compute.engine=local"])) == []
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert joins_cluster(compute)
    assert not joins_cluster(ComputeConfig(engine="local"))
