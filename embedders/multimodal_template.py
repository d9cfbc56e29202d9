"""The options of a late interaction model of images and texts: the tokens that it adds around both.

| option | meaning |
| --- | --- |
| query_prefix, query_suffix | text put around a query; special tokens in the suffix give it further vectors |
| query_start | token ids that replace a query's first ones |
| blank_image | shape of the zeros fed with each query; without it, one blank tile is fed with a batch of queries |
| image_token, image_tokens, image_prompt | an image is fed with this id, so many times, and then these ids |
| tile_prompt | instead of those: a prompt, in which {image} stands for the tokens of the tiles, the whole image last |
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from embedders.catalog import ModelCard


@dataclass(frozen=True)
class PromptTemplate:
    """What a model adds around texts and images; see the table at the top of this module."""

    query_prefix: str = ""
    query_suffix: str = ""
    query_start: tuple[int, ...] = ()
    blank_image: tuple[int, ...] = ()
    image_token: int | None = None
    image_tokens: int = 0
    image_prompt: tuple[int, ...] = ()
    tile_prompt: str | None = None

    @classmethod
    def of(cls, card: ModelCard) -> PromptTemplate:
        """Read a card's options; raises ValueError for an unknown one, and where those for images are missing."""
        card.refuse_unknown_options(OPTION_NAMES)
        options: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in card.options.items()
        }
        template = cls(**options)
        if (template.tile_prompt is None) == (template.image_token is None):
            raise ValueError(f"model {card.model}: options must give either tile_prompt or image_token")
        if template.tile_prompt is not None and "{image}" not in template.tile_prompt:
            raise ValueError(f"model {card.model}: tile_prompt has no {{image}}: {template.tile_prompt!r}")
        return template

    def decorated(self, texts: list[str]) -> list[str]:
        """Put prefix and suffix around texts; what is not a str stays as it is, and is named later by its position."""
        return [self.query_prefix + text + self.query_suffix if isinstance(text, str) else text for text in texts]


OPTION_NAMES = tuple(field.name for field in fields(PromptTemplate))


def tile_tokens(rows: int, columns: int, length: int) -> str:
    """The tokens of an image's tiles, as Idefics3's processor writes them: ``length`` a tile, the whole image last."""
    image, around = "<image>" * length, "<fake_token_around_image>"
    tiles = "".join(
        "".join(f"{around}<row_{row}_col_{column}>{image}" for column in range(1, columns + 1)) + "\n"
        for row in range(1, rows + 1)
    )
    return f"{tiles}\n" * (rows > 0) + f"{around}<global-img>{image}{around}"
