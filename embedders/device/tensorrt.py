"""Options of the TensorRT provider that fit the shapes of batches. Computed, and never run on a card so far.

TensorRT builds an engine for a range of shapes, which takes minutes, and another one for a shape outside of it. So the
range is that of all batches there can be, and engines are kept in a folder for the next process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedders.session_settings import TENSORRT, SessionSettings

# Inputs of (rows, tokens).
TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
# What TensorRT tunes an engine for.
USUAL_LENGTH = 128
# A call has no more rows than of texts of so many tokens: an engine's memory is for the most of rows and of tokens.
SHORTEST = 32


def most_rows(settings: SessionSettings, budget: int) -> int | None:
    """Rows that a call may have so that it fits the engines' range; None where TensorRT is not asked for."""
    return max(1, budget // SHORTEST) if TENSORRT in map(_name, settings.providers or ()) else None


def with_tensorrt_options(
    settings: SessionSettings, inputs: Iterable[str], *, longest: int, budget: int, cache: Path, model: str
) -> SessionSettings:
    """Settings whose TensorRT provider, if ``providers`` name it, knows the shapes and keeps engines in ``cache``.

    ``inputs`` are the graph's, ``longest`` the tokens of the longest text, ``budget`` those of a call. Options that
    are given stay as they are.
    """
    providers = settings.providers or ()
    if TENSORRT not in map(_name, providers):
        return settings
    shapes = _shapes(longest, budget)
    profiles = {
        f"trt_profile_{kind}_shapes": ",".join(f"{name}:{rows}x{tokens}" for name in TOKEN_INPUTS if name in inputs)
        for kind, (rows, tokens) in shapes.items()
    }
    folder = str(cache / re.sub(r"[^A-Za-z0-9._-]+", "--", model))
    options = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
        **profiles,
    }
    return replace(settings, providers=_completed(providers, options))


def _shapes(longest: int, budget: int) -> dict[str, tuple[int, int]]:
    """The smallest, the usual and the largest rows and tokens of a batch; one text alone may have any length."""
    usual = min(USUAL_LENGTH, longest)
    return {
        "min": (1, 1),
        "opt": (max(1, budget // usual), usual),
        "max": (max(1, budget // min(SHORTEST, longest)), longest),
    }


def _completed(providers: Sequence[Any], options: dict[str, str]) -> list[Any]:
    return [
        (TENSORRT, {**options, **({} if isinstance(one, str) else one[1])}) if _name(one) == TENSORRT else one
        for one in providers
    ]


def _name(provider: Any) -> str:
    return provider if isinstance(provider, str) else str(provider[0])
