"""fastembed's arguments and models that this project calls otherwise, and fastembed's warnings about models."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

# By lower-case name: the warning that fastembed 0.9.1 gives, in our words.
MODEL_WARNINGS: Mapping[str, tuple[type[Warning], str]] = {
    "prithvida/splade_pp_en_v1": (
        DeprecationWarning,
        "prithvida/Splade_PP_en_v1 is misspelt: write prithivida/Splade_PP_en_v1, which is the same model",
    ),
    "jinaai/jina-embeddings-v2-base-de": (
        UserWarning,
        "jinaai/jina-embeddings-v2-base-de runs in float32; early versions of fastembed ran it in float16, so that "
        "vectors that they made differ a little",
    ),
    "qdrant/colmodernvbert": (
        UserWarning,
        "Qdrant/colmodernvbert was exported anew in October 2026: images that the earlier export embedded in batches "
        "with images of other proportions are to be embedded again",
    ),
}


def warn_of_model(name: str, stacklevel: int) -> None:
    """Give fastembed's warning about a model, if it has one; ``stacklevel`` as for a warning of the caller's."""
    if known := MODEL_WARNINGS.get(name.lower()):
        category, message = known
        warnings.warn(message, category, stacklevel=stacklevel + 1)


def our_options(options: Mapping[str, Any], device_ids: Any) -> dict[str, Any]:
    """Translate the options of a constructor; the result has ``device_ids`` too.

    ``device_id`` is the first of the devices, ``extra_session_options`` are ``session_options``; ``mmap`` is left out,
    since the tables of static models are always mapped.
    """
    ours = {
        name: value for name, value in options.items() if name not in ("device_id", "extra_session_options", "mmap")
    }
    device, extra = options.get("device_id"), options.get("extra_session_options")
    if device is not None:
        device_ids = [device, *(other for other in device_ids or () if other != device)]
    if extra:
        ours["session_options"] = {**extra, **(ours.get("session_options") or {})}
    return {**ours, "device_ids": device_ids}


def warn_of_ignored(method: str, ignored: Mapping[str, Any], hint: str = "") -> None:
    """Warn the caller's caller of keywords that a method ignores, as fastembed does without a word."""
    if ignored:
        names = ", ".join(f"{name}=" for name in ignored)
        warnings.warn(f"{method} knows no {names}, which changes nothing{hint}", UserWarning, stacklevel=3)
