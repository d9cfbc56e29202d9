"""Puts the packages beside this folder first: any other folder on the path may have some that are called the same.

Ctrl-C while the others are imported, which takes seconds, is one line.

The entry points import this module before all others of the project.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Behind the folder of the scripts themselves.
sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from pipelines.stopping import stop_quietly

stop_quietly()
