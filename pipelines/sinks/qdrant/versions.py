"""Versions of Qdrant servers, of which some do not know what others do."""

from __future__ import annotations

import re


def release_of(version: str) -> tuple[int, int] | None:
    """Read the first two numbers of a version; None for one that does not begin with them."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return None if found is None else (int(found[1]), int(found[2]))


def dotted(release: tuple[int, int]) -> str:
    """Write a release as people do: 1.16."""
    return ".".join(map(str, release))
