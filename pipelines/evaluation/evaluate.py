"""Evaluates a job's models and searches on a BEIR data set, from its folder to table, chart and verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipelines import EmbeddingPipeline
from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.errors import ConfigError, SinkError
from pipelines.evaluation import extra
from pipelines.evaluation.beir import BeirDataset, judgements_file, read_dataset
from pipelines.evaluation.engines.choose import Place, choose_engine
from pipelines.evaluation.engines.points import bytes_a_point, count_points
from pipelines.evaluation.job import make_job
from pipelines.evaluation.measure import Examiner, Trial, run_trials
from pipelines.evaluation.metrics import measure_run
from pipelines.evaluation.report.baseline import Comparison, compare, refuse_unlike
from pipelines.evaluation.report.chart import write_charts
from pipelines.evaluation.report.files import make_folder, write_runs, writing
from pipelines.evaluation.report.results import Embedded, Measurement, Results, load_results
from pipelines.evaluation.ways import Searchable, Way, choose_ways
from pipelines.filesystem import without_credentials
from pipelines.run.report import RunReport
from pipelines.search import Searcher
from pipelines.sinks.qdrant.config import QdrantSinkConfig

MARGIN = 0.01


@dataclass(frozen=True)
class Options:
    """What is evaluated: a BEIR folder's split with a job's models, ``queries`` of it at most; results go to ``out``.

    ``baseline`` are earlier results, and ``margin`` by how much each metric may be below them.
    """

    beir: Path
    config: str | Path | dict[str, Any] | JobConfig
    split: str = "test"
    out: Path | None = None
    queries: int | None = None
    baseline: Path | None = None
    margin: float = MARGIN
    exact_only: bool = False
    overrides: Sequence[str] = ()


def evaluate(options: Options, console: Console) -> tuple[Results, Comparison | None]:
    """Embed the corpus as far as it is not yet, measure every way, and write results, runs and charts.

    Raises ConfigError for what is wrong with the call, and the FleetembedError of what fails.
    """
    extra.refuse_if_missing()
    config = load_config(options.config, options.overrides)
    baseline = load_results(options.baseline) if options.baseline is not None else None
    out = options.out or Path("output", "evaluation", options.beir.resolve().name)
    judgements_file(options.beir, options.split)
    make_folder(out)
    dataset = read_dataset(options.beir, options.split, out / "corpus.jsonl", options.queries)
    if baseline is not None:
        refuse_unlike(dataset.facts, baseline, str(options.baseline))
    job, notices = make_job(config, dataset.name, out)
    for notice in notices:
        console.print(notice, style="yellow", markup=False, highlight=False, soft_wrap=True)
    report = _embed(job, out, console)
    with Searcher.from_config(job) as searcher:
        evaluation = _Evaluation(job, dataset, searcher, report, out, console)
        results = evaluation.measure([*dataset.notices, *notices], exact_only=options.exact_only)
    with writing(out):
        results.save(out / "results.json")
        write_charts(results, out)
    return results, compare(baseline, results, options.margin) if baseline is not None else None


class _Evaluation:
    """One evaluation, once the corpus is embedded."""

    def __init__(
        self,
        job: JobConfig,
        dataset: BeirDataset,
        searcher: Searcher,
        report: RunReport,
        out: Path,
        console: Console,
    ) -> None:
        self._job, self._dataset, self._searcher = job, dataset, searcher
        self._report, self._out, self._console = report, out, console
        sink = job.sink[0]
        assert isinstance(sink, QdrantSinkConfig)
        self._sink = sink
        self._owners = {vector: one.name for one in job.embeddings for vector in one.vector_names}
        self._points = count_points(searcher.client, searcher.collection)

    def measure(self, notices: list[str], *, exact_only: bool) -> Results:
        """Measure all ways; ``notices`` is what is known already that a reader of the figures is to know."""
        self._refuse_strangers()
        there = self._searchable()
        ways, left_out = choose_ways(there, self._job.searches)
        if not ways:
            raise ConfigError("no vector of this job can be searched with a text, so there is nothing to evaluate")
        with ExitStack() as stack:
            facts = {"fingerprint": self._report.fingerprint, "corpus": self._dataset.corpus_digest}
            place = Place(self._searcher, self._sink, there, self._points, self._out / "hnsw", facts)
            with self._progress("copying and indexing for HNSW", self._points) as step:
                engine, index, more = choose_engine(place, stack, step, exact_only=exact_only)
            examiner = Examiner(self._searcher, engine, self._owners)
            graph = partial(_uses_graph, there, index)
            with self._progress("asking", len(self._dataset.queries)) as step:
                trials = run_trials(examiner, self._dataset.queries, ways, graph, lambda: step(1))
        embedding, about_embedding = self._embedding()
        write_runs(self._out, trials)
        return Results(
            dataset=self._dataset.facts,
            measurements=self._measurements(trials, embedding),
            fingerprint=self._report.fingerprint,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            engine=index["engine"],
            embedding=embedding,
            index=index,
            versions=extra.versions(),
            notices=[*notices, *self._dead(), *left_out, *more, *about_embedding],
            config=_shown_config(self._job),
        )

    def _searchable(self) -> Searchable:
        rescoring = self._searcher.facts.rescoring
        return Searchable(
            vectors=self._searcher.vectors,
            finders=self._searcher.default_vectors,
            rescoring=rescoring,
            folded={one.name: one.multivector_name for one in self._job.embeddings if one.keeps_multivector},
            documents=self._dataset.documents,
        )

    def _refuse_strangers(self) -> None:
        """Points of documents that the corpus no longer has would be found, and push others down."""
        expected = self._report.rows["chunked"] - self._report.rows["dead"]
        if self._points != expected:
            raise SinkError(
                f"{self._sink.place} holds {self._points:,} points, and this corpus makes {expected:,}: documents of "
                "another corpus, or of a longer one, are in it. Delete it, or give another --out"
            )

    def _embedding(self) -> tuple[dict[str, Embedded], list[str]]:
        """Seconds of each embedding: this run's, or where it embedded nothing those that an earlier one wrote down."""
        found: dict[str, Embedded] = {}
        notices = []
        earlier = _earlier(self._out / "results.json")
        for embedding in self._job.embeddings:
            name, model = embedding.name, self._report.models[embedding.vector_names[0]]
            stage = self._report.stages.get(name, {})
            known = earlier.get(name)
            if stage.get("rows"):
                found[name] = Embedded(stage["seconds"], int(stage["rows"]), model["fingerprint"])
                if stage["rows"] < self._points:
                    rows = f"{stage['rows']:,} of {self._points:,}"
                    notices.append(f"embed s of {name} is that of {rows} rows; the others were there already")
            elif known is not None and known.fingerprint == model["fingerprint"]:
                found[name] = known
        return found, notices

    def _measurements(self, trials: Sequence[Trial], embedding: dict[str, Embedded]) -> list[Measurement]:
        sizes = bytes_a_point(self._searcher.client, self._searcher.collection, self._searcher.vectors)
        chunks = self._points / self._dataset.documents
        measured = []
        for trial in trials:
            owners = {self._owners[name] for name in trial.way.vectors}
            encode, search, slow = trial.milliseconds()
            measured.append(
                Measurement(
                    way=trial.way.name,
                    index=trial.index,
                    metrics=measure_run(self._dataset.judgements, trial.found),
                    encode_ms=encode,
                    search_ms=search,
                    search_p95_ms=slow,
                    bytes_per_document=sum(sizes[name] for name in trial.way.vectors) * chunks,
                    embed_seconds=(
                        sum(embedding[name].seconds for name in owners) if owners <= embedding.keys() else None
                    ),
                    vectors=trial.way.vectors,
                    search=trial.search.model_dump(mode="json", exclude_defaults=True),
                )
            )
        return measured

    def _dead(self) -> list[str]:
        dead = self._report.rows["dead"]
        return [f"{dead:,} documents could not be embedded and cannot be found; see {self._job.dead_letters}"] * bool(
            dead
        )

    @contextmanager
    def _progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*shown, console=self._console, transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda steps: progress.advance(task, steps)


def _embed(job: JobConfig, out: Path, console: Console) -> RunReport:
    try:
        return EmbeddingPipeline(job).run(console=console)
    except SinkError as error:
        raise SinkError(f"{error}; or give another --out than {out}") from None


def _uses_graph(there: Searchable, index: dict[str, Any], way: Way) -> bool:
    return bool(index["graph"]) and there.has_graph(way)


def _earlier(path: Path) -> dict[str, Embedded]:
    """What an evaluation before this one wrote down of its embedding; nothing where there was none, or is damaged."""
    try:
        return load_results(path).embedding
    except ConfigError:
        return {}


def _shown_config(job: JobConfig) -> dict[str, Any]:
    shown = job.model_dump(mode="json", exclude_defaults=True)
    for sink in shown["sink"]:
        if sink.get("url"):
            sink["url"] = without_credentials(sink["url"])
    return shown
