"""Results as a file, and beside a baseline."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipelines.errors import ConfigError
from pipelines.evaluation.report.comparison import compare, refuse_unlike, show_comparison
from pipelines.evaluation.report.results import Embedded, load_results
from pipelines.evaluation.report.table import show_results
from tests.pipelines.evaluation.report.made_results import DATASET, measurement, results


def shown(action: Any) -> str:
    text = io.StringIO()
    action(Console(file=text, width=120))
    return text.getvalue()


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    saved = results(notices=["splade is left out"], embedding={"dense": Embedded(1.5, 3, "f")})
    saved.save(tmp_path / "results.json")
    assert load_results(tmp_path / "results.json") == saved
    row = json.loads((tmp_path / "results.json").read_text())["measurements"][0]
    assert row["query_ms"] == 10.5 and row["queries_per_second"] == pytest.approx(1000 / 10.5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "holds no results"),
        ("{}", "holds no results"),
        ('{"format": 0}', "format 0, this version reads 1"),
        ('{"format": 1, "measurements": [{}], "dataset": {}}', "holds no results"),
        ('{"format": 1, "measurements": 3, "dataset": {}}', "holds no results"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "old.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_results(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_results(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measurements": []}, "measurements: List should have at least 1 item"),
        ({"measurements": [{**vars(measurement("dense")), "metrics": {}}]}, r"measurements\.0\.metrics: .* at least 1"),
        ({"measurements": [{**vars(measurement("dense")), "metrics": {"MRR@10": True}}]}, r"metrics\.MRR@10: "),
        ({"measurements": [{**vars(measurement("dense")), "search_ms": float("nan")}]}, r"0\.search_ms: .*finite"),
        *(({"dataset": value}, "dataset: ") for value in (None, "x", [])),
        *(({"embedding": value}, "embedding") for value in (5, None, {"dense": 5}, {"dense": {"fingerprint": "f"}})),
    ],
)
def test_damaged_and_empty_results_are_refused_with_file_and_key(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps({**results().to_json(), **change}))
    with pytest.raises(ConfigError, match=f"old.json holds no results of an evaluation: .*{message}"):
        load_results(path)


@given(
    st.sampled_from(["way", "index", "metrics", "vectors", "search_ms"]),
    st.from_type(type(None)) | st.text() | st.lists(st.integers()),
)
def test_damage_is_a_clear_error_or_does_no_harm(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: Any
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "old.json"
    raw = results().to_json()
    raw["measurements"][0][key] = value
    path.write_text(json.dumps(raw))
    try:
        compare(load_results(path), results(), 0.01)
    except ConfigError as error:
        assert str(path) in str(error)


def test_a_fall_by_the_margin_passes_and_by_more_fails() -> None:
    before = results(measurement("dense", quality=0.70))
    assert compare(before, results(measurement("dense", quality=0.69)), 0.01).passed
    assert compare(before, results(measurement("dense", quality=0.75)), 0.01).passed
    worse = compare(before, results(measurement("dense", quality=0.6899)), 0.01)
    assert not worse.passed
    assert {change.metric for change in worse.worse} == {"nDCG@10", "MRR@10"}
    assert not compare(before, results(measurement("dense", quality=0.6999)), 0).passed


def test_a_way_that_is_missing_fails_and_a_new_one_does_not() -> None:
    both = results(measurement("dense"), measurement("dense", "HNSW"))
    one = results(measurement("dense"))
    assert compare(one, both, 0.01).passed
    gone = compare(both, one, 0.01)
    assert not gone.passed
    text = shown(lambda console: show_comparison(gone, console))
    assert "missing: dense (HNSW) is in the baseline" in text and "1 way is missing" in text


def test_a_metric_that_is_no_longer_measured_fails() -> None:
    before, now = measurement("dense"), measurement("dense", metrics={"nDCG@10": 0.9})
    gone = compare(results(before), results(now), 0.01)
    assert not gone.passed and not gone.worse
    text = shown(lambda console: show_comparison(gone, console))
    assert "missing: MRR@10 of dense (exact) is in the baseline" in text
    assert "worse than the baseline: 4 metrics are missing" in text


def test_the_table_of_changes_names_the_worst_first() -> None:
    before = results(measurement("a", quality=0.7), measurement("b", quality=0.5), measurement("c", quality=0.5))
    now = results(measurement("a", quality=0.6), measurement("b", quality=0.52), measurement("c", quality=0.5))
    lines = shown(lambda console: show_comparison(compare(before, now, 0.01), console)).splitlines()
    rows = [line.split() for line in lines if "+0." in line or "-0." in line]
    assert [row[0] for row in rows] == ["a", "a", "b", "b"] and rows[0][-1] == "-0.1000"
    assert "worse than the baseline: 2 metrics are more than 0.01 lower" in lines[-1]


@pytest.mark.parametrize(
    ("key", "message"),
    [("split", "the split"), ("corpus_sha256", "the corpus"), ("queries_sha256", "the queries or their judgements")],
)
def test_a_baseline_of_something_else_is_refused(key: str, message: str) -> None:
    refuse_unlike({**DATASET, "folder": "elsewhere"}, results(), "old.json")
    with pytest.raises(ConfigError, match=f"old.json cannot be compared: it differs in {message}"):
        refuse_unlike({**DATASET, key: "other"}, results(), "old.json")


def test_the_table_fits_a_terminal_and_says_what_is_left_out() -> None:
    names = ("dense", "bm25", "dense+bm25+colbert dbsf", "colbert>maxsim@1000", "[red]hybrid[/red]")
    found = [measurement(name, index, 0.7123) for name in names for index in ("exact", "HNSW")]
    text = shown(lambda console: show_results(results(*found, notices=["splade is left out: no files"]), console))
    table = [line for line in text.splitlines() if "0.7123" in line]
    assert len(table) == 10 and all(len(line) <= 120 for line in table)
    assert all(line.endswith("1.5 kB   12.3") for line in (line.rstrip() for line in table))
    assert "[red]hybrid[/red]" in text and "splade is left out" in text and "R@1000" in text.replace("\n", " ")


def test_a_recall_deeper_than_the_corpus_is_not_shown() -> None:
    text = shown(lambda console: show_results(results(dataset={**DATASET, "documents": 500}), console))
    assert "R@100" in text and "R@1000" not in text
