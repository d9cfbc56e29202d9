"""The Ray that a job runs on: joins one or starts a local one, and holds what is particular to Ray's version."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any

import ray
from ray._private import worker as ray_worker
from ray._private.node import Node as RayNode
from ray._private.resource_and_label_spec import ResourceAndLabelSpec

from embedders.retrying import Patience, retry
from pipelines.config.compute import ComputeConfig
from pipelines.errors import WorkerError
from pipelines.run.cluster.as_found import kept_process, kept_sigterm
from pipelines.run.cluster.leftovers import ray_folder
from pipelines.run.cluster.lone_ray import ended_at_once, lone, without_onlookers
from pipelines.run.phases import tell
from pipelines.run.placement.nodes import Machines, Node

log = logging.getLogger("fleetembed")

SECONDS_TO_ANSWER = 10.0
# Resources of Ray that placement has names of its own for, or does not look at.
_COUNTED = frozenset(("CPU", "GPU", "memory", "object_store_memory"))
# The folder that holds this package, and `embedders` beside it.
OUR_PACKAGES = str(Path(__file__).resolve().parents[3])
# Logical CPUs of a local Ray: below that, actors and readers have no room beside each other.
MIN_LOCAL_CPUS = 4
# How often a local Ray is started that its own limit, which no setting moves, ends before it is ready.
STARTS = 2
# On several nodes a worker may wait for a place that none of them has; on one node blocks may just be slow.
STALL_SECONDS, STALL_SECONDS_ON_ONE = 300, 1800
# How much longer than a sink tries a block again, so that its error comes first.
SECONDS_TO_FAIL = 60
SLOW_START = "Ray was waited for, and its node was not ready within the 30 s that Ray allows it"

# Held by the run that has started or joined the Ray of this process.
# Reentrant: a run whose source Ray reads has it from then on, and meets it again where its engine opens.
_connecting = threading.RLock()


class PathsOfWorkers(list[str]):
    """Folders that workers put before their own sys.path, the last one first.

    Ray adds the folder that the driver was started in, which may have a package that is called as one of ours: what it
    adds goes before, so that it counts less.
    """

    def extend(self, paths: Iterable[str]) -> None:
        """Take folders that count less than those there are."""
        self[:0] = paths


@contextmanager
def connect(compute: ComputeConfig) -> Iterator[Machines]:
    """Use the Ray that is there (this process's own, ``address``, RAY_ADDRESS), else start a local one for the job.

    A process is in one Ray at a time: where another thread's run has started or joined one, it is waited for.
    """
    with ExitStack() as held:
        held.enter_context(_turn())
        if ray.is_initialized():
            # The user's, which several runs may use at once.
            held.close()
        else:
            held.enter_context(kept_process())
            held.enter_context(_started_or_joined(compute))
        yield describe_nodes()


@contextmanager
def _turn() -> Iterator[None]:
    if not _connecting.acquire(blocking=False):
        tell("waiting for another run of this process, which has Ray to itself")
        _connecting.acquire()
    try:
        yield
    finally:
        _connecting.release()


def have_ray(compute: ComputeConfig) -> None:
    """Join or start a Ray for a user who goes on with it, if there is none: with its log, and all that watches it.

    It stays until the process ends or ``ray.shutdown()``. Another thread's run that has one to itself is waited for.
    """
    with _turn():
        if not ray.is_initialized():
            begin(_arguments(compute), onlookers=True)


@contextmanager
def _started_or_joined(compute: ComputeConfig) -> Iterator[None]:
    """Start or join a Ray for the block."""
    # Ray's core warns of every actor pool on the terminal, as if it were an error (ray-project/ray, 53727).
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Workers' own log lines would tear the progress bar; they stay in Ray's log folder.
    arguments = {**_arguments(compute), "log_to_driver": False, "logging_level": logging.ERROR}
    if arguments["address"] == "local":
        with (
            ray_folder() as folder,
            ended_at_once(),
            _connected({**arguments, "_temp_dir": folder and str(folder)}),
            lone(),
        ):
            yield
    else:
        with _connected(arguments):
            yield


def _arguments(compute: ComputeConfig) -> dict[str, Any]:
    """Say which Ray is joined, or started where there is none, as ``ray.init`` takes it; raises WorkerError."""
    packages = {"job_config": ray.job_config.JobConfig(_py_driver_sys_path=PathsOfWorkers([OUR_PACKAGES]))}
    address = compute.address or os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address and address != "local":
        if address != "auto":
            knock(address)
        tell(f"joining the Ray at {address}")
        return {"address": address, **packages}
    tell("starting Ray on this machine")
    _give_token()
    return {"address": "local", "include_dashboard": False, **local_size(compute), **packages}


def local_size(compute: ComputeConfig) -> dict[str, Any]:
    """What a local Ray is given of this machine; its GPUs Ray looks for itself."""
    cpus = compute.cpus or max(MIN_LOCAL_CPUS, os.cpu_count() or 1)
    return {"num_cpus": cpus, "object_store_memory": compute.object_store_mb << 20}


@contextmanager
def _connected(arguments: dict[str, Any]) -> Iterator[None]:
    """Start or join a Ray, if need be twice, and leave it again."""
    begin(arguments)
    # What Ray publishes of a dead node is pages of its log, on standard output.
    printed, ray_worker.print_to_stdstream = ray_worker.print_to_stdstream, _log_published
    try:
        yield
    finally:
        ray.shutdown()
        ray_worker.print_to_stdstream = printed


def begin(arguments: dict[str, Any], *, onlookers: bool = False) -> None:
    """Start or join a Ray, if need be twice; raises WorkerError.

    A local one has its agents and what brings logs of workers here with ``onlookers`` alone.
    """
    try:
        retry(
            lambda: _start(arguments, onlookers=onlookers),
            Patience(attempts=STARTS),
            passing=_is_slow_start,
            on_retry=lambda: log.warning("%s; starting it once more", SLOW_START),
        )
    # Ray raises bare Exceptions here, of a node that did not start in time for instance.
    except Exception as error:
        raise WorkerError(_why_not_started(error, arguments["address"])) from error


def _log_published(data: dict[str, Any], ignore_prefix: bool) -> None:
    for line in data["lines"]:
        log.debug("Ray: %s", line)


def _start(arguments: dict[str, Any], *, onlookers: bool) -> None:
    """Start or join a Ray; what of a node was started before a failure is ended."""
    alone = arguments["address"] == "local" and not onlookers
    try:
        with _muted_core(), kept_sigterm(), without_onlookers() if alone else nullcontext():
            ray.init(**arguments)
    except Exception as error:
        node = _half_started(error)
        if node is not None:
            node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        raise


def _half_started(error: Exception) -> Any:
    """Find the node whose constructor raised: Ray keeps no other reference to it, and its processes run on."""
    trace = error.__traceback__
    while trace is not None:
        found = trace.tb_frame.f_locals.get("self")
        if isinstance(found, RayNode) and found.head:
            return found
        trace = trace.tb_next
    return None


def _is_slow_start(error: BaseException) -> bool:
    return "timed out during startup" in str(error)


def _is_token_refused(error: BaseException | None) -> bool:
    """Whether a Ray asks for a token that this process lacks, or has another of; the cause alone may say so."""
    while error is not None:
        if "InvalidAuthToken" in str(error):
            return True
        error = error.__cause__
    return False


def _why_not_started(error: Exception, address: str) -> str:
    if _is_slow_start(error):
        return (
            f"{SLOW_START}, {STARTS} times in a row: this machine is busy or short of memory. Try again when it is "
            "quieter, give the address of a running Ray as compute.address, or do without Ray (compute.engine: local)"
        )
    if _is_token_refused(error):
        return (
            f"the Ray at {address} is protected by a token, and this process has none, or another one: set "
            "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file with the cluster's token (or RAY_AUTH_TOKEN to the "
            "token itself)"
        )
    if isinstance(error, ray.exceptions.AuthenticationError):
        return f"Ray could not be started or joined: {error.message}"
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return (
        f"Ray could not be started or joined: {first}; this machine may be busy or short of memory: try again, or "
        "give the address of a running Ray as compute.address"
    )


def knock(address: str) -> None:
    """Find out in seconds that nothing listens at an address; Ray itself would try for many minutes."""
    if address.startswith(("http://", "https://")):
        raise WorkerError(
            f"{address} is the address that jobs are submitted to (RAY_API_SERVER_ADDRESS), not that of a Ray to join: "
            "write HOST:6379 as compute.address or RAY_ADDRESS, or leave them out, as in a job that is submitted"
        )
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_ANSWER).close()
    except (OSError, ValueError) as error:
        raise WorkerError(
            f"no Ray answers at {address} ({error}); start one there, or leave out compute.address and RAY_ADDRESS to "
            "run on this machine"
        ) from None


def _give_token() -> None:
    """Make the token of a local Ray, where there is no home folder in which Ray could keep one of its own."""
    if any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE")):
        return
    with suppress(RuntimeError, OSError):
        home = Path.home()
        if (home / ".ray" / "auth_token").exists() or os.access(home, os.W_OK):
            return
    os.environ["RAY_AUTH_TOKEN"] = _token()


@cache
def _token() -> str:
    """Make this process's token: Ray's core keeps the first one that it was given."""
    return secrets.token_hex(32)


@contextmanager
def _muted_core() -> Iterator[None]:
    """Keep Ray's C++ core from announcing on standard error that its log level is set; exceptions go on as ever."""
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def describe_nodes() -> Machines:
    """Look at the nodes that are alive in the Ray that this process is connected to."""
    here: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return Machines(tuple(_node(found, here) for found in _nodes() if found["Alive"]))


def describe_local(compute: ComputeConfig) -> Machines:
    """Describe the one node that a local Ray would have, without starting it."""
    here = "127.0.0.1"
    # The same that Ray's own start does.
    spec: Any = ResourceAndLabelSpec(**local_size(compute)).resolve(is_head=True, node_ip_address=here)
    about = {"NodeID": "", "NodeManagerAddress": here, "Labels": spec.labels, "Resources": spec.to_resource_dict()}
    return Machines((_node(about, here),))


def _node(found: dict[str, Any], here: str) -> Node:
    resources = found["Resources"]
    cpus, address = resources.get("CPU", 0.0), found["NodeManagerAddress"]
    # A local Ray may be told of more CPUs than there are cores; threads must go by the cores.
    cores = min(int(cpus), os.cpu_count() or 1) if address == here else int(cpus)
    return Node(
        id=found["NodeID"],
        cpus=cpus,
        gpus=resources.get("GPU", 0.0),
        cores=max(1, cores) if cpus else 0,
        labels=found.get("Labels") or {},
        resources={name: amount for name, amount in resources.items() if name not in _COUNTED},
        address=address,
        memory=resources.get("memory", 0.0),
    )


def _nodes() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return found


def stall_seconds(compute: ComputeConfig, retry_seconds: float) -> float:
    """Seconds without a block that moves, after which a job is given up.

    A sink that is away has ``retry_seconds``, after which it fails the job, and says what is wrong.
    """
    if compute.stall_seconds is not None:
        return compute.stall_seconds
    seconds = STALL_SECONDS if sum(node["Alive"] for node in _nodes()) > 1 else STALL_SECONDS_ON_ONE
    return max(seconds, retry_seconds + SECONDS_TO_FAIL)
