"""The benchmark of GPUs, on a CPU with a tiny model; its nDCG against the package of the evaluations."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.gpu import main
from benchmarks.gpu_host import Card
from benchmarks.gpu_quality import ndcg_at_10
from pipelines.evaluation.metrics import measure_run


def test_steps_tell_lines_of_json_and_one_that_fails_does_not_end_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps([f"text number {number} " * (number + 1) for number in range(20)]), encoding="utf-8")
    out = tmp_path / "results.jsonl"
    # It has no model of this name, for want of a checkpoint; what needs none goes on.
    given = ["--device", "cpu", "--quick", "--seconds", "240", "--folder", str(tmp_path), "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        main([*given, "--steps", "provider,bare-base", "--texts", str(texts)])
    assert ended.value.code == 0
    told = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [json.loads(line) for line in capfd.readouterr().out.splitlines()] == told
    assert {"step": "provider", "providers": ["CPUExecutionProvider"], "correct": True} in told
    (bare,) = [one for one in told if "tokens_a_second" in one]
    assert (bare["model"], bare["graph"], bare["budget"], bare["length"]) == ("base", "float32", 64, 32)
    assert bare["tokens_a_second"] > 0 and not [one for one in told if "error" in one]
    with pytest.raises(SystemExit):
        main([*given, "--steps", "bare-large", "--checkpoint", str(tmp_path / "none")])
    failed = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()][len(told) :]
    assert "No such file" in failed[0]["error"] or "no tokenizer.json" in failed[0]["error"]
    assert failed[-1]["step"] == "end"


def test_the_stand_in_for_a_card_takes_one_batch_at_a_time() -> None:
    card = Card(rate=10_000.0)
    started = time.perf_counter()
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(card.compute, [100] * 6))
    assert time.perf_counter() - started >= 0.06
    runs = card.taken()
    assert [ended - began for began, ended in runs] == pytest.approx([0.01] * 6)
    assert all(before[1] <= after[0] for before, after in pairwise(runs))
    assert not card.taken()


def test_its_ndcg_is_that_of_the_evaluations() -> None:
    judgements = {"a": {"1": 1, "2": 2, "3": 0}, "b": {"9": 1}, "c": {str(number): 1 for number in range(30)}}
    ranked = {"a": ["3", "1", "5", "2"], "b": ["1", "2"], "c": [str(number) for number in range(0, 24, 2)]}
    assert ndcg_at_10(judgements, ranked) == pytest.approx(measure_run(judgements, ranked)["nDCG@10"])
