"""Cards of users' models, from code or from a job's configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any, get_args

from embedders.catalog.catalog import ModelCard, Pooling
from embedders.errors import ModelFilesError
from embedders.files.download import shown_url
from embedders.files.remote import is_remote, local_place

DEFAULT_MODEL_FILE = "onnx/model.onnx"

# fastembed's names and those of ModelCard.
_POOLING_NAMES = {"disabled": "none", "last": "last_token"}


class PoolingType(str, Enum):
    """How a vector is made of a graph's output, for `TextEmbedding.add_custom_model`; DISABLED takes it as it is."""

    CLS = "CLS"
    MEAN = "MEAN"
    LAST_TOKEN = "LAST_TOKEN"
    DISABLED = "DISABLED"


@dataclass(frozen=True)
class ModelSource:
    """Where a user's model is: a repository on the Hugging Face hub, or the URL of a ``.tar.gz``.

    Raises ValueError where neither is given.
    """

    hf: str | None = None
    url: str | None = None

    def __post_init__(self) -> None:
        if self.hf is None and self.url is None:
            raise ValueError("a ModelSource needs hf (a repository) or url")


def custom_card(
    family: str, *, model: str, sources: Any, model_file: str | None = None, license: str = "", **facts: Any
) -> ModelCard:
    """Make the card of a user's model.

    ``sources`` is a folder (str or Path, or the URL of one), a mapping with ``path``, ``hf`` or ``url``, or an object
    with attributes ``hf`` and ``url``. Without ``model_file``, a local folder's only ONNX file is taken, and
    ``onnx/model.onnx`` of a repository. ``facts`` are further fields of ModelCard. Raises TypeError for a fact that
    cards do not have, ValueError for sources without a path, hf or url, ModelFilesError for a folder without one ONNX
    file.
    """
    known = {field.name for field in fields(ModelCard)} - {"custom", "family"}
    for name in facts:
        if name not in known:
            raise TypeError(f"model {model!r}: a card has no {name!r}; it has {', '.join(sorted(known))}")
    source: dict[str, Any] = _read_sources(sources)
    if not model.strip():
        raise ValueError("model needs a name")
    if model_file is None:
        folder = source.get("path")
        model_file = DEFAULT_MODEL_FILE if folder is None else find_model_file(folder)
    about = {"description": "", "license": license, **facts}
    _check_types(model, about)
    return ModelCard(model=model, family=family, model_file=model_file, custom=True, **source, **about)


def _check_types(model: str, facts: Mapping[str, Any]) -> None:
    """Refuse facts that would only fail where they are used: in a list of all models, or for every row."""
    wanted: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "dim": ("a whole number above 0", lambda value: value is None or (type(value) is int and value > 0)),
        "prompts": (
            "{query: ..., passage: ...}",
            lambda value: isinstance(value, Mapping) and _all(value.values(), str),
        ),
        "matryoshka": ("whole numbers", lambda value: isinstance(value, (tuple, list)) and _all(value, int)),
        "options": ("a mapping", lambda value: isinstance(value, Mapping)),
        "additional_files": ("file names", lambda value: isinstance(value, (tuple, list)) and _all(value, str)),
        "output": ("a name, or a position from 0", lambda value: isinstance(value, str) or value >= 0),
    }
    for name, (kind, fits) in wanted.items():
        if name in facts and not fits(facts[name]):
            raise ValueError(f"model {model!r}: {name} must be {kind}, got {facts[name]!r}")


def _all(values: Iterable[Any], kind: type) -> bool:
    return all(type(value) is kind for value in values)


def pooling_name(pooling: Any) -> str:
    """Name of a way to pool, given by this project's or fastembed's name or by an enumeration; raises ValueError."""
    name = str(getattr(pooling, "value", pooling)).lower()
    name = _POOLING_NAMES.get(name, name)
    if name not in get_args(Pooling):
        raise ValueError(f"pooling must be one of {', '.join(get_args(Pooling))}, got {pooling!r}")
    return name


def find_model_file(folder: str | Path) -> str:
    """The only ONNX file of a folder or one at a URL, or its ``model.onnx``, relative to it; raises ModelFilesError.

    Raises ModelNotFoundError where the store of a URL cannot be reached and no copy is in the cache.
    """
    names = sorted(name for name in _names(folder) if name.endswith(".onnx"))
    for name in ("model.onnx", DEFAULT_MODEL_FILE):
        if name in names:
            return name
    if len(names) != 1:
        shown = f"has {', '.join(names[:5])}: name one as model_file" if names else "has no ONNX file"
        raise ModelFilesError(f"{shown_url(folder) if is_remote(folder) else folder} {shown}")
    return names[0]


def _names(folder: str | Path) -> list[str]:
    if is_remote(folder):
        # Imported here: few models are at a URL.
        from embedders.files.mirror import remote_names

        return remote_names(str(folder))
    place = local_place(folder)
    if not place.is_dir():
        where = "" if place.is_absolute() else f"; it was looked for at {str(place.absolute())!r}"
        raise ModelFilesError(f"there is no folder {place}{where}")
    return [path.relative_to(place).as_posix() for path in place.rglob("*.onnx")]


def _read_sources(sources: Any) -> dict[str, str]:
    if isinstance(sources, (str, Path)) and str(sources).strip():
        return {"path": str(sources)}
    if isinstance(sources, Mapping):
        given = dict(sources)
    else:
        given = {name: getattr(sources, name, None) for name in ("hf", "url")}
    known = {name: str(value) for name, value in given.items() if value}
    unknown = known.keys() - {"path", "hf", "url", "url_sha256"}
    if unknown or not known.keys() & {"path", "hf", "url"}:
        raise ValueError(f"sources must name a path, hf (a repository) or url, got {sources!r}")
    return known
