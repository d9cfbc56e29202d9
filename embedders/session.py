"""ONNX Runtime session: a loaded graph, on the execution providers that its settings choose."""

from __future__ import annotations

import ctypes
import gc
import logging
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from embedders.cuda_libraries import cuda_driver, load_cuda_libraries
from embedders.device.on_device import OnDevice
from embedders.errors import DeviceError, ModelFilesError, UnknownProviderError
from embedders.fusion.load import FusedFor, fused_graph
from embedders.graph_session import GraphSession, Port, refuse_missing
from embedders.session_settings import CPU, CUDA, NVIDIA_PROVIDERS, OnnxProvider, SessionSettings

logger = logging.getLogger(__name__)

# Warnings are about graph rewrites and about hardware probed at start, nothing a user can act on; errors stay.
ORT_LOG_ERRORS = 3


class ReopenError(RuntimeError):
    """A graph that was loaded cannot be loaded again, as for want of memory.

    No FleetembedError, which would tell that the model as a whole is wrong: a later call may load it.
    """


class _Loaded:
    """A session of ONNX Runtime that can be closed, and is opened again when it is asked for; for all threads.

    Apart from OnnxSession, so that nothing refers to itself: a model that is dropped gives its memory back at once.
    """

    def __init__(self, path: Path, settings: SessionSettings) -> None:
        self._path, self._settings, self._lock = path, settings, Lock()
        session = open_session(path, settings)
        self._session: ort.InferenceSession | None = session
        self.providers: list[str] = list(session.get_providers())

    def session(self) -> ort.InferenceSession:
        """The session; raises ReopenError where it was closed and cannot be opened again as it was."""
        with self._lock:
            if self._session is None:
                try:
                    session = open_session(self._path, self._settings)
                except Exception as error:
                    raise ReopenError(f"{self._path} was loaded, and cannot be loaded again: {error}") from error
                if session.get_providers() != self.providers:
                    raise ReopenError(f"{self._path} ran on {_names(self.providers)}, which did not start again")
                self._session = session
            return self._session

    def close(self) -> None:
        with self._lock:
            self._session = None
            gc.collect()


class OnnxSession(GraphSession):
    """A graph loaded by ONNX Runtime."""

    def __init__(self, path: Path, settings: SessionSettings) -> None:
        refuse_missing(path)
        self._loaded = _Loaded(path, settings)
        self._on_device = OnDevice(self._loaded.session, threads=settings.effective_threads)
        session = self._loaded.session()
        super().__init__(path, map(_port, session.get_inputs()), map(_port, session.get_outputs()))

    def reopen(self) -> None:
        """Load the graph again, so that the memory that the session's arena keeps is given back first.

        Raises ReopenError where that fails; the next call tries again.
        """
        self._on_device.forget_reducers()
        self._loaded.close()
        self._loaded.session()

    @property
    def on_device(self) -> OnDevice:
        """What leaves outputs where they were computed, the same one as long as this session is there."""
        return self._on_device

    @property
    def providers(self) -> list[str]:
        """Execution providers that really serve this session, first choice first."""
        return list(self._loaded.providers)

    @property
    def on_gpu(self) -> bool:
        """Whether an NVIDIA GPU runs the graph."""
        return self._loaded.providers[0] in NVIDIA_PROVIDERS

    def run_outputs(self, outputs: Sequence[str], feed: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Run the graph once for some outputs; inputs in ``feed`` that the graph does not take are ignored.

        ONNX Runtime computes the others too (1.31 has no way around it), but neither keeps nor copies them. What the
        graph gives in float16 becomes float32, since vectors are pooled and scaled in that.
        """
        results = (np.asarray(result) for result in self._loaded.session().run(list(outputs), self.known(feed)))
        return [result.astype(np.float32) if result.dtype == np.float16 else result for result in results]


def _port(node: Any) -> Port:
    return Port(str(node.name), tuple(node.shape))


def open_session(path: Path, settings: SessionSettings) -> ort.InferenceSession:
    """Load a graph; raises DeviceError or ModelFilesError.

    Warns (RuntimeWarning) of ``providers`` that did not start: ONNX Runtime takes the CPU in their place.
    """
    wanted = choose_providers(settings)
    session = _start(path, settings, wanted)
    missing = [name for name, _ in wanted if name not in session.get_providers()]
    if missing and settings.insists_on_cuda:
        raise DeviceError(f"{_names(missing)} did not start for {path}; is the libraries' version right? {_GPU_HINT}")
    if missing and settings.providers is not None:
        _warn_of_cpu(f"{_names(missing)} did not start for {path}")
    elif missing:
        logger.warning("%s did not start, %s runs on the CPU. %s", _names(missing), path, _GPU_HINT)
    if wanted[0][0] in missing:
        # What it was given was fused for another device.
        del session
        session = _start(path, settings, [one for one in wanted if one[0] not in missing] or [(CPU, {})])
    return session


def _start(path: Path, settings: SessionSettings, wanted: list[tuple[str, dict[str, Any]]]) -> ort.InferenceSession:
    """Load a graph, fused for the first of some providers; ONNX Runtime leaves out those that do not start."""
    if any(name in NVIDIA_PROVIDERS for name, _ in wanted):
        load_cuda_libraries()
    ort.set_default_logger_severity(ORT_LOG_ERRORS)
    options = _session_options(settings)
    model = _fused(path, settings, wanted[0][0]) or str(path)
    if isinstance(model, bytes):
        # Where weights in files of their own are.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    try:
        return ort.InferenceSession(model, sess_options=options, providers=wanted)
    except Exception as error:
        # ONNX Runtime's exceptions have no common base class.
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise ModelFilesError(f"ONNX Runtime cannot load {path}: {error}") from error


def _fused(path: Path, settings: SessionSettings, provider: str) -> bytes | None:
    """The graph with fused attention, None where it stays as it is: also for who chooses the optimizations."""
    kind = {CPU: FusedFor.CPU, CUDA: FusedFor.GPU}.get(provider)
    if kind is None or "graph_optimization_level" in settings.session_options:
        return None
    return fused_graph(path, kind)


def _session_options(settings: SessionSettings) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Given explicitly: by default ONNX Runtime pins its threads to cores, the same ones in every process.
    options.intra_op_num_threads = settings.effective_threads
    options.inter_op_num_threads = 1
    # A pattern plans memory for one exact input shape and is kept for ever; nearly every batch has another shape.
    options.enable_mem_pattern = False
    options.log_severity_level = ORT_LOG_ERRORS
    for name, value in settings.session_options.items():
        if not hasattr(options, name):
            raise ValueError(f"session_options: onnxruntime.SessionOptions has no attribute {name!r}")
        setattr(options, name, value)
    config = {"session.intra_op.allow_spinning": str(int(settings.allow_spinning)), **settings.session_config}
    for name, value in config.items():
        options.add_session_config_entry(name, value)
    return options


_GPU_HINT = (
    'A GPU needs the NVIDIA driver and, for its libraries, pip install "fleetembed[gpu]"; cuda=False runs on the CPU.'
)


def choose_providers(settings: SessionSettings) -> list[tuple[str, dict[str, Any]]]:
    """Execution providers with their options, first choice first.

    Raises DeviceError for a provider this ONNX Runtime does not have, and for a GPU that ``cuda`` insists on and this
    machine does not have.
    """
    available = ort.get_available_providers()
    if settings.providers is not None:
        return _given_providers(settings, settings.providers, available)
    if settings.insists_on_cuda:
        _check_cuda(settings.device_id, available)
    elif settings.cuda != "auto" or not cuda_devices():
        return [(CPU, {})]
    elif CUDA not in available:
        logger.warning("A GPU is there, but this ONNX Runtime cannot use it. %s", _GPU_HINT)
        return [(CPU, {})]
    # Batches differ in shape: growing by powers of two, the default, would take up to twice the memory they need.
    # In float16 SkipLayerNormalization would sum in float16, but for its strict mode.
    options: dict[str, Any] = {
        "arena_extend_strategy": "kSameAsRequested",
        "enable_skip_layer_norm_strict_mode": "1",
        **settings.provider_options,
    }
    if settings.device_id is not None:
        options["device_id"] = settings.device_id
    if settings.use_tf32 is not None:
        options["use_tf32"] = str(int(settings.use_tf32))
    return [(CUDA, options), (CPU, {})]


def _given_providers(
    settings: SessionSettings, providers: Sequence[OnnxProvider], available: Sequence[str]
) -> list[tuple[str, dict[str, Any]]]:
    """The providers a user named, without NVIDIA's where no CUDA device is; the CPU where none is left."""
    if settings.asks_for_cuda:
        warnings.warn(
            f"cuda={settings.cuda!r} and providers both choose the device: providers are taken",
            UserWarning,
            stacklevel=2,
        )
    chosen = [(item, {}) if isinstance(item, str) else (item[0], dict(item[1])) for item in providers]
    unknown = [name for name, _ in chosen if name not in available]
    if unknown:
        raise UnknownProviderError(f"this ONNX Runtime has no {_names(unknown)}; it has {_names(available)}")
    nvidia = [name for name, _ in chosen if name in NVIDIA_PROVIDERS]
    if settings.device_id is not None:
        place = {"device_id": settings.device_id}
        chosen = [(name, {**place, **options} if name in NVIDIA_PROVIDERS else options) for name, options in chosen]
    if not nvidia or cuda_devices():
        return chosen
    _warn_of_cpu(f"{_names(nvidia)} cannot start: no CUDA device is there")
    return [item for item in chosen if item[0] not in NVIDIA_PROVIDERS] or [(CPU, {})]


def _warn_of_cpu(what: str) -> None:
    warnings.warn(f"{what}; the model runs without. {_GPU_HINT}", RuntimeWarning, stacklevel=2)


def _check_cuda(device_id: int | None, available: Sequence[str]) -> None:
    if CUDA not in available:
        raise DeviceError(f"CUDA was asked for, but this ONNX Runtime has only {_names(available)}. {_GPU_HINT}")
    count = cuda_devices()
    if (device_id or 0) >= count:
        raise DeviceError(f"CUDA device {device_id or 0} was asked for, but this machine has {count}. {_GPU_HINT}")


def _names(providers: Sequence[str]) -> str:
    return ", ".join(providers)


@cache
def cuda_devices() -> int:
    """Number of CUDA devices the NVIDIA driver shows this process; 0 without a driver.

    ONNX Runtime's list of providers says what it was built with, not what the machine has.
    """
    driver, count = cuda_driver(), ctypes.c_int(0)
    if driver is None or driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
