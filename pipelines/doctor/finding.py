"""One thing that was looked at, and what it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and what mends it: a command, or what to do.

    ``wrong`` keeps something that was asked for, or that this machine could do, from working; a ``note`` does not.
    """

    name: str
    told: str
    status: Status = "ok"
    mend: str | None = None
