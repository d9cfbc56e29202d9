"""What the import of a search costs: nothing that only an image, a job or a model needs."""

from __future__ import annotations

import subprocess
import sys

# qdrant-client imports fastembed where that is installed, which it is for tests alone.
CODE = """
import sys
sys.modules["fastembed"] = None
import embedders, qdrant_client
before = set(sys.modules)
import pipelines.search
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


def test_searching_is_imported_without_images_ray_pandas_or_models() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "pipelines" in imported
    assert not imported & {"PIL", "onnxruntime", "pandas", "ray"}
