"""Runs the notebooks of notebooks/ and writes what they show into them: ``make notebooks``."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image

import own_packages  # noqa: F401

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
SECONDS_A_CELL = 600
PNG, WIDGET = "image/png", "application/vnd.jupyter.widget-view+json"
# What a test server of the moment is called by, and what it stands for.
ADDRESS, STANDS_FOR = re.compile(r"http://127\.0\.0\.1:\d+"), "http://localhost:6333"


def execute(notebook: Any, folder: Path) -> Any:
    """Run a notebook's cells in ``folder``, in a kernel of this Python; returns it with what they show.

    Raises nbclient's CellExecutionError at the first cell that fails.
    """
    from nbclient import NotebookClient

    client = NotebookClient(
        notebook,
        timeout=SECONDS_A_CELL,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    return without_traces(notebook)


def without_traces(notebook: Any) -> Any:
    """Drop what only tells of the machine and the moment: times of cells, the kernel's version, a server's port."""
    from nbformat import from_dict

    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            shown = ADDRESS.sub(STANDS_FOR, json.dumps(cell.outputs))
            # A widget is gone with its kernel.
            kept = [output for output in json.loads(shown) if WIDGET not in output.get("data", {})]
            cell.outputs = [from_dict(output) for output in kept]
            for output in cell.outputs:
                if PNG in output.get("data", {}):
                    output.data[PNG] = _smaller(output.data[PNG])
    return notebook


def _smaller(picture: str) -> str:
    """Write a PNG, in base64, with 256 colours: of a chart nothing is lost, and it is a tenth as large."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        image.quantize(256, method=Image.Quantize.FASTOCTREE).save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def main(names: list[str]) -> int:
    """Run the notebooks of these names, or all."""
    import nbformat

    for path in sorted(FOLDER.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        print(f"running {path.name}", flush=True)
        # From the beginning: what an earlier run left would be skipped.
        shutil.rmtree(FOLDER / "output" / path.stem, ignore_errors=True)
        notebook = nbformat.read(path, as_version=4)
        nbformat.write(execute(notebook, FOLDER), path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
