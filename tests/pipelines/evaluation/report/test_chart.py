"""The chart as PNG and HTML, and where its labels go."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("altair", reason="needs the extra evaluate")
pytest.importorskip("vl_convert", reason="needs the extra evaluate")

from PIL import Image

from pipelines.evaluation.report.chart import build_chart
from pipelines.evaluation.report.files import write_charts
from pipelines.evaluation.report.labels import place_labels
from pipelines.evaluation.report.results import Measurement
from tests.pipelines.evaluation.report.made_results import measurement, results

pytestmark = pytest.mark.slow

WIDTH, HEIGHT = 500, 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("charts")
    rows = [
        measurement("dense"),
        measurement("dense", "HNSW", 0.69, search_ms=0.4),
        measurement("bm25", quality=0.65, bytes_per_document=0.0, encode_ms=0.0, search_ms=0.0),
        measurement("</script><script>alert(1)</script>", quality=0.71, search={"using": ["dense"], "rescore": "x"}),
    ]
    write_charts(results(*rows, notices=["<b>splade</b> is left out"]), made)
    return made


def test_the_png_is_a_wide_picture(folder: Path) -> None:
    with Image.open(folder / "chart.png") as image:
        assert image.format == "PNG" and image.width > 2000 and image.width > image.height


def test_the_page_needs_no_network_and_has_the_table(folder: Path) -> None:
    page = (folder / "chart.html").read_text(encoding="utf-8")
    assert not re.findall(r"<script[^>]*\bsrc=", page)
    outside = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "http" not in outside and "src=" not in outside and "href=" not in outside
    assert outside.count("<tr>") == 5 and "0.6900" in outside and "1.5 kB" in outside


def test_names_cannot_break_out_of_the_page(folder: Path) -> None:
    page = (folder / "chart.html").read_text(encoding="utf-8")
    assert len(re.findall(r"<script\b[^>]*>", page)) == page.count("</script>") == 2
    assert "&lt;/script&gt;" in page and "<b>splade" not in page


def test_one_way_alone_has_a_chart(tmp_path: Path) -> None:
    write_charts(results(measurement("dense")), tmp_path)
    assert (tmp_path / "chart.png").stat().st_size > 10_000


def legends(rows: list[Measurement]) -> dict[str, tuple[list[str], list[str]]]:
    """What the two legends list, and how it looks: as the specification that the page holds says it."""
    panel = build_chart(results(*rows)).to_dict()["hconcat"][0]
    encoding = next(layer["encoding"] for layer in panel["layer"] if "shape" in layer["encoding"])
    return {name: (encoding[name]["scale"]["domain"], encoding[name]["scale"]["range"]) for name in ("color", "shape")}


def test_legends_list_what_was_measured_alone_and_looks_stay() -> None:
    fused = measurement("both", search={"using": ["dense", "bm25"]})
    staged = measurement("staged", search={"using": ["dense"], "rescore": "tokens"})
    assert legends([measurement("dense")]) == {"color": (["one vector"], ["#1f77b4"]), "shape": (["exact"], ["circle"])}
    assert legends([staged])["color"] == (["staged"], ["#2ca02c"])
    every = legends([staged, measurement("dense", "HNSW"), fused])
    assert every["color"][0] == ["one vector", "fused", "staged"] and every["shape"] == (
        ["exact", "HNSW"],
        ["circle", "triangle"],
    )


positions = st.tuples(st.floats(0, WIDTH), st.floats(0, HEIGHT))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(positions, st.text("ab>@1", min_size=1, max_size=12)), max_size=8))
def test_labels_stay_in_the_plot_and_off_each_other(points: list[tuple[tuple[float, float], str]]) -> None:
    offsets = place_labels([position for position, _ in points], [text for _, text in points], WIDTH, HEIGHT)
    boxes = []
    for offset, ((x, y), text) in zip(offsets, points, strict=True):
        assert offset is not None
        size, middle = 6.1 * len(text), y + offset[1]
        left = x + offset[0] - (0 if offset[0] > 0 else size if offset[0] < 0 else size / 2)
        assert left >= 0 and left + size <= WIDTH and 6 <= middle <= HEIGHT - 6
        boxes.append((left, middle - 6.5, left + size, middle + 6.5))
    for number, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[:number]:
            wide, high = min(right, other[2]) - max(left, other[0]), min(bottom, other[3]) - max(top, other[1])
            assert wide <= 1e-6 or high <= 1e-6, "two labels overlap"
