"""Asks every judged query in every way, and times each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.config.search import SearchConfig
from pipelines.evaluation.engines.choose import Engine
from pipelines.evaluation.metrics import DEPTH, first_of_each
from pipelines.evaluation.ways import PAGE, Way
from pipelines.search import Hit, Searcher


@dataclass
class Trial:
    """A way with or without index: its run (documents by query, best first) and the seconds of each query."""

    way: Way
    exact: bool
    run: dict[str, list[str]] = field(default_factory=dict)
    encode_seconds: list[float] = field(default_factory=list)
    search_seconds: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of its run."""
        return self.way.name if self.exact else f"{self.way.name}.HNSW"

    @property
    def index(self) -> str:
        """The index as results name it."""
        return "exact" if self.exact else "HNSW"

    @property
    def search(self) -> SearchConfig:
        """The search that gives a page."""
        return self._as_exact(self.way.search)

    @property
    def deep(self) -> tuple[SearchConfig, int]:
        """The search of the deep run, and its number of hits."""
        search, limit = self.way.deep
        return self._as_exact(search), limit

    @property
    def settled(self) -> tuple[SearchConfig, int]:
        """The search that gives a fusion's page together with what follows it, and its number of hits."""
        search, limit = self.way.settled
        return self._as_exact(search), limit

    def milliseconds(self) -> tuple[float, float, float]:
        """Return milliseconds a query: mean to encode, mean to search, 95th percentile to search."""
        encode, search = (np.array(times or [0.0]) * 1000 for times in (self.encode_seconds, self.search_seconds))
        return float(encode.mean()), float(search.mean()), float(np.percentile(search, 95))

    def _as_exact(self, search: SearchConfig) -> SearchConfig:
        return search.model_copy(update={"exact": True}) if self.exact else search


class Examiner:
    """Asks queries in all the trials' ways; the ways take turns, so that a busy moment costs all of them."""

    def __init__(self, searcher: Searcher, engine: Engine, owners: Mapping[str, str]) -> None:
        """``owners`` maps each vector to its embedding: vectors of one embedding are encoded in one go."""
        self._searcher, self._engine, self._owners = searcher, engine, owners
        self._names: dict[str, str] = {}

    def ask(self, query: str, text: str, trials: Sequence[Trial]) -> None:
        """Ask one query in every way, and add documents and seconds to the trials."""
        encoded: dict[tuple[str, ...], tuple[dict[str, Any], float]] = {}
        for trial in trials:
            vectors: dict[str, Any] = {}
            seconds = 0.0
            for group in self._groups(trial.way.vectors):
                if group not in encoded:
                    encoded[group] = _timed(lambda group=group: self._searcher.encode(text, group))  # type: ignore[misc]
                vectors |= encoded[group][0]
                seconds += encoded[group][1]
            trial.encode_seconds.append(seconds)
            trial.run[query] = self._find(text, vectors, trial)

    def _find(self, text: str, vectors: Mapping[str, Any], trial: Trial) -> list[str]:
        """Return the documents of the page, then those of the deep run that are not on it."""
        if all(vectors[name] is None for name in trial.search.using):
            return []
        rerank = trial.search.rerank
        payload = ["document_id"] if rerank is None else ["document_id", rerank.text_key]
        ask = self._engine.prepare(trial.search, vectors, trial.way.page_hits, payload)
        page, seconds = _timed(lambda: self._searcher.rerank(text, ask(), trial.search) if rerank else ask())
        trial.search_seconds.append(seconds)
        if trial.way.fuses:
            page = in_order(self._ask(vectors, *trial.settled))[:PAGE]
        rest = self._ask(vectors, *trial.deep)
        if trial.way.fuses:
            rest = in_order(rest)
        documents = first_of_each(hit.document_id for hit in [*page, *rest])[:DEPTH]
        # One string a document, not one a hit: there are millions of hits.
        return [self._names.setdefault(document, document) for document in documents]

    def _ask(self, vectors: Mapping[str, Any], search: SearchConfig, limit: int) -> list[Hit]:
        return self._engine.prepare(search, vectors, limit, ["document_id"])()

    def _groups(self, vectors: Sequence[str]) -> list[tuple[str, ...]]:
        owners = dict.fromkeys(self._owners[name] for name in vectors)
        return [tuple(name for name in vectors if self._owners[name] == owner) for owner in owners]


def run_trials(
    examiner: Examiner,
    queries: Mapping[str, str],
    ways: Sequence[Way],
    approximate: Callable[[Way], bool],
    on_query: Callable[[], None] = lambda: None,
) -> list[Trial]:
    """Ask all queries in all ways: exactly, and where ``approximate`` tells so of a way, with the index too."""
    trials = [Trial(way, exact) for way in ways for exact in (True, False) if exact or approximate(way)]
    # The first query once beforehand: models are loaded, files are read.
    for query, text in list(queries.items())[:1]:
        examiner.ask(query, text, [Trial(trial.way, trial.exact) for trial in trials])
    for query, text in queries.items():
        examiner.ask(query, text, trials)
        on_query()
    return trials


def in_order(hits: Sequence[Hit]) -> list[Hit]:
    """Order hits best first, those of equal scores by their ids, which are hashes and say nothing of relevance."""
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))


def _timed(action: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    outcome = action()
    return outcome, time.perf_counter() - started
