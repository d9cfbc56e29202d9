"""What a late interaction model of images and texts puts around both; its card's options.

| option | meaning |
| --- | --- |
| query_prefix, query_suffix | put around a text; a suffix of special tokens gives a query further vectors |
| query_start | token ids that take the place of a text's first ones |
| blank_image | shape of the zeros that go with each text; without it one blank tile goes with a batch of texts |
| image_token, image_tokens, image_prompt | with an image go this id, so many times, and then these ids |
| tile_prompt | instead: a prompt with {image} where the tiles' tokens belong, by rows, then those of the whole |
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from embedders.catalog import ModelCard


@dataclass(frozen=True)
class PromptTemplate:
    """Options of a card; see the table at the top of this module."""

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
        """Read a card's options; raises ValueError for one that there is not, or where those for images are missing."""
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
        """Texts as they are tokenized; what is not a str stays as it is, to be named later by its own place."""
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
