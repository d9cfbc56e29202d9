"""Filters of a search: Qdrant's, their JSON, or conditions such as ``lang=de`` and ``year>=2020``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from qdrant_client import models

from pipelines.config.shown import shown
from pipelines.errors import ConfigError

FilterLike = models.Filter | Mapping[str, Any] | str | Sequence[str]

_CONDITION = re.compile(r"([^=<>!]+)(!=|<=|>=|=|<|>)(?![=<>])(.*)", re.DOTALL)
_RANGES = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
# What stands between bars, which do not count inside of quotes.
_PART = re.compile(r"""\s*("[^"]*"|'[^']*'|[^|]*?)\s*(?:\||$)""")
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,18})")
_INT64 = range(-(2**63), 2**63)
_REAL = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")


def build_filter(filter: FilterLike | None) -> models.Filter | None:
    """Build Qdrant's filter; of several conditions all must hold.

    A condition is ``key=value``, ``key!=value``, or ``key>=value`` and its like for numbers and dates; ``key=a|b``
    takes either. Keys may be nested (``author.name``). A value is a whole number, a real one, true, false, or else
    text, as is whatever stands in quotes. Text that begins with a brace is Qdrant's JSON. Raises ConfigError for what
    is no filter.
    """
    if filter is None or isinstance(filter, models.Filter):
        return filter
    if isinstance(filter, Mapping):
        return _from_mapping(filter)
    texts = [filter] if isinstance(filter, str) else filter
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"filter {shown(filter)}: give conditions such as 'year>=2020', or Qdrant's own filter")
    if len(texts) == 1 and texts[0].lstrip().startswith("{"):
        return _from_json(texts[0])
    must: list[Any] = []
    must_not: list[Any] = []
    for text in texts:
        condition, holds = _condition(text)
        (must if holds else must_not).append(condition)
    return models.Filter(must=must or None, must_not=must_not or None) if texts else None


def _condition(text: str) -> tuple[models.FieldCondition, bool]:
    found = _CONDITION.fullmatch(text)
    if found is None or not found[1].strip() or not found[3].strip():
        raise ConfigError(f"filter {shown(text)}: write key=value, key!=value, key>=value, or Qdrant's JSON")
    key, sign, value = found[1].strip(), found[2], found[3].strip()
    if sign in _RANGES:
        return _range(key, _RANGES[sign], value, text), True
    values = [_value(part) for part in _parts(value)]
    kinds = {type(one) for one in values}
    if kinds == {float} and len(values) == 1:
        return models.FieldCondition(key=key, range=models.Range(gte=values[0], lte=values[0])), sign == "="
    if len(values) == 1:
        match: Any = models.MatchValue(value=values[0])
    elif kinds == {int} or kinds == {str}:
        match = models.MatchAny(any=values)
    else:
        raise ConfigError(
            f"filter {shown(text)}: give texts only (in quotes if need be) or whole numbers only between bars"
        )
    return models.FieldCondition(key=key, match=match), sign == "="


def _parts(value: str) -> list[str]:
    """Cut at bars outside of quotes."""
    parts, at = [], 0
    while at <= len(value):
        found = _PART.match(value, at)
        if found is None or found.end() == at:
            break
        parts.append(found[1])
        at = found.end()
    return parts + ([""] if value.endswith("|") else [])


def _range(key: str, bound: str, value: str, text: str) -> models.FieldCondition:
    if _REAL.fullmatch(value) and math.isfinite(float(value)):
        if _WHOLE.fullmatch(value) and int(value) != int(float(value)):
            raise ConfigError(f"filter {shown(text)}: Qdrant compares numbers as float64, which cannot hold {value}")
        return models.FieldCondition(key=key, range=models.Range(**{bound: float(value)}))
    try:
        return models.FieldCondition(key=key, range=models.DatetimeRange.model_validate({bound: value}))
    except ValidationError:
        raise ConfigError(f"filter {shown(text)}: {shown(value)} is neither a number nor a date") from None


def _value(text: str) -> Any:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    if _WHOLE.fullmatch(text) and int(text) in _INT64:
        return int(text)
    return float(text) if "." in text and _REAL.fullmatch(text) and math.isfinite(float(text)) else text


def _from_json(text: str) -> models.Filter:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"filter: not valid JSON: {error}") from None
    return _from_mapping(given)


def _from_mapping(given: Mapping[str, Any]) -> models.Filter:
    try:
        return models.Filter.model_validate(dict(given))
    except ValidationError as error:
        wrong = error.errors()[0]
        key = ".".join(str(part) for part in wrong["loc"])
        raise ConfigError(f"filter: {key}: {wrong['msg']}; see Qdrant's documentation of filters") from None
    except RecursionError:
        raise ConfigError("filter: it is nested too deeply") from None
