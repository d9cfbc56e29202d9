"""Reads the JSON files of a model's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from embedders.errors import ModelFilesError


def read_json_object(path: Path, *, required: bool = True) -> dict[str, Any]:
    """Content of a JSON file that holds an object; empty where the file is missing and not ``required``.

    Raises ModelFilesError for a file that is missing, no JSON, or holds something else.
    """
    if not path.is_file():
        if required:
            raise ModelFilesError(f"{path} is missing: the model's folder is incomplete")
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFilesError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise ModelFilesError(f"{path} must hold a JSON object, not {type(content).__name__}")
    return content
