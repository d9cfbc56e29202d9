"""Prompts, which are put before a text: those of the model's card, a user's, or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from embedders.catalog import ModelCard

Use: TypeAlias = Literal["query", "passage"]
Prompts: TypeAlias = Literal["auto", "none"] | Mapping[str, str] | None

# Names of the tasks for queries and passages, of models that have several.
RETRIEVAL_TASKS: Mapping[Use, str] = {"query": "retrieval.query", "passage": "retrieval.passage"}


def choose_prompts(card: ModelCard, prompts: Prompts) -> Mapping[str, str]:
    """Prompts by use: the card's for "auto", none for "none" and None, else the ones given.

    A mapping may leave a use out, which then has no prompt. Raises ValueError for anything else.
    """
    if prompts is None or prompts == "none":
        return {}
    if prompts == "auto":
        return card.prompts
    if not isinstance(prompts, Mapping):
        raise ValueError(f"prompts must be 'auto', 'none' or {{query: ..., passage: ...}}, got {prompts!r}")
    for use, text in prompts.items():
        if use not in get_args(Use) or not isinstance(text, str):
            raise ValueError(f"prompts must give str for query and passage, got {use!r}: {text!r}")
        if not is_unicode(text):
            raise ValueError(f"the prompt for a {use} has a lone surrogate, which is not valid Unicode: {text!r}")
    return prompts


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold a text; it cannot hold half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def add_prompt(prompt: str, texts: list[str]) -> list[str]:
    """Put a prompt before each text; what is not a str stays as it is, and is named later by its position."""
    if not prompt:
        return texts
    return [prompt + text if isinstance(text, str) else text for text in texts]
