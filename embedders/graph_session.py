"""What a loaded graph answers and does, whichever runtime holds it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from embedders.errors import ModelFilesError

if TYPE_CHECKING:
    from embedders.device.on_device import OnDevice


@dataclass(frozen=True)
class Port:
    """An input or output of a graph: its name, its shape (a name or None for what the graph leaves open).

    ``aliases`` are further names of the same tensor.
    """

    name: str
    shape: tuple[int | str | None, ...]
    aliases: frozenset[str] = frozenset()

    def is_named(self, name: object) -> bool:
        """Whether this is one of its names."""
        return name == self.name or name in self.aliases


class GraphSession(ABC):
    """A loaded graph. ``path`` is its file, ``inputs`` are the names of its inputs."""

    def __init__(self, path: Path, inputs: Iterable[Port], outputs: Iterable[Port]) -> None:
        self.path = path
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self.inputs = frozenset(port.name for port in self._inputs)

    @property
    @abstractmethod
    def providers(self) -> list[str]:
        """What really runs the graph, first choice first."""

    @property
    def on_device(self) -> OnDevice | None:
        """What leaves outputs where they were computed; None where the runtime cannot."""
        return None

    @property
    @abstractmethod
    def on_gpu(self) -> bool:
        """Whether an NVIDIA GPU runs the graph."""

    @abstractmethod
    def run_outputs(self, outputs: Sequence[str], feed: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Run the graph once for some outputs, by name; inputs in ``feed`` that it does not take are ignored."""

    def run(self, output: str, feed: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Compute one output; see ``run_outputs``."""
        return self.run_outputs([output], feed)[0]

    def reopen(self) -> None:  # noqa: B027
        """Load the graph again, which gives memory back that the runtime keeps; nothing where it keeps none.

        Where that fails, what it raises is no FleetembedError, and the next call tries again.
        """

    @property
    def first_input(self) -> str:
        """Name of the graph's first input."""
        return self._inputs[0].name

    def input_shape(self, name: str) -> tuple[int | str | None, ...]:
        """Shape of an input, with names or None for what the graph leaves open."""
        return next(port.shape for port in self._inputs if port.is_named(name))

    def output_name(self, output: int | str) -> str:
        """Name of an output given by position or name; raises ModelFilesError where the graph lacks it."""
        if isinstance(output, int) and 0 <= output < len(self._outputs):
            return self._outputs[output].name
        if any(port.is_named(output) for port in self._outputs):
            return str(output)
        names = ", ".join(port.name for port in self._outputs)
        raise ModelFilesError(f"{self.path} has no output {output!r}; its outputs are {names}")

    def output_width(self, name: str) -> int | None:
        """Size of an output's last axis, None where the graph leaves it open."""
        shape = next(port.shape for port in self._outputs if port.is_named(name))
        return shape[-1] if shape and isinstance(shape[-1], int) else None

    @property
    def output_names(self) -> list[str]:
        """Names of all outputs, in the graph's order."""
        return [port.name for port in self._outputs]

    def describe_outputs(self) -> str:
        """Names and shapes of the graph's outputs, for a message."""
        return ", ".join(f"{port.name} {port.shape}".replace("'", "") for port in self._outputs)

    def known(self, feed: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Those of some arrays that the graph takes."""
        return {name: array for name, array in feed.items() if name in self.inputs}


def refuse_missing(path: Path) -> None:
    """Raise ModelFilesError where a graph's file is not there."""
    if not path.is_file():
        raise ModelFilesError(f"{path} is missing: the model's folder is incomplete")
