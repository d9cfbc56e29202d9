"""What a family of sparse models is to `SparseTextEmbedding`: the seam at which one more family joins in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from embedders.base import Embedder, Texts


@dataclass(frozen=True)
class ModelPlace:
    """Where a model's files may be; the arguments of `embedders.hub.resolve_model`."""

    cache_dir: str | Path | None = None
    specific_model_path: str | Path | None = None
    local_files_only: bool = False


@dataclass(frozen=True)
class Runtime:
    """What runs a model's network, and when it is loaded. Families without a network ignore all of it."""

    threads: int | None = None
    providers: Sequence[str | tuple[str, dict[str, Any]]] | None = None
    cuda: bool | str = "auto"
    device_ids: Sequence[int] | None = None
    lazy_load: bool = False


class SparseModel(Embedder, Protocol):
    """A sparse embedder whose texts' length can be asked for."""

    def token_count(self, texts: Texts) -> int:
        """Sum of the texts' tokens."""


# Makes the embedder of a card: ``family(card, place, runtime, **options)``, where the keyword-only parameters are the
# family's own options.
SparseFamily: TypeAlias = Callable[..., SparseModel]
