"""How many tokens a model call may hold: by the memory that is free on the card, and by what did not fit."""

from __future__ import annotations

import ctypes
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from embedders.cuda_libraries import cuda_driver

logger = logging.getLogger(__name__)

# Share of the free memory that the activations of one call may take: arenas grow in steps, and other sessions of the
# card, cuBLAS and cuDNN take theirs.
SHARE = 0.25
FLOAT32 = 4
MIN_CELLS = 1
# What ONNX Runtime, CUDA and its libraries say when memory is out.
OUT_OF_MEMORY = (
    "failed to allocate memory",
    "out of memory",
    "available memory of",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cuda_error_out_of_memory",
    "cudaerrormemoryallocation",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ONNX Runtime raised this because a device's memory is out."""
    if isinstance(error, MemoryError):
        return True
    # ONNX Runtime's exceptions have no common base class; what raises while it copies to a device is a RuntimeError.
    is_its_own = type(error) is RuntimeError or type(error).__module__.startswith("onnxruntime")
    return is_its_own and any(words in str(error).lower() for words in OUT_OF_MEMORY)


@dataclass(frozen=True)
class Activations:
    """Memory that a network's activations take, estimated from its sizes.

    ``hidden`` and ``inner`` are numbers of a token between and within layers, ``heads`` those of one layer, whose
    scores (heads x tokens x tokens) count as matrices in memory, which fused attention in float16 has not; ``output``
    is the numbers of a token in the graph's output.
    """

    hidden: int
    inner: int
    heads: int
    output: int

    def bytes_a_token(self, length: int) -> int:
        """Bytes of one token in a text of so many: the widest layer and the output, of which a copy is reduced."""
        # Query, key, value, context and two residuals; the inner layer and what its activation makes of it; scores
        # and their softmax.
        layer = 6 * self.hidden + 2 * self.inner + 2 * self.heads * length
        return FLOAT32 * (layer + 3 * self.output)

    @classmethod
    def of_folder(cls, folder: Path, output: int) -> Activations:
        """Read the sizes from a model's config.json; those it lacks are those of a BERT with such an output."""
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            config = {}
        config = config if isinstance(config, dict) else {}

        def size(*names: str, default: int) -> int:
            found = [config[name] for name in names if type(config.get(name)) is int and config[name] > 0]
            return int(found[0]) if found else default

        hidden = size("hidden_size", "dim", "n_embd", "d_model", default=min(output, 1024))
        inner = size("intermediate_size", "hidden_dim", "n_inner", "d_ff", default=4 * hidden)
        return cls(hidden, inner, size("num_attention_heads", "n_heads", "n_head", default=12), output)


class TokenBudget:
    """Tokens, padding included, that one model call may hold.

    ``most`` is the configured number. With ``activations`` and the ``free`` bytes of a card that ``sessions`` share, a
    quarter of them bounds it too. ``halve`` lowers it for ever, with one line in the log, which names ``model``;
    ``halved`` tells that it did.
    """

    def __init__(
        self,
        most: int,
        *,
        model: str,
        activations: Activations | None = None,
        free: int | None = None,
        sessions: int = 1,
    ) -> None:
        self.most, self._model = most, model
        self._activations, self._room = activations, None if free is None else SHARE * free / sessions
        self.halved, self._lock = False, Lock()

    def at(self, length: int) -> int:
        """Tokens of a call whose longest text has so many."""
        if self._activations is None or self._room is None:
            return self.most
        return max(MIN_CELLS, min(self.most, int(self._room / self._activations.bytes_a_token(length))))

    def halve(self, rows: int, length: int) -> None:
        """Note that a call of so many rows and tokens was too large: none gets more than half of it.

        Half of the memory that it was estimated to take, where that is known: shorter texts take less.
        """
        cells = rows * length
        with self._lock:
            if self._activations is None:
                self.most = max(MIN_CELLS, min(self.most, cells // 2))
            else:
                taken = cells * self._activations.bytes_a_token(length) / 2
                self._room = taken if self._room is None else min(self._room, taken)
            if not self.halved:
                self.halved = True
                logger.warning(
                    "%s: %d tokens of a model call do not fit the device's memory; calls get half of that from now on, "
                    "and less where it has to be (token_budget sets it)",
                    self._model,
                    cells,
                )


def free_memory(device_id: int = 0) -> int | None:
    """Bytes that are free on a CUDA device; None where the driver does not tell.

    Asked through the device's primary context, which ONNX Runtime uses too.
    """
    driver = cuda_driver()
    if driver is None:
        return None
    try:
        device, context = ctypes.c_int(0), ctypes.c_void_p()
        free, total = ctypes.c_size_t(0), ctypes.c_size_t(0)
        if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), device_id):
            return None
        if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
            return None
        try:
            if driver.cuCtxPushCurrent_v2(context):
                return None
            failed = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
            driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
        finally:
            driver.cuDevicePrimaryCtxRelease_v2(device)
    except AttributeError:
        return None
    return None if failed else free.value
