"""A corpus that every Python has: the standard library's docstrings and the topics of ``help()``, as JSONL."""

from __future__ import annotations

import ast
import inspect
import json
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

from embedders.files.atomic import whole_file

MIN_WORDS = 3
# Third-party packages, and tests: their docstrings describe no library.
SKIPPED_FOLDERS = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test"})
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
KINDS = {ast.Module: "module", ast.ClassDef: "class", ast.FunctionDef: "function", ast.AsyncFunctionDef: "function"}

Row = dict[str, str]


def collect_stdlib(path: str | Path) -> int:
    """Write the corpus to a file and return its number of documents, about 8,500 on Python 3.11.

    Rows are ``{"id", "text", "kind", "module"}``: the id is a qualified name such as ``json.dumps`` (``#2`` and so on
    after the first of a name), kind one of module, class, function (methods too) and topic. Docstrings of fewer than
    three words are left out. The sources are parsed, never imported; the same Python always writes the same file.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with whole_file(target) as file:
        for count, row in enumerate(stdlib_rows(), start=1):  # noqa: B007
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return count


def stdlib_rows() -> Iterator[Row]:
    """Yield the corpus's rows, by module and in the order of its source, the topics last."""
    seen: dict[str, int] = {}
    for row in _all_rows():
        if len(row["text"].split()) < MIN_WORDS:
            continue
        seen[row["id"]] = number = seen.get(row["id"], 0) + 1
        yield row if number == 1 else {**row, "id": f"{row['id']}#{number}"}


def _all_rows() -> Iterator[Row]:
    for module, file in sorted(_modules(Path(sysconfig.get_path("stdlib")))):
        yield from _module_rows(module, file)
    module = "pydoc_data.topics"
    for name, text in sorted(topics.items()):
        yield {"id": f"{module}.{name}", "text": inspect.cleandoc(text), "kind": "topic", "module": module}


def _modules(root: Path) -> Iterator[tuple[str, Path]]:
    for file in root.rglob("*.py"):
        parts = file.relative_to(root).with_suffix("").parts
        # Names that cannot be imported belong to data, such as the templates of pip or the build's own configuration.
        if all(part.isidentifier() and part not in SKIPPED_FOLDERS for part in parts):
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), file


def _module_rows(module: str, file: Path) -> Iterator[Row]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    for name, node in _documented(module, tree):
        text = inspect.cleandoc(ast.get_docstring(node, clean=False) or "")
        yield {"id": name, "text": text, "kind": KINDS[type(node)], "module": module}


def _documented(name: str, node: ast.AST) -> Iterator[tuple[str, Documented]]:
    """Yield a node that can have a docstring, and those below it except for what lives inside of functions."""
    if isinstance(node, Documented):
        yield name, node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    for child in ast.iter_child_nodes(node):
        own = (
            f"{name}.{child.name}" if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) else name
        )
        yield from _documented(own, child)
