"""What conditions in words become as Qdrant's filter, and which are refused."""

from __future__ import annotations

import pytest
from qdrant_client import models

from pipelines.errors import ConfigError
from pipelines.search.filters import build_filter


def condition(text: str) -> models.FieldCondition:
    built = build_filter(text)
    assert built is not None and isinstance(built.must, list) and len(built.must) == 1
    (one,) = built.must
    assert isinstance(one, models.FieldCondition)
    return one


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1212092628029698050", 1212092628029698050),
        (str(2**63 - 1), 2**63 - 1),
        (str(-(2**63)), -(2**63)),
        (str(2**63), str(2**63)),
        ("007", "007"),
    ],
)
def test_whole_numbers_are_those_that_qdrant_holds(value: str, expected: int | str) -> None:
    match = condition(f" tweet =  {value} ").match
    assert condition(f"tweet={value}").key == "tweet"
    assert isinstance(match, models.MatchValue) and match.value == expected


def test_a_bound_that_would_be_rounded_is_refused() -> None:
    with pytest.raises(ConfigError, match="compares numbers as float64, which cannot hold 1212092628029698055"):
        build_filter("tweet>=1212092628029698055")
    bounds = condition(f"tweet>={2**60}").range
    assert isinstance(bounds, models.Range) and bounds.gte == 2.0**60


@pytest.mark.parametrize(
    "text", [" " * 200_000, " " * 200_000 + "=1", "a=" + " " * 200_000], ids=["blank", "key", "value"]
)
def test_blanks_are_refused_at_once(text: str) -> None:
    with pytest.raises(ConfigError, match="write key=value"):
        build_filter(text)
