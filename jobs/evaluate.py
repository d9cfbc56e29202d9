"""Measure how well a job's models find: ``python jobs/evaluate.py --beir scifact --config configs/evaluate.yaml``.

The same as ``fleetembed evaluate``; see its --help.
"""

from __future__ import annotations

import own_packages  # noqa: F401
from pipelines.cli.evaluate import app
from pipelines.cli.start import start

if __name__ == "__main__":
    start(app)
