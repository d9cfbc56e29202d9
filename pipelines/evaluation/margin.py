"""How far a metric may fall below an earlier evaluation."""

from __future__ import annotations

MARGIN = 0.01
