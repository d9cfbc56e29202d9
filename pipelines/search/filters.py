"""Filters of a search: Qdrant's own, their JSON, or conditions such as ``lang=de`` and ``year>=2020``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import ValidationError
from qdrant_client import models

from pipelines.errors import ConfigError

Chosen = models.Filter | Mapping[str, Any] | str | Sequence[str] | None

_CONDITION = re.compile(r"^\s*([^=<>!]+?)\s*(=|!=|<=|>=|<|>)\s*(.*?)\s*$", re.DOTALL)
_RANGES = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def build_filter(chosen: Chosen) -> models.Filter | None:
    """Build Qdrant's filter; of several conditions all must hold.

    A condition is ``key=value``, ``key!=value``, or ``key>=value`` and its like for numbers and dates; ``key=a|b``
    takes either. Keys may be nested (``author.name``). Text that begins with a brace is Qdrant's JSON. Raises
    ConfigError for what is no filter.
    """
    if chosen is None or isinstance(chosen, models.Filter):
        return chosen
    if isinstance(chosen, Mapping):
        return _from_json(chosen)
    texts = [chosen] if isinstance(chosen, str) else list(chosen)
    if len(texts) == 1 and texts[0].lstrip().startswith("{"):
        try:
            return _from_json(json.loads(texts[0]))
        except ValueError as error:
            raise ConfigError(f"filter: not valid JSON: {error}") from None
    must: list[Any] = []
    must_not: list[Any] = []
    for text in texts:
        condition, holds = _condition(text)
        (must if holds else must_not).append(condition)
    return models.Filter(must=must or None, must_not=must_not or None) if texts else None


def _condition(text: str) -> tuple[models.FieldCondition, bool]:
    found = _CONDITION.match(text)
    if found is None or not found[3]:
        raise ConfigError(f"filter {text!r}: write key=value, key!=value, key>=value, or Qdrant's JSON")
    key, sign, value = found[1], found[2], found[3]
    if sign in _RANGES:
        return _range(key, _RANGES[sign], value, text), True
    values = [_scalar(part) for part in value.split("|")]
    if len(values) == 1:
        match: Any = models.MatchValue(value=values[0])
    elif all(type(one) is type(values[0]) for one in values) and not isinstance(values[0], bool):
        match = models.MatchAny(any=values)
    else:
        raise ConfigError(f"filter {text!r}: give texts only or whole numbers only between the bars")
    return models.FieldCondition(key=key, match=match), sign == "="


def _range(key: str, bound: str, value: str, text: str) -> models.FieldCondition:
    try:
        return models.FieldCondition(key=key, range=models.Range(**{bound: float(value)}))
    except ValueError:
        pass
    try:
        return models.FieldCondition(key=key, range=models.DatetimeRange.model_validate({bound: value}))
    except ValidationError:
        raise ConfigError(f"filter {text!r}: {value!r} is neither a number nor a date") from None


def _scalar(text: str) -> bool | int | str:
    """Read a value as Qdrant matches it: a boolean, a whole number or text; what is in quotes is text."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, bool) and text.lower() not in ("true", "false"):
        return text  # YAML's yes, no, on and off
    return value if isinstance(value, bool | int | str) else text


def _from_json(given: Mapping[str, Any]) -> models.Filter:
    try:
        return models.Filter.model_validate(dict(given))
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(str(part) for part in wrong["loc"])
        raise ConfigError(f"filter: {place}: {wrong['msg']}; see Qdrant's documentation of filters") from None
