"""What a verification found: a check a line, the figures behind it, and whether the alias may move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

FORMAT = 1
# A check that is reported or skipped stops no switch.
Outcome = Literal["passed", "failed", "reported", "skipped"]


@dataclass(frozen=True)
class Check:
    """One check: its name, its outcome, what was found and what was wanted in words, and the figures of it.

    ``samples`` are a few of the points or vectors that it failed for, or further words; ``mend`` says what to do.
    """

    name: str
    outcome: Outcome
    found: str
    wanted: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    samples: list[str] = field(default_factory=list)
    mend: str = ""


@dataclass(frozen=True)
class Verification:
    """All checks of one collection.

    ``old`` is what it was compared with, None where there was nothing: what the alias named, or what the job copies.
    ``alias`` is None of a collection in a folder.
    ``is_named`` tells that the alias names the collection already, ``clash`` that a collection has the alias's name,
    and what to do about it.
    """

    alias: str | None
    address: str
    collection: str
    old: str | None
    fingerprint: str
    at: str
    seconds: float
    points: int
    checks: list[Check]
    is_named: bool = False
    clash: str | None = None

    @property
    def failed(self) -> list[Check]:
        """The checks that stop a switch."""
        return [check for check in self.checks if check.outcome == "failed"]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"format": FORMAT, "passed": self.passed, **asdict(self)}


def judged(
    name: str,
    passed: bool,
    found: str,
    wanted: str,
    figures: Mapping[str, Any],
    samples: list[str],
    mend: str = "",
) -> Check:
    """Make a check that passes, or fails and says what mends it."""
    return Check(name, "passed" if passed else "failed", found, wanted, figures, samples, "" if passed else mend)


def skipped(name: str, why: str) -> Check:
    """Make a check that cannot be done, or has nothing to look at."""
    return Check(name, "skipped", why)
