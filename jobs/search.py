"""Search a collection with the models that filled it: ``python jobs/search.py --config job.yaml "your question"``.

The same as ``fleetembed search``; see its --help.
"""

from __future__ import annotations

import own_packages  # noqa: F401
from pipelines.cli.search import app
from pipelines.cli.start import start

if __name__ == "__main__":
    start(app)
