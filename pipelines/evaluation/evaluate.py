"""Evaluates a job's models and searches on a BEIR data set, from its folder to table, chart and verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipelines import EmbeddingPipeline
from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.config.search import MOST_RRF_K
from pipelines.errors import ConfigError, SinkError
from pipelines.evaluation.beir import BeirDataset, judgements_file, read_dataset
from pipelines.evaluation.engines.choose import choose_engine
from pipelines.evaluation.engines.collection import EvaluatedCollection
from pipelines.evaluation.job import make_job
from pipelines.evaluation.margin import MARGIN
from pipelines.evaluation.measure import Examiner, Trial, run_trials
from pipelines.evaluation.metrics import measure_run
from pipelines.evaluation.packages import refuse_if_missing, versions
from pipelines.evaluation.report.comparison import Comparison, compare, refuse_unlike
from pipelines.evaluation.report.files import RESULTS, make_folder, write_results, write_runs
from pipelines.evaluation.report.results import Embedded, Measurement, Results, load_results
from pipelines.evaluation.ways import Way, choose_ways
from pipelines.run.report.report import RunReport
from pipelines.search import Searcher
from pipelines.submitted import is_submitted
from pipelines.urls import without_credentials
from pipelines.written import EVALUATIONS


@dataclass(frozen=True)
class Options:
    """What to evaluate: the split of a BEIR folder, at most so many ``queries`` of it, with a job's models.

    Results go to the folder ``out``. ``baseline`` is a file of earlier results, and each metric may be below those by
    ``margin``. Reciprocal rank fusions are measured with each k of ``rrf_ks`` too.
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
    rrf_ks: Sequence[int] = ()


def evaluate(options: Options, console: Console) -> tuple[Results, Comparison | None]:
    """Embed what of the corpus is not embedded yet, measure every way, and write results, runs and charts.

    Raises ConfigError for what is wrong with the call, and the FleetembedError of what fails.
    """
    refuse_if_missing()
    if not all(1 <= k <= MOST_RRF_K for k in options.rrf_ks):
        raise ConfigError(f"--rrf-k: each k must be from 1 to {MOST_RRF_K:,}, got {list(options.rrf_ks)}")
    config = load_config(options.config, options.overrides)
    baseline = load_results(options.baseline) if options.baseline is not None else None
    out = options.out or Path(EVALUATIONS, options.beir.resolve().name)
    if is_submitted() and not out.is_absolute():
        raise ConfigError(
            f"--out {out} is relative, and Ray removes the folder of a submitted job: give an absolute path"
        )
    judgements_file(options.beir, options.split)
    make_folder(out)
    dataset = read_dataset(options.beir, options.split, out / "corpus.jsonl", options.queries)
    if baseline is not None:
        refuse_unlike(dataset.summary, baseline, str(options.baseline))
    job, notices = make_job(config, dataset.name, out)
    for notice in notices:
        console.print(notice, style="yellow", markup=False, highlight=False, soft_wrap=True)
    report = _embed(job, out, console)
    provenance = {"fingerprint": report.fingerprint, "corpus": dataset.corpus_digest}
    with Searcher.from_config(job) as searcher:
        collection = EvaluatedCollection.of(job, searcher, documents=dataset.documents, provenance=provenance)
        evaluation = _Evaluation(job, dataset, collection, report, out, console)
        ways, left_out = choose_ways(collection.searchable, job.searches, options.rrf_ks)
        if not ways:
            raise ConfigError("no vector of this job can be searched with a text, so there is nothing to evaluate")
        told = [*dataset.notices, *notices, *left_out]
        results = evaluation.measure(ways, told, exact_only=options.exact_only)
    write_results(out, results)
    return results, compare(baseline, results, options.margin) if baseline is not None else None


class _Evaluation:
    """One evaluation, once the corpus is embedded."""

    def __init__(
        self,
        job: JobConfig,
        dataset: BeirDataset,
        collection: EvaluatedCollection,
        report: RunReport,
        out: Path,
        console: Console,
    ) -> None:
        self._job, self._dataset, self._collection = job, dataset, collection
        self._report, self._out, self._console = report, out, console
        self._owners = {vector: one.name for one in job.embeddings for vector in one.vector_names}

    def measure(self, ways: Sequence[Way], notices: list[str], *, exact_only: bool) -> Results:
        """Measure the ways and write their runs; ``notices`` are those of what happened before."""
        collection = self._collection
        self._refuse_strangers()
        with ExitStack() as stack:
            with self._progress("copying and indexing for HNSW", collection.points) as step:
                engine, index, more = choose_engine(collection, self._out / "hnsw", stack, step, exact_only=exact_only)
            examiner = Examiner(collection.searcher, engine, self._owners)

            def has_graph(way: Way) -> bool:
                return bool(index["graph"]) and collection.searchable.has_graph(way)

            with self._progress("asking", len(self._dataset.queries)) as step:
                trials = run_trials(examiner, self._dataset.queries, ways, has_graph, lambda: step(1))
        embedding, about_embedding = self._embedding()
        write_runs(self._out, [(trial.name, trial.run) for trial in trials])
        return Results(
            dataset=self._dataset.summary,
            measurements=self._measurements(trials, embedding),
            fingerprint=self._report.fingerprint,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            engine=index["engine"],
            embedding=embedding,
            index=index,
            versions=versions(),
            notices=[*notices, *self._dead(), *more, *about_embedding],
            config=_shown_config(self._job),
        )

    def _refuse_strangers(self) -> None:
        """Refuse a collection that holds other documents, which would push those of the corpus down."""
        expected, held = self._report.rows["chunked"] - self._report.rows["dead"], self._collection.points
        if held != expected:
            raise SinkError(
                f"{self._collection.place} holds {held:,} points, and this corpus makes {expected:,}: documents of "
                "another corpus, or of a longer one, are in it. Delete it, or give another --out"
            )

    def _embedding(self) -> tuple[dict[str, Embedded], list[str]]:
        """Return the seconds of each embedding: this run's, or where it embedded nothing, those of earlier results."""
        embedding: dict[str, Embedded] = {}
        notices = []
        earlier, points = _earlier(self._out / RESULTS), self._collection.points
        for one in self._job.embeddings:
            name, model = one.name, self._report.models[one.vector_names[0]]
            stage = self._report.stages.get(name, {})
            known = earlier.get(name)
            if stage.get("rows"):
                embedding[name] = Embedded(stage["seconds"], int(stage["rows"]), model["fingerprint"])
                if stage["rows"] < points:
                    rows = f"{stage['rows']:,} of {points:,}"
                    notices.append(f"embed s of {name} is that of {rows} rows; the others were there already")
            elif known is not None and known.fingerprint == model["fingerprint"]:
                embedding[name] = known
        return embedding, notices

    def _measurements(self, trials: Sequence[Trial], embedding: dict[str, Embedded]) -> list[Measurement]:
        sizes = self._collection.bytes_a_point()
        chunks = self._collection.points / self._dataset.documents
        measured = []
        for trial in trials:
            owners = {self._owners[name] for name in trial.way.vectors}
            encode, search, slow = trial.milliseconds()
            measured.append(
                Measurement(
                    way=trial.way.name,
                    index=trial.index,
                    metrics=measure_run(self._dataset.judgements, trial.run),
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


def _earlier(path: Path) -> dict[str, Embedded]:
    """Read what an earlier evaluation wrote down of its embedding; empty where its results are missing or damaged."""
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
