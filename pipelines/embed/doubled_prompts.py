"""Texts that carry their model's prompt already, which the job would put before them a second time."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from embedders.factory import family_options
from embedders.prompts import choose_prompts
from pipelines.config.embeddings import EmbeddingConfig, PromptsConfig
from pipelines.config.job import JobConfig
from pipelines.sources import Split, read_split
from pipelines.sources.formats import format_named

SAMPLE_ROWS = 200
# More than by chance: one text in so many.
ONE_IN = 10

log = logging.getLogger("fleetembed")


def doubled_prompts(config: JobConfig, splits: Iterable[Split]) -> list[str]:
    """Look at the first texts of a job; says of each embedding that would put a prompt before one that is there.

    ``splits`` are those of the source, of which nothing is read where no embedding puts a prompt before texts.
    """
    chosen = {number: prompts_of(embedding) for number, embedding in enumerate(config.embeddings)}
    prefixed = {number: prompts for number, prompts in chosen.items() if prompts.get("passage", "").strip()}
    if not prefixed:
        return []
    texts = list(islice(_texts(config, splits), SAMPLE_ROWS))
    found = [said for number, prompts in prefixed.items() if (said := _said(number, config, prompts, texts))]
    for said in found:
        # Now, while there is time to stop the job; the report says it at the end.
        log.warning("%s", said)
    return found


def prompts_of(embedding: EmbeddingConfig) -> Mapping[str, str]:
    """What an embedding puts before texts, by use; empty for a family that has no prompts."""
    card = embedding.card
    if "prompts" not in family_options(card.family):
        return {}
    chosen: Any = embedding.options.get("prompts", embedding.prompts)
    return choose_prompts(card, chosen.model_dump() if isinstance(chosen, PromptsConfig) else chosen)


def _texts(config: JobConfig, splits: Iterable[Split]) -> Iterator[str]:
    for split in splits:
        kind = format_named(split.format)
        tables = (
            kind.identified(split, config.source, block_rows=SAMPLE_ROWS)
            if kind.is_identified
            else read_split(split, config.source, block_rows=SAMPLE_ROWS, images=False)
        )
        for table in tables:
            yield from (text for text in table["text"].to_pylist() if text)


def _said(number: int, config: JobConfig, prompts: Mapping[str, str], texts: list[str]) -> str | None:
    """The notice about one embedding; None where its prompts stand before no more than some texts."""
    embedding = config.embeddings[number]
    # Whatever the texts carry, the prompt for queries or that for passages, the latter comes before it.
    known = {prompt.strip().casefold(): prompt for prompt in prompts.values() if prompt.strip()}
    counts = {
        prompt: sum(text.lstrip().casefold().startswith(start) for text in texts) for start, prompt in known.items()
    }
    prompt, count = max(counts.items(), key=lambda item: item[1])
    if not count or count * ONE_IN < len(texts):
        return None
    key, query = f"embeddings.{number}.prompts", prompts.get("query")
    wanted = f"{{query: {query!r}}}" if query else "none"
    return (
        f"{key}: {count} of the first {len(texts)} texts begin with {prompt!r} already, and {embedding.name} puts "
        f"{prompts['passage']!r} before each text: the model would see both, and the vectors would differ from those "
        f"it was trained for. Set {key}: {wanted} to embed the texts as they are, or take the prompt out of them"
    )
