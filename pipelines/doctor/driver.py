"""The NVIDIA driver and its cards, asked through the driver's own library."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path

from embedders.cuda_libraries import cuda_driver
from embedders.device.memory import free_memory

NVIDIA = "0x10de"
# Classes of PCI devices: displays and 3D controllers.
DISPLAY = "0x03"
MAJOR, MINOR = 75, 76
NAME_BYTES = 256
# Tensor cores for float16 came with 7.0, for bfloat16 and TF32 with 8.0.
FLOAT16, BFLOAT16 = (7, 0), (8, 0)


@dataclass(frozen=True)
class Card:
    """A card as the driver shows it to this process: memory in bytes, ``free`` None where the driver does not tell."""

    name: str
    capability: tuple[int, int]
    memory: int
    free: int | None


@dataclass(frozen=True)
class Driver:
    """A driver that answers: its own version, the CUDA version that it goes up to, its cards."""

    version: str | None
    cuda: tuple[int, int]
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Graphics:
    """``driver`` is None where none answers, and ``problem`` tells why; ``on_bus`` NVIDIA cards are in the machine."""

    driver: Driver | None
    problem: str | None
    on_bus: int


def look_at_graphics() -> Graphics:
    """Ask the driver, and count the cards on the PCI bus."""
    on_bus = _cards_on_bus(Path("/sys/bus/pci/devices"))
    library = cuda_driver()
    if library is None:
        return Graphics(None, "the driver's library (libcuda.so.1) is not there", on_bus)
    code = library.cuInit(0)
    # CUDA_ERROR_NO_DEVICE: a driver that has nothing to drive, or is let see nothing.
    if code not in (0, 100):
        return Graphics(None, f"the driver does not start (cuInit gives error {code})", on_bus)
    number = ctypes.c_int(0)
    library.cuDriverGetVersion(ctypes.byref(number))
    cuda = (number.value // 1000, number.value % 1000 // 10)
    count = ctypes.c_int(0)
    if code == 0:
        library.cuDeviceGetCount(ctypes.byref(count))
    cards = tuple(_card(library, index) for index in range(count.value))
    return Graphics(Driver(_version(Path("/proc/driver/nvidia/version")), cuda, cards), None, on_bus)


def _card(library: ctypes.CDLL, index: int) -> Card:
    device, name, memory = ctypes.c_int(0), ctypes.create_string_buffer(NAME_BYTES), ctypes.c_size_t(0)
    library.cuDeviceGet(ctypes.byref(device), index)
    library.cuDeviceGetName(name, NAME_BYTES, device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    parts = []
    for attribute in (MAJOR, MINOR):
        value = ctypes.c_int(0)
        library.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        parts.append(value.value)
    return Card(name.value.decode(errors="replace"), (parts[0], parts[1]), memory.value, free_memory(index))


def _version(path: Path) -> str | None:
    try:
        found = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return found[1] if found else None


def _cards_on_bus(devices: Path) -> int:
    def read(path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    found = devices.iterdir() if devices.is_dir() else ()
    return sum(read(one / "vendor") == NVIDIA and read(one / "class").startswith(DISPLAY) for one in found)
