"""The settings that are compared: whole jobs, or short forms such as a model's name, each under a name of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.errors import ConfigError

JOB_KEYS = frozenset(JobConfig.model_fields) - {"cache"}
# Keys of an embedding that say where its files are, not what it makes.
PLACES = frozenset(("name", "model", "family", "path", "text_path", "cache_dir", "local_files_only"))
# A short form says what is embedded with; what a job needs beside that is never read or written.
UNUSED = {"source": {"path": "-"}, "sink": {"type": "parquet", "path": "-"}}


@dataclass(frozen=True)
class Setting:
    """One setting: its job, whose source and sink do not count, or why it cannot be one."""

    name: str
    job: JobConfig | None
    error: str | None = None
    has_source: bool = False


def read_settings(settings: Any) -> list[Setting]:
    """Name the settings and check each; what is wrong with one is its ``error``. Raises ConfigError for no settings."""
    if isinstance(settings, Mapping) and not JOB_KEYS & set(settings) and "model" not in settings:
        given = [(str(name), one) for name, one in settings.items()]
    elif isinstance(settings, str | Path | Mapping | JobConfig) or not isinstance(settings, Iterable):
        raise ConfigError("settings: give a list of jobs or models, or a dict of name -> job or model")
    else:
        given = [("", one) for one in settings]
    if not given:
        raise ConfigError("settings: there are none to compare")
    taken: set[str] = set()
    read = []
    for name, one in given:
        setting = _read(one)
        read.append(_named(setting, name or setting.name, taken))
    return read


def _named(setting: Setting, name: str, taken: set[str]) -> Setting:
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name} ({number})", number + 1
    taken.add(unique)
    return Setting(unique, setting.job, setting.error, setting.has_source)


def _read(one: Any) -> Setting:
    name = _default_name(one)
    try:
        raw, has_source = _as_job(one)
        return Setting(name, load_config(raw), has_source=has_source)
    except ConfigError as error:
        return Setting(name, None, str(error))


def _as_job(one: Any) -> tuple[str | Path | dict[str, Any] | JobConfig, bool]:
    """Make a job of a short form, and say whether it has a source of its own."""
    if isinstance(one, JobConfig):
        return one, one.source.qdrant is None and not one.source.brings_vectors
    if isinstance(one, Path) or (isinstance(one, str) and Path(one).suffix in (".yaml", ".yml")):
        job = load_config(one)
        return job, job.source.qdrant is None and not job.source.brings_vectors
    if isinstance(one, str):
        return _of_embeddings([one]), False
    if isinstance(one, Mapping) and "model" in one:
        return _of_embeddings([one]), False
    if isinstance(one, Mapping):
        return {**UNUSED, **one}, isinstance(one.get("source"), Mapping) and "path" in one["source"]
    if isinstance(one, Sequence) and not isinstance(one, bytes):
        return _of_embeddings(one), False
    raise ConfigError(
        "a setting is a model's name, the keys of an embedding, a list of these, a job, or the path of a job's YAML; "
        f"got {type(one).__name__}"
    )


def _of_embeddings(models: Sequence[Any]) -> dict[str, Any]:
    taken: set[str] = set()
    embeddings = []
    for model in models:
        keys: dict[str, Any] = {"model": model} if isinstance(model, str) else dict(model)
        name = str(keys.get("name") or _vector_name(_short_name(keys)))
        while name in taken:
            name += "-2"
        taken.add(name)
        embeddings.append({**keys, "name": name})
    return {**UNUSED, "embeddings": embeddings}


def _default_name(one: Any) -> str:
    if isinstance(one, JobConfig):
        return "+".join(embedding.name for embedding in one.embeddings) or one.corpus
    if isinstance(one, str):
        return Path(one).stem if one.endswith((".yaml", ".yml")) else _last(one)
    if isinstance(one, Path):
        return one.stem
    if isinstance(one, Mapping):
        if "model" in one:
            return _short_name(one)
        embeddings = one.get("embeddings")
        if isinstance(embeddings, Sequence) and not isinstance(embeddings, str) and embeddings:
            return "+".join(_default_name(embedding) for embedding in embeddings)
        return str(one.get("corpus", "job"))
    if isinstance(one, Sequence) and not isinstance(one, bytes):
        return "+".join(map(_default_name, one))
    return type(one).__name__


def _short_name(keys: Mapping[str, Any]) -> str:
    """Name an embedding by its own name, or by its model and what of it is not as usual."""
    if keys.get("name"):
        return str(keys["name"])
    model = keys.get("model")
    if isinstance(model, Mapping):
        model = model.get("name") or model.get("path") or model.get("hf") or "model"
    told = [name if isinstance(value, Mapping | list) else f"{name}={value}" for name, value in keys.items()]
    more = [told for name, told in zip(keys, told, strict=True) if name not in PLACES]
    return " ".join([_last(str(model)), *more])


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2] or name


def _vector_name(name: str) -> str:
    """Make a vector's name of a model's."""
    fit = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
    return fit if fit[:1].isalpha() else f"v-{fit}"
