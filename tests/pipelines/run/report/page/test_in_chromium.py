"""The pages in a real browser: nothing in its console, nothing cut or crossed, everything readable, light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.run.report.page.comparison import comparison_of
from pipelines.run.report.page.page import page_of
from tests.pipelines.run.report.page.browser import look_at
from tests.pipelines.run.report.page.full_report import full_report, old_report


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_can_be_read_at_400_and_1400_pixels_in_light_and_dark(tmp_path: Path, dark: bool) -> None:
    full, old = full_report(), old_report()
    pages = [page_of(full), page_of(old), comparison_of(full, old), comparison_of(full, full)]
    # Opened, since what is behind a line is looked at too.
    opened = [(page.replace("<details>", "<details open>"), width) for page in pages for width in (400, 1400)]
    found, console = look_at(opened, tmp_path, dark=dark)
    assert console == []
    for one, (_, width) in zip(found, opened, strict=True):
        assert (one["dark"], one["width"], one["texts"] > 50) == (dark, width, True)
        assert one["scrolled"] <= width
        assert (one["wide"], one["crossed"], one["faint"]) == ([], [], [])


def test_what_is_wrong_with_a_page_is_noticed(tmp_path: Path) -> None:
    page = page_of(full_report()).replace("<h1>", '<h1 style="color:#ddd;width:3000px">', 1)
    page = page.replace("</body>", "<script>nosuch()</script><div class=x><span>1</span><span>2</span></div></body>")
    (found,), console = look_at([(page, 400)], tmp_path, dark=False)
    assert "nosuch is not defined" in console[0]
    assert found["scrolled"] > 400 and found["faint"] and found["wide"] and found["crossed"]
