"""Reads documents from files of the formats that ``formats.py`` lists, each of which is a class in a module of its own.

What cannot be read becomes a dead row, never an exception. A row's image may be in it, or be named by a path or URL.
``plan_source`` cuts the files into splits on the driver, ``scan_split`` looks at one of them, ``id_comparison.py`` and
``find_duplicates`` find ids that come more than once, ``read_split`` yields a split's rows as tables of SOURCE_SCHEMA.
"""

from pipelines.sources.duplicates import Duplicates, SplitScan, find_duplicates, scan_split
from pipelines.sources.plan import plan_source
from pipelines.sources.read import Repeats, read_split
from pipelines.sources.split import SourcePlan, Split

__all__ = [
    "Duplicates",
    "Repeats",
    "SourcePlan",
    "Split",
    "SplitScan",
    "find_duplicates",
    "plan_source",
    "read_split",
    "scan_split",
]
