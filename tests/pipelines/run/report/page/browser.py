"""A headless Chromium that opens pages, and tells what its console said and what a look at each page found."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import SECONDS

# Put at the end of a page, in a frame: what is wider than the window, labels that lie on one another, and text that can
# hardly be read, whose contrast is below what WCAG 2.2 (1.4.3) asks for.
LOOK = """<script>
const rgb = (color) => (color.match(/[\\d.]+/g) || []).map(Number);
const light = (color) => {
  const [r, g, b] = color.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const under = (element) => {
  for (let one = element; one; one = one.parentElement) {
    const color = rgb(getComputedStyle(one).backgroundColor);
    if (color.length === 3 || color[3] > 0) return color;
  }
  return [255, 255, 255];
};
const found = {wide: [], faint: [], crossed: [], dark: matchMedia("(prefers-color-scheme: dark)").matches,
  width: innerWidth, scrolled: document.documentElement.scrollWidth, texts: 0};
for (const one of document.body.querySelectorAll("*")) {
  const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const box = one.getBoundingClientRect();
  if (!own || one.closest("svg, script, style") || !box.width) continue;
  found.texts += 1;
  if (getComputedStyle(one).visibility === "visible") {
    const [a, b] = [light(rgb(getComputedStyle(one).color)), light(under(one))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) found.faint.push([one.textContent.slice(0, 40), contrast]);
  }
  if (!one.closest(".scroll, pre") && (box.right > innerWidth + 1 || box.left < -1))
    found.wide.push(one.textContent.slice(0, 40));
}
for (const axis of document.querySelectorAll(".x, .y")) {
  const boxes = [...axis.querySelectorAll("span")].map((one) => one.getBoundingClientRect());
  boxes.forEach((a, at) => boxes.slice(at + 1).forEach((b) => {
    if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3)
      found.crossed.push(axis.textContent);
  }));
}
parent.document.getElementById(name).dataset.found = JSON.stringify(found);
</script></body>"""


def chromium() -> str:
    """Find the browser; skips the test where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("needs a Chromium, which is not installed here: apt-get install chromium")
    return found


def look_at(pages: Sequence[tuple[str, int]], folder: Path, *, dark: bool) -> tuple[list[dict[str, Any]], list[str]]:
    """Open pages, each in a frame so many pixels wide; returns what LOOK found of each, and the console's lines."""
    frames = []
    for number, (page, width) in enumerate(pages):
        file = folder / f"page{number}.html"
        file.write_text(page.replace("</body>", LOOK), encoding="utf-8")
        frames.append(
            f'<iframe id="f{number}" name="f{number}" src="{file.name}" width="{width}" height="900"></iframe>'
        )
    whole = folder / "frames.html"
    # A frame is dark where the page around it is.
    whole.write_text(f'<!DOCTYPE html><meta name="color-scheme" content="light dark"><body>{"".join(frames)}</body>')
    command = [chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={folder / 'profile'}", "--window-size=1500,2000", "--enable-logging=stderr"]
    # 0 is dark, 1 is light. The frames tell the page around them what they found.
    command += [f"--blink-settings=preferredColorScheme={int(not dark)}", "--allow-file-access-from-files"]
    done = subprocess.run(
        [*command, "--dump-dom", whole.as_uri()], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    found = [json.loads(html.unescape(told)) for told in re.findall(r'data-found="(.*?)"', done.stdout)]
    assert len(found) == len(pages), done.stderr[-2000:]
    return found, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
