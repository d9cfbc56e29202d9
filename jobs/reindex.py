"""Replace a live collection by a new one, without a gap: ``python jobs/reindex.py switch --config job.yaml``.

The same as ``fleetembed reindex``; see its --help.
"""

from __future__ import annotations

import own_packages  # noqa: F401
from pipelines.cli.reindex import app
from pipelines.cli.start import start

if __name__ == "__main__":
    start(app)
