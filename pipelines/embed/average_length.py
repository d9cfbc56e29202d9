"""What a job measures of its corpus before it embeds: average lengths, where an embedding says ``avg_len: measure``.

Vectors that were weighed with different averages do not compare. So the average belongs to the place that is filled, as
the model does: it is measured once, over the corpus of the first run, and later runs and queries take the number that
the place keeps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.config.job import JobConfig
from pipelines.embed.documents import cutter, read_chunks
from pipelines.embed.row_embedder import RowEmbedder
from pipelines.errors import ConfigError, SinkError
from pipelines.sinks.base import Sink
from pipelines.sources import Repeats, Split
from pipelines.sources.read import for_texts

# Stands in the configuration while nothing is measured yet, so that the rest of it can be checked.
STAND_IN = 100.0


@dataclass(frozen=True)
class Lengths:
    """Words of some texts together, as an embedding scores them, and how many texts have one at least.

    Texts without a word are found by no query and do not count, as in Lucene's BM25Similarity (which divides by the
    documents that have the field). Both are whole numbers, so that parts add up to the same in any order.
    """

    words: int = 0
    texts: int = 0

    @classmethod
    def of(cls, lengths: npt.NDArray[np.int64]) -> Lengths:
        """Sum up the scored lengths of single texts."""
        return cls(int(lengths.sum()), int(np.count_nonzero(lengths)))

    def __add__(self, other: Lengths) -> Lengths:
        return Lengths(self.words + other.words, self.texts + other.texts)

    @property
    def average(self) -> float:
        """Words a text, 1 or more; raises ZeroDivisionError where there is no text.

        Rounded to two decimals: the number that a report shows is then the very one that weights are made with, and
        can be written into a configuration. No weight changes by more than half a percent for it.
        """
        return round(self.words / self.texts, 2)


@dataclass(frozen=True)
class Held:
    """The average length that a place was filled with."""

    avg_len: float
    place: str


def measuring(config: JobConfig) -> list[str]:
    """Name the embeddings whose average length is still to be measured."""
    return [embedding.name for embedding in config.embeddings if embedding.measures_length]


def with_lengths(config: JobConfig, lengths: Mapping[str, float]) -> JobConfig:
    """Put average lengths, by embedding, in the place of ``measure``."""
    if not lengths:
        return config
    embeddings = [
        embedding.with_avg_len(lengths[embedding.name]) if embedding.name in lengths else embedding
        for embedding in config.embeddings
    ]
    return config.model_copy(update={"embeddings": embeddings})


def with_stand_ins(config: JobConfig) -> JobConfig:
    """Put some number in the place of ``measure``: all but weights and fingerprints is as it will be."""
    return with_lengths(config, dict.fromkeys(measuring(config), STAND_IN))


def held_lengths(config: JobConfig, sinks: Sequence[Sink]) -> dict[str, Held]:
    """Ask the places which average length they were filled with, for each embedding that is to measure it.

    ``sinks`` are those of ``config.sink``. Raises SinkError where places differ, ConfigError where a place is filled
    and not with a number that could be used again.
    """
    held: dict[str, Held] = {}
    wanted = [(number, one.name) for number, one in enumerate(config.embeddings) if one.measures_length]
    for sink_config, sink in zip(config.sink, sinks, strict=True) if wanted else ():
        facts = sink.provenance()
        if facts is None:
            continue
        place = f"{sink_config.type} {sink_config.place}"
        for number, name in wanted:
            there = facts.get("embeddings") if isinstance(facts, dict) else None
            if isinstance(there, dict) and name not in there:
                continue  # the sink's own check tells which vectors the place lacks
            key = f"embeddings.{number}.options.avg_len"
            found = Held(_number_in(there, name, key, place), place)
            first = held.setdefault(name, found)
            if first.avg_len != found.avg_len:
                raise SinkError(
                    f"{key}: {first.place} was filled with an average length of {first.avg_len:g}, {place} with "
                    f"{found.avg_len:g}; one job cannot add to both. Give each its own job"
                )
    return held


def numbers(held: Mapping[str, Held]) -> dict[str, float]:
    """Average lengths by embedding, without the places."""
    return {name: found.avg_len for name, found in held.items()}


def length_notices(config: JobConfig, held: Mapping[str, Held]) -> list[str]:
    """Say where average lengths come from: the places that hold one, or a pass over the corpus that is to come."""
    known = [
        f"{name}: average length {one.avg_len:g} words, which {one.place} was filled with" for name, one in held.items()
    ]
    wanted = [
        f"{name}: its average length is measured over the corpus before anything is embedded"
        for name in measuring(config)
    ]
    return known + wanted


def _number_in(embeddings: object, name: str, key: str, place: str) -> float:
    """Read an embedding's average length out of what a place keeps, which may be damaged or written by others."""
    there = embeddings.get(name) if isinstance(embeddings, dict) else None
    options = there.get("options", {}) if isinstance(there, dict) else None
    if isinstance(options, dict) and "avg_len" not in options:
        raise ConfigError(
            f"{key}: {place} was filled with the model's own average length, and one that is measured would not go "
            "with these vectors. Leave the option out, or choose another place for this job"
        )
    number = options["avg_len"] if isinstance(options, dict) else None
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < math.inf:
        raise ConfigError(
            f"{key}: {place} does not say which average length its vectors were made with (an older Qdrant server "
            "keeps no such facts). Write the number from the first run's report in the place of measure, or choose "
            "another place for this job"
        )
    return float(number)


def averages(config: JobConfig, measured: Mapping[str, Lengths]) -> dict[str, float]:
    """Average length of each embedding; raises ConfigError where no text has a word."""
    for number, embedding in enumerate(config.embeddings):
        if embedding.name in measured and not measured[embedding.name].texts:
            raise ConfigError(
                f"embeddings.{number}.options.avg_len: nothing can be measured, because no text of the corpus has a "
                f"word that {embedding.name} keeps; give a number in the place of measure, or see to the corpus"
            )
    return {name: lengths.average for name, lengths in measured.items()}


def length_embedders(config: JobConfig) -> list[RowEmbedder]:
    """Make the embedders whose average length is still to be measured, not loaded yet."""
    embeddings = (one for one in config.embeddings if one.measures_length)
    return [RowEmbedder(embedding.with_avg_len(STAND_IN)) for embedding in embeddings]


def measure_splits(splits: Iterable[tuple[Split, Repeats | None]], config: JobConfig) -> dict[str, Lengths]:
    """Measure the rows that the job will embed of some splits: cut into chunks, without dead and repeated rows.

    Images are not fetched: a row whose image turns out to be unusable counts.
    """
    meter = LengthMeter(config)
    for split, repeats in splits:
        least = config.model_copy(update={"source": for_texts(split, config.source)})
        for _, chunks in read_chunks([(split, repeats)], least, images=False):
            meter.add(chunks)
    return meter.take()


class LengthMeter:
    """Adds up lengths of chunks for the embeddings whose average length is still to be measured."""

    def __init__(self, config: JobConfig) -> None:
        self._embedders = length_embedders(config)
        self._cut = cutter(config)
        self._block_rows = config.compute.block_rows
        self._found = self._nothing()

    def _nothing(self) -> dict[str, Lengths]:
        return {embedder.name: Lengths() for embedder in self._embedders}

    def take(self) -> dict[str, Lengths]:
        """Give the sums by embedding, and begin anew."""
        found, self._found = self._found, self._nothing()
        return found

    def add(self, chunks: pa.Table) -> None:
        """Add chunks; dead ones do not count."""
        for embedder in self._embedders:
            self._found[embedder.name] += Lengths.of(embedder.scored_lengths(chunks))

    def add_documents(self, documents: pa.Table) -> None:
        """Add documents, a table of SOURCE_SCHEMA that is cut into chunks, or chunks that have their ids already."""
        for start in range(0, documents.num_rows, self._block_rows):
            some = documents.slice(start, self._block_rows)
            self.add(some if "id" in some.column_names else self._cut(some))


def total(parts: Iterable[Mapping[str, Lengths]]) -> dict[str, Lengths]:
    """Add up what was measured in parts."""
    found: dict[str, Lengths] = {}
    for part in parts:
        for name, lengths in part.items():
            found[name] = found.get(name, Lengths()) + lengths
    return found
