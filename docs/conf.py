"""How Sphinx makes the site: ``make docs``. What it reads of the pages is made ready by ``site_source``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import embedders
import site_source

project = "fleetembed"
version = release = embedders.__version__
copyright = "the authors of fleetembed, Apache-2.0"
html_title = f"fleetembed {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
exclude_patterns = ["**/__pycache__"]
myst_heading_anchors = 4
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
smartquotes = False
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "default"

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
toc_object_entries_show_parents = "hide"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
# Names of Python have no pages here but those of the reference; links between pages are checked without exception.
nitpick_ignore_regex = [("py:.*", ".*")]


def _prepare(app: Any, page: str, source: list[str]) -> None:
    source[0] = site_source.prepare(page, source[0])


def setup(app: Any) -> None:
    """Let Sphinx read pages as ``site_source`` gives them."""
    app.connect("source-read", _prepare)
    app.connect("env-get-outdated", lambda *_: site_source.made_of_others())
