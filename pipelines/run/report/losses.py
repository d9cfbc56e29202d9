"""What a run lost on the way and went on without."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Losses:
    """Nodes that went and came while a job ran, worker processes that were started anew, and figures that are gone.

    ``figures`` tells that the process which counts was started anew: what stages did may be more than is known.
    """

    nodes_lost: int = 0
    nodes_joined: int = 0
    actors_restarted: int = 0
    figures: bool = False


NOTHING = Losses()
