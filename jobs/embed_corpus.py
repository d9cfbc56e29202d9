"""Embed a corpus as a YAML job says: ``python jobs/embed_corpus.py --config configs/quickstart.yaml``.

The same as ``fleetembed embed``; see its --help.
"""

from __future__ import annotations

import own_packages  # noqa: F401
from pipelines.cli.embed import app
from pipelines.cli.start import start

if __name__ == "__main__":
    start(app)
