"""How many positions a model's table has, beyond which its graph fails."""

from __future__ import annotations

import json
import logging
from pathlib import Path

logger = logging.getLogger(__name__)


def positions_of(folder: Path) -> int | None:
    """Positions that a model's config.json gives; None where it gives none."""
    try:
        positions = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("max_position_embeddings")
    except (OSError, ValueError, AttributeError):
        return None
    return positions if isinstance(positions, int) else None


def warn_of_positions(folder: Path, max_length: int) -> None:
    """Log that a limit exceeds the model's table of positions, where the graph is going to fail."""
    positions = positions_of(folder)
    if positions is not None and max_length > positions:
        logger.warning("max_length %d exceeds the %d positions that %s gives", max_length, positions, folder)
