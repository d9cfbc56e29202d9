"""Which ways to search are measured: each vector alone, fusions, staged searches, and those a job names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from embedders.base import VectorSpec
from pipelines.config.search import DEFAULT_RRF_K, SearchConfig
from pipelines.evaluation.metrics import DEPTH

# Hits that a search is timed with: a page of results.
PAGE = 10
STAGE_DEPTHS = (100, 200, 500, 1000)
# Documents up to which each query is compared with every token vector of each.
MOST_EXHAUSTIVE = 10_000


@dataclass(frozen=True)
class Way:
    """One way to search, under a name.

    Each query is asked twice: for a page as users ask for it, which is timed, and 1,000 deep for what comes after.
    """

    name: str
    search: SearchConfig

    @property
    def vectors(self) -> list[str]:
        """Every vector that the way reads."""
        second = [self.search.rescore] if self.search.rescore is not None else []
        return [*self.search.using, *(name for name in second if name not in self.search.using)]

    @property
    def page_hits(self) -> int:
        """Number of hits to ask for to fill a page; a reranker reads more than a page."""
        return max(PAGE, self.search.rerank.candidates) if self.search.rerank is not None else PAGE

    @property
    def fuses(self) -> bool:
        """Whether a fusion has the last word."""
        return len(self.search.using) > 1 and self.search.rescore is None and self.search.rerank is None

    @property
    def settled(self) -> tuple[SearchConfig, int]:
        """The search, and its number of hits, that gives a fusion's page together with what follows it.

        Reciprocal ranks give many documents equal scores, and Qdrant orders and cuts those at random: with what comes
        after the page they can be put into an order that is the same each time.
        """
        depth = self.search.depth(PAGE)
        return self.search.model_copy(update={"candidates": depth}), depth

    @property
    def deep(self) -> tuple[SearchConfig, int]:
        """The search of the deep run, and its number of hits.

        A second stage orders the candidates it has for a page, so that there are no more hits than those. A fusion
        without a number of candidates gets as many of each vector as hits are wanted.
        """
        search = self.search.model_copy(update={"rerank": None})
        if search.rescore is not None:
            depth = self.search.depth(self.page_hits)
        elif len(search.using) > 1:
            depth = DEPTH
        else:
            return search, DEPTH
        return search.model_copy(update={"candidates": depth}), min(depth, DEPTH)


@dataclass(frozen=True)
class Searchable:
    """The vectors of a collection, and how each of them can be searched.

    ``finders`` are the vectors that find candidates for a text, ``rescoring`` the multivectors without an index, and
    ``folded`` maps a vector to the multivector it was folded from, where that was kept.
    """

    vectors: Mapping[str, VectorSpec]
    finders: Sequence[str]
    rescoring: frozenset[str]
    folded: Mapping[str, str]
    documents: int

    def has_graph(self, way: Way) -> bool:
        """Whether an HNSW graph may take part in a way; the index of sparse vectors is exact."""
        finders = (name for name in way.search.using if name not in self.rescoring)
        return not way.search.exact and any(self.vectors[name].kind != "sparse" for name in finders)


def choose_ways(
    searchable: Searchable, searches: Mapping[str, SearchConfig], rrf_ks: Sequence[int] = ()
) -> tuple[list[Way], list[str]]:
    """Choose the ways for a collection, and tell which are left out and why.

    Reciprocal rank fusions are measured with each k of ``rrf_ks`` too, beside the default.
    """
    ways, notices = [Way(name, SearchConfig(using=[name])) for name in searchable.finders], []
    for name in sorted(searchable.rescoring):
        if searchable.documents > MOST_EXHAUSTIVE:
            notices.append(
                f"{name} alone is left out: it has no index, and there are over {MOST_EXHAUSTIVE:,} documents"
            )
        else:
            ways.append(Way(name, SearchConfig(using=[name])))
    for chosen in _groups(searchable.finders):
        ways += [_by_ranks(chosen, k) for k in dict.fromkeys([DEFAULT_RRF_K, *rrf_ks])]
        if len(chosen) == len(searchable.finders):
            ways.append(Way(f"{'+'.join(chosen)} dbsf", SearchConfig(using=list(chosen), fusion="dbsf")))
    ways += [way for stages in _stages(searchable) for way in _staged(*stages, searchable.documents)]
    taken = {way.name for way in ways}
    for name, search in searches.items():
        search = search if search.using else search.model_copy(update={"using": list(searchable.finders)})
        ways.append(Way(name if name not in taken else f"{name} (searches)", search))
    return ways, notices


def _groups(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return all names and each pair of them; nothing for a single name."""
    pairs: list[tuple[str, ...]] = list(combinations(names, 2))
    return [tuple(names), *pairs] if len(names) > 2 else pairs


def _by_ranks(names: Sequence[str], k: int) -> Way:
    shown = "rrf" if k == DEFAULT_RRF_K else f"rrf k={k}"
    return Way(f"{'+'.join(names)} {shown}", SearchConfig(using=list(names), rrf_k=k))


def _stages(searchable: Searchable) -> list[tuple[str, str, str]]:
    """Pair first vectors with those that order their candidates anew, each with its name in the name of the way."""
    folded = [(name, searchable.folded[name], "maxsim") for name in searchable.finders if name in searchable.folded]
    kept = set(searchable.folded.values())
    alone = [name for name, spec in searchable.vectors.items() if spec.kind == "multivector" and name not in kept]
    dense = [
        name
        for name in searchable.finders
        if searchable.vectors[name].kind == "dense" and name not in searchable.folded
    ]
    return folded + [(name, second, second) for second in alone for name in dense]


def _staged(first: str, second: str, shown: str, documents: int) -> list[Way]:
    return [
        Way(f"{first}>{shown}@{depth}", SearchConfig(using=[first], rescore=second, candidates=depth))
        for depth in STAGE_DEPTHS
        if depth < documents
    ]
