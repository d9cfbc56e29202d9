"""Where a model's texts are cut unless somebody says otherwise: what its own files say, not what its authors claim."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

CONFIG = "tokenizer_config.json"


def files_limit(settings: Mapping[str, Any]) -> int | None:
    """Return the smaller of the limits in a tokenizer_config.json, in tokens; None for none, as 1e30 is."""
    values = (settings.get("model_max_length"), settings.get("max_length"))
    limits = [value for value in values if type(value) is int and 0 < value <= sys.maxsize]
    return min(limits, default=None)
