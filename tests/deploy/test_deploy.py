"""What is in deploy/ and the Dockerfile, as far as it can be checked without a cluster and without Docker."""

from __future__ import annotations

import ast
import fnmatch
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from ray.autoscaler._private.util import prepare_config, validate_config

from pipelines.config.file import load_config
from pipelines.run.cluster.metrics import COUNTERS, GAUGES
from pipelines.run.placement.nodes import Machines, Node
from pipelines.run.placement.pools import place_pools
from tests.conftest import ROOT
from tests.deploy.dockerfile import build, instructions
from tests.waiting import SECONDS

DEPLOY = ROOT / "deploy"
MARKET = "ray.io/market-type"
KUBERAY = DEPLOY / "kuberay"
# The fields of KubeRay's API reference, ray.io/v1.
JOB_FIELDS = {
    *("entrypoint", "entrypointNumCpus", "entrypointNumGpus", "entrypointResources", "runtimeEnvYAML", "jobId"),
    *("submissionMode", "submitterPodTemplate", "submitterConfig", "metadata", "managedBy", "suspend", "backoffLimit"),
    *("activeDeadlineSeconds", "preRunningDeadlineSeconds", "ttlSecondsAfterFinished", "shutdownAfterJobFinishes"),
    *("deletionStrategy", "clusterSelector", "rayClusterSpec"),
}
CLUSTER_FIELDS = {
    *("rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec"),
    *("workerGroupSpecs", "gcsFaultToleranceOptions", "headServiceAnnotations", "managedBy", "suspend"),
}
# KubeRay 1.6, the first that has it.
CRON_JOB_FIELDS = {"schedule", "jobTemplate", "suspend"}
GROUP_FIELDS = {"rayStartParams", "labels", "resources", "template"}
WORKER_FIELDS = GROUP_FIELDS | {
    "groupName",
    "replicas",
    "minReplicas",
    "maxReplicas",
    "idleTimeoutSeconds",
    "numOfHosts",
}


def job_spec(name: str) -> dict[str, Any]:
    """The RayJob's specification in a file of deploy/kuberay."""
    found: dict[str, Any] = yaml.safe_load((KUBERAY / name).read_text())
    assert found["apiVersion"] == "ray.io/v1"
    spec: dict[str, Any] = found["spec"] if found["kind"] == "RayJob" else found["spec"]["jobTemplate"]
    return spec


def groups(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The head's group and the workers'."""
    return [spec["rayClusterSpec"]["headGroupSpec"], *spec["rayClusterSpec"]["workerGroupSpecs"]]


def configs() -> Iterator[tuple[str, str]]:
    """Jobs' configurations in ConfigMaps: the map's name and the YAML."""
    for path in sorted(KUBERAY.glob("*.yaml")):
        for found in yaml.safe_load_all(path.read_text()):
            if found and found["kind"] == "ConfigMap":
                yield from ((found["metadata"]["name"], text) for text in found["data"].values())


@pytest.mark.parametrize("name", ["rayjob.yaml", "raycronjob.yaml"])
def test_ray_jobs_have_only_fields_that_kuberay_knows(name: str) -> None:
    spec = job_spec(name)
    assert spec.keys() <= JOB_FIELDS and spec["rayClusterSpec"].keys() <= CLUSTER_FIELDS
    head, *workers = groups(spec)
    assert head.keys() <= GROUP_FIELDS
    for worker in workers:
        assert worker.keys() <= WORKER_FIELDS
        assert worker["minReplicas"] <= worker["replicas"] <= worker["maxReplicas"]
    # The start command is made of strings.
    assert all(isinstance(value, str) for group in groups(spec) for value in group["rayStartParams"].values())


@pytest.mark.parametrize("name", ["rayjob.yaml", "raycronjob.yaml"])
def test_pods_are_what_kubernetes_takes(name: str) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="needs: pip install kubernetes-validate")
    for group in groups(job_spec(name)):
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": group["template"]}
        validator.validate(pod, "1.34", strict=True)


def test_the_nightly_job_is_the_single_one_and_each_run_has_a_name_of_its_own() -> None:
    single, nightly = (yaml.safe_load((KUBERAY / name).read_text()) for name in ("rayjob.yaml", "raycronjob.yaml"))
    assert (single["kind"], nightly["kind"]) == ("RayJob", "RayCronJob")
    assert single["metadata"] == {"generateName": f"{nightly['metadata']['name']}-"}
    assert nightly["spec"].keys() <= CRON_JOB_FIELDS
    assert job_spec("raycronjob.yaml") == job_spec("rayjob.yaml")


def test_pods_hold_their_object_store_in_memory_and_their_secrets_outside_of_the_files() -> None:
    for group in groups(job_spec("rayjob.yaml")):
        pod = group["template"]["spec"]
        shared = next(volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "shm")
        store = int(group["rayStartParams"]["object-store-memory"])
        size = int(shared["sizeLimit"].removesuffix("Mi")) << 20
        assert shared["medium"] == "Memory" and store < size
        memory = int(pod["containers"][0]["resources"]["limits"]["memory"].removesuffix("Gi")) << 30
        assert size < memory / 3
        assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "fleetembed"}}]
        assert pod["terminationGracePeriodSeconds"] == 60


def test_the_head_holds_no_cpu_and_gives_a_stopped_job_its_minute() -> None:
    head = job_spec("rayjob.yaml")["rayClusterSpec"]["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    (container,) = head["template"]["spec"]["containers"]
    assert {"name": "RAY_JOB_STOP_WAIT_TIME_S", "value": "60"} in container["env"]


def test_the_jobs_entry_point_reads_the_mounted_configuration() -> None:
    spec = job_spec("rayjob.yaml")
    pod = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    folder = next(m["mountPath"] for m in pod["containers"][0]["volumeMounts"] if m["name"] == "config")
    named = next(volume["configMap"]["name"] for volume in pod["volumes"] if volume["name"] == "config")
    files = [file for document in yaml.safe_load_all((KUBERAY / "job-config.yaml").read_text()) if document
             for file in document["data"] if document["metadata"]["name"] == named]  # fmt: skip
    assert spec["entrypoint"].endswith(f"--config {folder}/{files[0]}")


@pytest.mark.parametrize(("name", "text"), list(configs()))
def test_jobs_in_config_maps_are_valid_and_write_nothing_to_a_pods_disk(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    job = load_config(yaml.safe_load(text))
    places = [job.source.path, job.dead_letters, job.report, *(sink.place for sink in job.sink)]
    assert all("://" in str(place) for place in places), places
    assert "secret" not in text


def test_the_kuberay_job_is_placed_also_where_a_spot_node_did_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    ((_, text),) = configs()
    job = load_config(yaml.safe_load(text))
    spot = [Node(f"spot-{number}", cpus=8, gpus=1, cores=8, labels={MARKET: "spot"}) for number in range(3)]
    machines = Machines((Node("cpu", cpus=4, cores=4, labels={MARKET: "on-demand"}), *spot))
    sizes = {pool.name: pool.resources for pool in place_pools(job, machines)}
    assert (sizes["dense"].workers, sizes["dense"].gpus) == (3, 1)
    assert sizes["bm25"].label_selector == {MARKET: "!spot"}


def test_the_launchers_cluster_is_what_ray_takes() -> None:
    cluster = yaml.safe_load((DEPLOY / "ray-up" / "cluster.yaml").read_text())
    prepared = prepare_config(cluster)
    validate_config(prepared)
    assert prepared["head_node_type"] in prepared["available_node_types"]
    assert prepared["available_node_types"]["gpu"]["labels"] == {"ray.io/market-type": "spot"}


def test_the_launchers_head_can_start_the_workers_from_its_container() -> None:
    docker = yaml.safe_load((DEPLOY / "ray-up" / "cluster.yaml").read_text())["docker"]
    assert docker["head_image"] == docker["worker_image"] + "-aws"
    installed = next(one.rest for one in DOCKERFILE if "apt-get install" in one.rest)
    assert {"openssh-client", "rsync"} <= set(installed.split())


def test_the_images_that_deploy_names_are_builds_with_extras_that_the_locks_hold() -> None:
    files = [path.read_text() for path in DEPLOY.rglob("*.yaml")]
    extras = set(re.findall(r"fleetembed:[\d.]+-(\w+)", "".join(files)))
    requirements = [Requirement(text) for text in metadata.requires("fleetembed") or ()]
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert extras == {"gpu", "aws"}
    for extra in extras:
        added = [one for one in requirements if one.marker and f'extra == "{extra}"' in str(one.marker)]
        assert added and {one.name for one in added} <= locked


def test_the_airflow_file_is_python_and_the_cron_line_keeps_one_run_at_a_time() -> None:
    ast.parse((DEPLOY / "airflow" / "fleetembed_dag.py").read_text())
    lines = (DEPLOY / "cron" / "fleetembed.cron").read_text().splitlines()
    jobs = [line for line in lines if re.match(r"[\d*]", line)]
    assert len(jobs) == 1 and "flock --nonblock" in jobs[0] and "fleetembed embed --config /" in jobs[0]


def test_the_cron_line_joins_the_cluster_of_its_machine() -> None:
    lines = (DEPLOY / "cron" / "fleetembed.cron").read_text().splitlines()
    assert "RAY_ADDRESS=auto" in lines


DASHBOARD = json.loads((DEPLOY / "grafana" / "fleetembed.json").read_text())
ALERTS = re.findall(r"^ +expr: (.+)$", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)


def expressions() -> list[str]:
    """All queries of the dashboard."""
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def test_the_dashboard_asks_for_all_metrics_and_for_no_others() -> None:
    asked = set(re.findall(r"ray_fleetembed_\w+", json.dumps(DASHBOARD)))
    assert asked == {f"ray_{name}" for name in (*COUNTERS, *GAUGES)}


def test_queries_are_balanced_and_counters_are_only_seen_as_rates_or_shares_or_by_run() -> None:
    assert ALERTS
    for query in [*expressions(), *ALERTS]:
        for opening, closing in ("()", "{}", "[]"):
            assert query.count(opening) == query.count(closing), query
        assert query.count('"') % 2 == 0, query
        # A counter by itself starts anew with each run. Of events that come once, rate and increase see nothing: Ray
        # exports no counter before its first figure.
        if "dead_rows_total" in query or "retries_total" in query:
            assert not re.search(r"(rate|increase)\(", query), query
        elif "_total" in query and "documents_total" not in query:
            assert re.search(r"rate\(ray_fleetembed", query), query


def test_the_dashboards_queries_and_the_documented_alert_are_promql() -> None:
    parser = pytest.importorskip("promql_parser", reason="needs: pip install promql-parser")
    for query in [*expressions(), *ALERTS]:
        parser.parse(query.replace("$__rate_interval", "5m").replace("$__range", "1d").replace("$corpus", ".*"))


def test_the_dashboards_panels_stand_beside_one_another_and_use_the_chosen_datasource() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource" and variables["datasource"]["query"] == "prometheus"
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        taken = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not cells & taken and max(x for x, _ in taken) < 24, panel["title"]
        cells |= taken
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


DOCKERFILE = instructions((ROOT / "Dockerfile").read_text())


def test_the_image_runs_as_a_user_without_an_entry_point_and_takes_all_from_the_checkout() -> None:
    last = [one for one in DOCKERFILE if one.stage == 1]
    assert [one.rest for one in last if one.name == "USER"] == ["1000:100"]
    assert not [one for one in DOCKERFILE if one.name == "ENTRYPOINT"]
    assert all(one.rest.startswith("--from=build ") for one in last if one.name == "COPY")
    copied = [source for one in DOCKERFILE if one.name == "COPY" and one.stage == 0 for source in one.rest.split()[:-1]]
    assert all((ROOT / source).exists() for source in copied)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert all(f"!{source}" in ignored for source in copied)


def test_the_image_installs_nothing_whose_hash_is_in_no_lock() -> None:
    (install,) = (one.rest for one in DOCKERFILE if one.name == "RUN" and "-r pyproject.toml" in one.rest)
    locks = re.findall(r"--constraint (\S+)", install)
    assert "--require-hashes" in install and locks == ["requirements.lock", "deploy/gpu.lock"]
    pinned = [re.findall(r"^([\w.-]+)==", (ROOT / lock).read_text(), re.MULTILINE) for lock in locks]
    assert not set(pinned[0]) & set(pinned[1])
    assert all(fnmatch.fnmatch(name, "nvidia-*") for name in pinned[1])


@pytest.mark.slow
def test_the_images_wheel_is_built_and_installed_by_what_has_a_hash(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "probe")], check=True, timeout=SECONDS)
    probe = [str(tmp_path / "probe" / "bin" / "pip"), "download", "--quiet", "--no-deps", "iniconfig"]
    if subprocess.run(probe, cwd=tmp_path, capture_output=True, timeout=SECONDS).returncode:
        pytest.skip("needs a package index")
    (dependencies,) = (one.rest for one in DOCKERFILE if one.name == "RUN" and "-r pyproject.toml" in one.rest)
    build(tmp_path / "image", {}, left_out=[dependencies])
    environment = tmp_path / "image" / "opt" / "fleetembed"
    asked = [
        str(environment / "bin" / "python"),
        "-c",
        "from importlib import metadata as m; print(m.version('fleetembed'))",
    ]
    told = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == metadata.version("fleetembed")
    assert (environment / "bin" / "fleetembed").exists()
    assert list((tmp_path / "image" / "jobs" / "__pycache__").glob("embed_corpus.*.pyc"))


def test_no_file_of_a_model_is_in_the_packages_that_the_image_takes() -> None:
    for folder in ("embedders", "fleetembed", "pipelines", "jobs"):
        assert not [path for path in Path(ROOT / folder).rglob("*") if path.suffix in (".onnx", ".safetensors")]
