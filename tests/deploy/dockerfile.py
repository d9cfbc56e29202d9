"""The Dockerfile's instructions, and its build stage run without Docker: ``python -m tests.deploy.dockerfile FOLDER``.

FOLDER stands for the root of the image's file system. What needs root or a package manager of the system, which is the
last stage, is not run. Build arguments are given as ``NAME=VALUE`` behind the folder.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Instruction:
    """One instruction of a stage; ``stage`` counts from 0."""

    stage: int
    name: str
    rest: str


def instructions(text: str) -> list[Instruction]:
    """Split a Dockerfile to its instructions; those before the first stage belong to -1."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    stage, found = -1, []
    for line in whole.splitlines():
        name, _, rest = line.partition(" ")
        stage += name == "FROM"
        found.append(Instruction(stage, name, rest.strip()))
    return found


def build(root: Path, given: dict[str, str], left_out: Sequence[str] = ()) -> None:
    """Carry out the first stage below a folder that stands for the image's root, but for the commands to leave out."""
    found = [one for one in instructions((ROOT / "Dockerfile").read_text()) if one.stage == 0]
    environment = {**os.environ, "VIRTUAL_ENV": str(root / "tools")}
    subprocess.run([sys.executable, "-m", "venv", str(root / "tools")], check=True)
    environment["PATH"] = f"{root / 'tools' / 'bin'}:{os.environ['PATH']}"
    folder = root
    for one in found:
        if one.name == "ARG":
            name, _, default = one.rest.partition("=")
            environment[name] = given.get(name, default.strip('"'))
        elif one.name == "ENV":
            environment |= dict(pair.split("=", 1) for pair in one.rest.split())
        elif one.name == "WORKDIR":
            folder = root / one.rest.lstrip("/")
            folder.mkdir(parents=True)
        elif one.name == "COPY":
            *sources, target = one.rest.split()
            for source in sources:
                _copy(source, folder, root, target)
        elif one.name == "RUN" and one.rest not in left_out:
            command = re.sub(r"(?<![\w.}])/(opt|dist|jobs)\b", rf"{root}/\1", one.rest)
            print("+", command, flush=True)
            subprocess.run(["sh", "-ec", command], cwd=folder, env=environment, check=True)


def _copy(source: str, folder: Path, root: Path, target: str) -> None:
    place = root / target.lstrip("/") if target.startswith("/") else folder / target
    if (ROOT / source).is_dir():
        left_out = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info")
        shutil.copytree(ROOT / source, place, ignore=left_out)
        return
    place = place / Path(source).name if target.endswith("/") else place
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / source, place)


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve(), dict(argument.split("=", 1) for argument in sys.argv[2:]))
