"""What Ray is to read into memory before a job has documents: a Dataset of the user's, or one that a reader makes."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pipelines.config.readers import missing_packages
from pipelines.config.secrets import is_reference, read_secret, without_secrets
from pipelines.config.shown import shown
from pipelines.errors import ConfigError
from pipelines.sources.split import PlannedRows
from pipelines.urls import is_url

# Arguments of readers that are paths, which workers would look for below folders of their own.
PATHS = frozenset(("paths", "path", "uri", "table_uri"))
FUNCTION = frozenset(("function", "arguments"))


@runtime_checkable
class Unread(Protocol):
    """Rows that Ray has yet to read."""

    @property
    def title(self) -> str:
        """What origins of the rows begin with."""

    def check(self) -> None:
        """Raise ConfigError for what is wrong before anything is read."""

    def dataset(self, ray_data: Any) -> Any:
        """Make the Dataset by the module ``ray.data``, for which a Ray must be connected; raises ConfigError."""

    def shown(self, message: str) -> str:
        """Take from the message of an error what lets somebody in where the rows are from."""


@dataclass(frozen=True, eq=False)
class GivenDataset:
    """A Dataset of Ray Data's that a user made."""

    given: Any
    title: str = "ray.data.Dataset"

    def check(self) -> None:
        """See Unread."""

    def dataset(self, ray_data: Any) -> Any:
        """See Unread."""
        return self.given

    def shown(self, message: str) -> str:
        """See Unread."""
        return without_secrets(message)


@dataclass(frozen=True)
class RayReader:
    """The Dataset that a public reader of Ray Data makes of its arguments."""

    name: str
    arguments: Mapping[str, Any]

    @property
    def title(self) -> str:
        """See Unread."""
        return f"ray.data.{self.name}"

    def check(self) -> None:
        """See Unread."""
        if lacking := missing_packages(self.name):
            raise ConfigError(
                f"source.ray: {self.name} needs {' and '.join(lacking)}, which is not installed (also where Ray's "
                f"workers run): pip install {' '.join(lacking)}"
            )
        self._resolved()

    def dataset(self, ray_data: Any) -> Any:
        """See Unread."""
        reader = getattr(ray_data, self.name)
        arguments = self._resolved()
        refuse_arguments(reader, arguments)
        try:
            return reader(**arguments)
        except ImportError as error:
            raise ConfigError(f"source.ray: {self.name} lacks a package: {self.shown(_line(error))}") from None
        # Each reader has errors of its own kind.
        except Exception as error:
            raise ConfigError(f"source.arguments: {self.name} refuses them: {self.shown(_line(error))}") from error

    def shown(self, message: str) -> str:
        """See Unread."""
        for reference in _references(self.arguments):
            message = message.replace(read_secret(reference, "source.arguments"), reference)
        return without_secrets(message)

    def _resolved(self) -> dict[str, Any]:
        return {
            key: _whole_path(value) if key in PATHS else value
            for key, value in _resolve(self.arguments, "source.arguments").items()
        }


def look_at(dataset: Any, title: str) -> PlannedRows:
    """Tell what a Dataset says of itself, without reading it."""
    found = PlannedRows(title)
    with suppress(Exception):
        schema = dataset.schema(fetch_if_missing=False)
        found = PlannedRows(title, columns=None if schema is None else tuple(schema.names))
    # Ray has no public name for what it knows of rows without reading any.
    with suppress(Exception):
        found = PlannedRows(title, dataset._meta_count(), columns=found.columns)
    return found


def refuse_arguments(reader: Any, arguments: Mapping[str, Any]) -> None:
    """Raise ConfigError where a function takes no such arguments, or lacks one."""
    signature = inspect.signature(reader)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        taken = [name for name in signature.parameters if not name.startswith("_")]
        unknown = next((name for name in arguments if name not in taken), None)
        near = get_close_matches(unknown or "", taken, n=1, cutoff=0.6)
        # A reader that passes other arguments on lacks one, where a name is misspelt.
        wrong = f"{unknown!r} is there, " if unknown is not None and unknown not in str(error) else ""
        hint = f"{wrong}did you mean {near[0]!r}?" if near else f"it takes {', '.join(taken)}"
        raise ConfigError(f"source.arguments: {reader.__name__}: {error}; {hint}") from None


def _resolve(value: Any, where: str) -> Any:
    """Put secrets and functions in the place of what stands for them."""
    if isinstance(value, str):
        return read_secret(value, where) if is_reference(value) else value
    if isinstance(value, list):
        return [_resolve(one, f"{where}.{number}") for number, one in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if "function" in value and value.keys() <= FUNCTION:
        return partial(_function(value["function"], where), **_resolve(value.get("arguments", {}), where))
    return {key: _resolve(one, f"{where}.{key}") for key, one in value.items()}


def _references(value: Any) -> list[str]:
    """List what stands for secrets; those of longer secrets first, which may have others in them."""
    if isinstance(value, dict | list):
        inside = value.values() if isinstance(value, dict) else value
        found = {reference for one in inside for reference in _references(one)}
        return sorted(found, key=lambda reference: -len(os.environ.get(reference[2:-1], "")))
    is_one = isinstance(value, str) and is_reference(value) and os.environ.get(value[2:-1])
    return [value] if is_one else []


def _function(name: Any, where: str) -> Any:
    module, colon, attribute = str(name).partition(":")
    if not isinstance(name, str) or not colon or not attribute:
        raise ConfigError(f"{where}.function: write it as module:name, as sqlite3:connect (got {shown(name)})")
    try:
        found = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{where}.function: {shown(name)} cannot be imported: {_line(error)}") from None
    if not callable(found):
        raise ConfigError(f"{where}.function: {shown(name)} is no function")
    return found


def _whole_path(value: Any) -> Any:
    """Make the path of what is there absolute; other texts are names, or patterns that a reader knows."""
    if isinstance(value, list):
        return [_whole_path(one) for one in value]
    if isinstance(value, str) and not is_url(value):
        with suppress(OSError, ValueError, RuntimeError):
            path = Path(value).expanduser()
            return str(path.absolute()) if path.exists() else value
    return value


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
