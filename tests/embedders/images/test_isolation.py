"""Images that crash a decoder: synthetic ones, since no real file is known that crashes the installed Pillow."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embedders.errors import FleetembedError
from embedders.images.isolation import crashing_images

ROOT = Path(__file__).resolve().parents[3]
# More than a pipe holds.
LARGE = b"fine" * (1 << 18)
DECODER = "tests.embedders.images.crashing_decoder:decode"


ENDS = {
    b"crash": "it crashes the decoder (SIGSEGV)",
    b"abort": "it crashes the decoder (SIGABRT)",
    b"exit": "it crashes the decoder (exit code 3)",
    b"raise exit": "it crashes the decoder (exit code 4)",
    b"out of memory": "it crashes the decoder (SIGKILL)",
}


@pytest.mark.slow
def test_synthetic_crashes_are_told_apart_and_cost_no_other_image() -> None:
    images = [b"fine", b"crash", None, b"bad", b"crash", b"hang", b"fine"]
    found = crashing_images(images, decoder=DECODER, seconds=2)
    assert found == {
        1: "it crashes the decoder (SIGSEGV)",
        4: "it crashes the decoder (SIGSEGV)",
        5: "decoding it took more than 2 s",
    }


@pytest.mark.parametrize("image", ENDS)
def test_synthetic_images_are_told_by_how_the_process_ended(image: bytes) -> None:
    assert crashing_images([LARGE, image, b"", image], decoder=DECODER) == {1: ENDS[image], 3: ENDS[image]}


@settings(max_examples=5, deadline=None)
@given(st.lists(st.sampled_from([*ENDS, b"fine", b"bad", b"loud", b"", LARGE, None]), max_size=6))
def test_any_synthetic_images_are_told_by_their_position(images: list[bytes | None]) -> None:
    expected = {position: ENDS[image] for position, image in enumerate(images) if image in ENDS}
    assert crashing_images(images, decoder=DECODER) == expected


def test_a_synthetic_hang_leaves_no_process_behind() -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    assert crashing_images([b"hang", b"fine"], decoder=DECODER, seconds=0.5) == {0: "decoding it took more than 0.5 s"}
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def test_the_time_that_a_process_takes_to_start_is_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_decoder.py").write_text("import time\ntime.sleep(1)\ndef decode(image): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert crashing_images([b"fine", b"fine"], decoder="slow_decoder:decode", seconds=0.5) == {}


def test_no_image_is_blamed_where_the_decoder_cannot_be_loaded() -> None:
    with pytest.raises(
        FleetembedError, match=r"images cannot be decoded apart: .* -c 'import no_such_decoder' tells why"
    ):
        crashing_images([b"fine", b"fine"], decoder="no_such_decoder:decode")


@pytest.mark.parametrize("way", ["a file without a guard", "standard input", "an option"])
def test_a_script_that_cannot_be_imported_may_ask(way: str, tmp_path: Path) -> None:
    """As a notebook, a shell or a Ray worker does, where no module __main__ can be imported again."""
    code = (
        "from embedders.images.isolation import crashing_images\n"
        f"print(crashing_images([b'fine', b'crash', b'fine'], decoder={DECODER!r}))\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    arguments = {"a file without a guard": [str(script)], "standard input": ["-"], "an option": ["-c", code]}[way]
    done = subprocess.run(
        [sys.executable, *arguments],
        input=code if way == "standard input" else "",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "{1: 'it crashes the decoder (SIGSEGV)'}\n"


def test_a_package_of_the_same_name_where_the_job_was_started_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "embedders").mkdir()
    (tmp_path / "embedders" / "__init__.py").write_text('raise RuntimeError("a package of the user")')
    monkeypatch.chdir(tmp_path)
    # As in a worker of Ray, which puts that folder first.
    monkeypatch.syspath_prepend(str(tmp_path))
    assert crashing_images([b"fine"]) == {}


def test_images_that_are_fine_or_merely_unreadable_crash_nothing() -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(file, "PNG")
    assert crashing_images([file.getvalue(), b"no image", b"", None]) == {}
    assert crashing_images([]) == {}
