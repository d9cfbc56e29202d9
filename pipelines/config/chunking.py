"""How long documents are cut into chunks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipelines.config.section import MaybePlace, Section


class ChunkingConfig(Section):
    """How long documents are cut into chunks, each of which becomes a point."""

    tokenizer: MaybePlace = Field(
        description="Folder with a tokenizer.json, such a file, the URL of either, or a catalog model's name"
    )
    max_tokens: int = Field(
        256, ge=8, le=1_000_000, description="Tokens a chunk has at most, special tokens not counted"
    )
    overlap: int = Field(32, ge=0, description="Tokens that a chunk repeats from the one before")
    boundary: Literal["paragraph", "sentence", "none"] = Field(
        "sentence", description="Where a chunk ends if such a place is near; paragraph falls back to sentence"
    )

    @model_validator(mode="after")
    def _overlap_is_smaller(self) -> ChunkingConfig:
        if self.overlap > self.max_tokens // 2:
            raise ValueError(f"overlap {self.overlap} is more than half of max_tokens {self.max_tokens}")
        return self
