"""Reads a job's YAML (or a dict), applies ``--set`` overrides and says what is wrong with it in a user's words.

The words are our own because pydantic's speak of Python's types, and name no key that was meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipelines.config.job import JobConfig
from pipelines.config.secrets import is_reference
from pipelines.config.section import Section
from pipelines.config.shown import MOST, cut, shown
from pipelines.config.sinks import SECTIONS, SINKS
from pipelines.config.source import NO_PLACE_NEEDED
from pipelines.errors import ConfigError

_REFERENCE = re.compile(r"\$\{[^}]*\}")
# Where readers of others take secrets, under whatever names.
_OF_READERS = re.compile(r".*: source\.arguments\.")
MOST_LINES = 20
SOURCE_HINT = "write source: {path: ...}, or in Python give data: EmbeddingPipeline.from_config(job, source=data)"
DATA_HINT = "data goes into EmbeddingPipeline.from_config(job, source=data), and the section's other keys stay"
# Names that pydantic gives to members of a union, unlike any key.
_MARK = re.compile(r"<|constrained-|(list|dict|literal|function-[a-z]+)\[")
_SECRET_KEYS = frozenset[str]().union(*(section.secrets for section in SECTIONS))


def load_config(
    job: str | Path | dict[str, Any] | JobConfig, overrides: Sequence[str] = (), *, needs_place: bool = True
) -> JobConfig:
    """Check a job's configuration, from a YAML file or a dict.

    ``overrides`` are ``a.b=value`` strings, the value read as YAML; list items go by number (``sink.0.path=out``).
    Unless it ``needs_place``, the section source may name no place of documents, and may be left out. Raises
    ConfigError that names every wrong key, with the nearest right one.
    """
    held = None
    if isinstance(job, JobConfig):
        if not overrides:
            return job
        # A job without sinks is one that does not name the key.
        held, job = job.source, {key: value for key, value in job.model_dump().items() if key != "sink" or value}
        needs_place = needs_place and not held.is_given
    elif not isinstance(job, dict | str) and not hasattr(job, "__fspath__"):
        raise ConfigError(f"a job is a YAML file, by its path, or a dict of sections, not a {type(job).__name__}")
    name, raw = ("configuration", job) if isinstance(job, dict) else (str(job), _read_yaml(Path(job)))
    try:
        for override in overrides:
            raw = _override(raw, override)
        if not needs_place and raw.get("source") is None:
            raw = {**raw, "source": {}}
        _refuse_data(raw.get("source"), name)
        _check_references(raw, name)
    except RecursionError:
        raise ConfigError(f"{name} is nested too deeply, or refers to itself") from None
    try:
        config = JobConfig.model_validate(raw, context={NO_PLACE_NEEDED: not needs_place})
    except ValidationError as wrong:
        lines = [f"  {line}" for line in dict.fromkeys(_explain(error) for error in wrong.errors())]
        more = [f"  and {len(lines) - MOST_LINES:,} more"] if len(lines) > MOST_LINES else []
        raise ConfigError(f"{name} is not a valid job:\n" + "\n".join(lines[:MOST_LINES] + more)) from None
    return config if held is None else config.model_copy(update={"source": config.source.given_as(held)})


def _refuse_data(source: Any, name: str) -> None:
    """Raise ConfigError where data stands in the place of the section source."""
    if source is None or isinstance(source, dict | Section):
        return
    hint = f"for files write source: {{path: {cut(source)}}}" if isinstance(source, str) else DATA_HINT
    raise ConfigError(f"{name}: source must be a section of keys, not a {type(source).__name__}; {hint}")


class _StrictLoader(yaml.SafeLoader):
    """Reads YAML as safely as SafeLoader, and refuses a key that stands twice: the last would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for place, key in enumerate(keys):
            if key in keys[:place] and key != "<<":
                twice = f"the key {shown(key)} stands twice"
                raise yaml.constructor.ConstructorError(None, None, twice, node.start_mark)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)
    except OSError as error:
        raise ConfigError(f"cannot read the job's configuration {path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{path} must hold keys and values (source, embeddings, sink, ...), not a {type(raw).__name__}"
        )
    return raw


def _override(raw: Any, override: str) -> Any:
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"--set {shown(override)}: write it as key.key=value")
    try:
        value = yaml.load(text, _StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"--set {shown(override)}: the value is not valid YAML: {error}") from None
    keys = path.strip().split(".")
    # A sink that stands alone is the first of one.
    if keys[:2] == ["sink", "0"] and isinstance(raw, dict) and isinstance(raw.get("sink"), dict):
        del keys[1]
    return _with(raw, keys, value, override)


def _with(node: Any, keys: list[str], value: Any, override: str) -> Any:
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(node, list):
        if not (key.isascii() and key.isdigit()) or int(key) >= len(node):
            raise ConfigError(
                f"--set {shown(override)}: {shown(key)} is no item of a list of {len(node)} (they count from 0)"
            )
        at = int(key)
        return [*node[:at], _with(node[at], rest, value, override), *node[at + 1 :]]
    if node is None or isinstance(node, dict):
        children = node or {}
        return {**children, key: _with(children.get(key), rest, value, override)}
    raise ConfigError(f"--set {shown(override)}: {shown(key)} is below {shown(node)}, which has no keys")


def _check_references(node: Any, where: str, key: str = "") -> None:
    """Refuse ``${NAME}`` outside of secrets: a job must mean the same wherever it runs."""
    if isinstance(node, dict):
        for name, child in node.items():
            _check_references(
                child, f"{where}: {cut(str(name))}" if not key else f"{where}.{cut(str(name))}", str(name)
            )
    elif isinstance(node, list):
        for number, child in enumerate(node):
            _check_references(child, f"{where}.{number}", key)
    elif isinstance(node, str) and _REFERENCE.search(node):
        if key not in _SECRET_KEYS and not _OF_READERS.match(where):
            raise ConfigError(f"{where}: environment variables may only stand for secrets; use --set for {shown(node)}")
        if not is_reference(node):
            raise ConfigError(f"{where}: write exactly ${{NAME}}, the name of an environment variable")


def _explain(error: ErrorDetails) -> str:
    """Say one of pydantic's findings in one line, the key first."""
    where = _place(error["loc"])
    kind = error["type"]
    if kind == "extra_forbidden":
        return f"{where}: unknown key{_meant(cut(str(error['loc'][-1])), _fields_at(error['loc'][:-1]))}"
    if kind == "missing":
        return f"{where}: is missing" + (f"; {SOURCE_HINT}" if where == "source" else "")
    if kind == "union_tag_not_found":
        return f"{where}.type: is missing; write {' or '.join(SINKS)}"
    if kind == "union_tag_invalid":
        tag = error["ctx"]["tag"]
        return f"{where}.type: unknown type {shown(tag)}{_meant(cut(str(tag)), list(SINKS))}"
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    given = error["input"]
    if isinstance(given, str) and len(given) > MOST:
        # Messages of validators have the value in them.
        message = message.replace(repr(given), shown(given)).replace(given, cut(given))
    got = f" (got {shown(given)})" if isinstance(given, str | int | float | bool) and kind != "value_error" else ""
    hint = _near(cut(str(given)), re.findall("'([^']*)'", message)) if kind == "literal_error" else ""
    return f"{where}: {message}{got}{hint}" if error["loc"] else message


def _near(given: str, choices: Sequence[str]) -> str:
    found = get_close_matches(given, choices, n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def _meant(given: str, choices: Sequence[str]) -> str:
    return _near(given, choices) or f"; known here: {', '.join(choices)}"


def _place(location: tuple[int | str, ...]) -> str:
    """Write a place as its keys stand in the file, without the words by which pydantic tells kinds of parts apart."""
    keys = [
        cut(str(part))
        for number, part in enumerate(location)
        if not (number == 2 and location[0] == "sink") and not _MARK.match(str(part))
    ]
    return ".".join(keys) or "job"


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Names of the keys that may stand at a place of the configuration."""
    models: list[type[BaseModel]] = [JobConfig]
    for part in location:
        if isinstance(part, int):
            continue
        tagged = [model for model in models if _is_tagged(model, part)]
        below = [_models_in(model.model_fields[part].annotation) for model in models if part in model.model_fields]
        # A part that is neither is a key of a dict of models, which `models` holds already.
        models = tagged or [model for found in below for model in found] or models
    return [name for model in models for name in model.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _is_tagged(model: type[BaseModel], tag: str) -> bool:
    field = model.model_fields.get("type")
    return field is not None and tag in get_args(field.annotation)
