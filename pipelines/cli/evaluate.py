"""``fleetembed evaluate``: measure how well a job's models find."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.app import App
from pipelines.cli.job import FAILED, exit_code
from pipelines.errors import ConfigError
from pipelines.evaluation.margin import MARGIN

app = App()


@app.command()
def main(
    beir: Annotated[Path, typer.Option("--beir", help="Folder with corpus.jsonl, queries.jsonl and qrels/.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="The YAML file of a job with the models.")],
    split: Annotated[str, typer.Option(help="Which qrels/SPLIT.tsv to ask.")] = "test",
    out: Annotated[Path | None, typer.Option(help="Folder for results. Default: output/evaluation/NAME.")] = None,
    queries: Annotated[int | None, typer.Option(min=1, help="Ask only the first N judged queries.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="An earlier results.json to compare with.")] = None,
    margin: Annotated[float, typer.Option(min=0, max=1, help="How far a metric may fall below the baseline.")] = MARGIN,
    rrf_k: Annotated[
        str | None, typer.Option("--rrf-k", metavar="K,K", help="Measure reciprocal rank fusions with these k too.")
    ] = None,
    exact_only: Annotated[bool, typer.Option("--exact-only", help="Do not measure HNSW.")] = False,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Embed a BEIR corpus, search it in every way the job's vectors allow, and measure quality, size and speed.

    Exit codes: 0 all well; 1 failed or worse than the baseline; 2 bad usage or configuration.
    """
    # Imported by need: --help does without.
    from pipelines.evaluation.evaluate import Options, evaluate
    from pipelines.evaluation.report.comparison import show_comparison
    from pipelines.evaluation.report.table import show_results

    errors = Console(stderr=True)

    def act() -> int:
        options = Options(
            beir, config, split, out, queries, baseline, margin, exact_only, overrides or (), _whole_numbers(rrf_k)
        )
        results, comparison = evaluate(options, errors)
        if as_json:
            print(json.dumps(results.to_json(), indent=2, ensure_ascii=False))
        else:
            show_results(results, Console())
        if comparison is None:
            return 0
        show_comparison(comparison, errors if as_json else Console())
        return 0 if comparison.passed else FAILED

    raise typer.Exit(exit_code(act, errors))


def _whole_numbers(text: str | None) -> list[int]:
    try:
        return [] if text is None else [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--rrf-k {text!r}: write whole numbers with commas between, as 2,10,60") from None
