"""The catalog of models, and the cache of their files: ``python jobs/models.py list``.

The same as ``fleetembed models``; see its --help.
"""

from __future__ import annotations

import own_packages  # noqa: F401
from pipelines.cli.models import app
from pipelines.cli.start import start

if __name__ == "__main__":
    start(app)
