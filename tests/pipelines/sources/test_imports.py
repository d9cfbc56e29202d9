"""What is loaded with a source, seen in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pipelines.sources.images.images import picture
from tests.pipelines.sources.reading import write_lines, write_parquet

# The public names of embedders bring more with them than the modules that sources import.
ALONE = """
import sys, types
package = types.ModuleType("embedders")
package.__path__ = [sys.argv[1] + "/embedders"]
sys.modules["embedders"] = package
"""
HEAVY = ("PIL", "httpx", "httpcore", "embedders.images", "pipelines.sources.images", "ray", "onnxruntime")


def loaded(code: str, *arguments: str) -> set[str]:
    """Run code; gives which of the heavy modules it has loaded."""
    listing = f"\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    command = [sys.executable, "-c", ALONE + code + listing, str(ROOT), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


READ = """
from pipelines.config.source import SourceConfig
from pipelines.sources import plan_source, read_split, scan_split
from pipelines.sources.duplicates import number_lines
source = SourceConfig(path=sys.argv[2], image=sys.argv[3] if len(sys.argv) > 3 else None)
for split in number_lines([scan_split(split, source) for split in plan_source(source).splits]):
    for table in read_split(split, source, block_rows=100):
        assert table.num_rows and table["error"].null_count == table.num_rows, table["error"]
"""


def test_sources_load_nothing_that_only_images_need() -> None:
    assert loaded("import pipelines.sources") == set()


def test_a_configuration_loads_no_reader_of_files() -> None:
    code = """
from pipelines.config.source import SourceConfig
SourceConfig(path="docs")
assert not [name for name in sys.modules if name.startswith(("pipelines.sources", "pyarrow", "fsspec"))]
"""
    assert loaded(code) == set()


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.txt"])
def test_a_source_without_images_loads_nothing_that_only_images_need(tmp_path: Path, name: str) -> None:
    if name == "a.parquet":
        write_parquet(tmp_path / name, {"text": ["a"]})
    else:
        write_lines(tmp_path / name, [{"text": "a"}])
    assert loaded(READ, str(tmp_path)) == set()


def test_images_load_what_they_need(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    write_lines(tmp_path / "rows.jsonl", [{"picture": "a.png"}])
    assert {"PIL", "httpcore", "pipelines.sources.images"} <= loaded(READ, str(tmp_path / "rows.jsonl"), "picture")


def test_a_configuration_knows_of_formats_what_their_classes_say() -> None:
    from pipelines.config import formats as known
    from pipelines.sources.formats import FORMATS

    facts = [known.FormatFacts(kind.name, kind.endings, kind.is_compressible) for kind in FORMATS]
    assert list(known.FORMATS) == facts
