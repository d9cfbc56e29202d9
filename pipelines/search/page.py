"""Which part of what a query finds is wanted."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.errors import ConfigError
from pipelines.search.filters import FilterLike
from pipelines.search.hits import Payload


@dataclass(frozen=True)
class Page:
    """``limit`` hits behind the first ``offset`` of those that ``filter`` lets through, with ``payload`` of them.

    Raises ConfigError for numbers that no server takes.
    """

    limit: int
    offset: int = 0
    filter: FilterLike | None = None
    payload: Payload = True

    def __post_init__(self) -> None:
        for name, value, least in (("limit", self.limit, 1), ("offset", self.offset, 0)):
            if type(value) is not int or not least <= value < 2**31:
                raise ConfigError(f"{name} must be a whole number of {least} or more, got {value!r}")
