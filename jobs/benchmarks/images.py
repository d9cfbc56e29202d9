"""Images against fastembed on the same files: JPEGs of photos, 200 to 3,000 pixels long, and EfficientNet-Lite0."""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image
from rich.table import Table

from benchmarks.export_efficientnet import export_packaged_efficientnet
from benchmarks.measuring import Repeats, console, drain, show, take_turns
from embedders import ImageEmbedding

# fastembed takes no models of images of one's own: a folder under the name of one of its own does as well.
NAME = "Qdrant/resnet50-onnx"
SHORTEST, LONGEST = 200, 3000
JPEG_QUALITY = 90
EXACT, REDUCED = "fleetembed", "fleetembed reduced_decoding"
ALONE, WORKERS = "fastembed", "fastembed parallel=2"


def images(
    photos: Annotated[Path, typer.Argument(help="Folder of photos, which are resized and cropped to make the set.")],
    count: Annotated[int, typer.Option(min=1, help="Images.")] = 256,
    repeats: Repeats = 3,
    threads: int = 2,
) -> None:
    """Images a second against fastembed, with and without its worker processes; seconds of each stage."""
    folder = efficientnet_folder()
    with tempfile.TemporaryDirectory() as place:
        paths = mixed_photos(photos, Path(place), count)
        contest = ImageContest(folder, [str(path) for path in paths], threads)
        contest.warm_up()
        seconds = take_turns(contest.contestants(), repeats)
    title = f"images, {count} JPEGs of {SHORTEST} to {LONGEST:,} pixels, {threads} threads"
    show(f"{title}; all of it", seconds, count, "images/s", EXACT)
    steady = {name: statistics.median(times) for name, times in contest.steady.items()}
    show(f"{title}; from the first vector on, scaled to all images", steady, count, "images/s", EXACT)
    show_stages(contest.models)


class ImageContest:
    """The contestants; ``steady`` collects what the images would take without the wait for the first vector."""

    def __init__(self, folder: Path, paths: list[str], threads: int) -> None:
        from fastembed import ImageEmbedding as Reference

        options: dict[str, Any] = {"specific_model_path": str(folder), "threads": threads, "cuda": False}
        self.paths = paths
        self.models = {
            EXACT: ImageEmbedding(NAME, **options),
            REDUCED: ImageEmbedding(NAME, reduced_decoding=True, **options),
        }
        self.theirs = Reference(NAME, **options)
        self.steady: dict[str, list[float]] = {}

    def warm_up(self) -> None:
        """Run each once in this process, untimed."""
        for model in self.models.values():
            model.embed_array(self.paths[:16])
        drain(self.theirs.embed(self.paths[:16]))

    def contestants(self) -> dict[str, Callable[[], None]]:
        """What takes turns, by name."""
        ours = {name: lambda model=model: model.embed(self.paths) for name, model in self.models.items()}
        theirs = {
            ALONE: lambda: self.theirs.embed(self.paths),
            WORKERS: lambda: self.theirs.embed(self.paths, parallel=2),
        }
        return {name: self._timed(name, embed) for name, embed in {**ours, **theirs}.items()}

    def _timed(self, name: str, embed: Callable[[], Iterable[Any]]) -> Callable[[], None]:
        def run() -> None:
            started = first = time.perf_counter()
            with main_module_hidden():
                for number, _ in enumerate(embed()):
                    # Vectors come in batches: those of the first are part of the wait.
                    if number == 15:
                        first = time.perf_counter()
            seconds = time.perf_counter() - (first if len(self.paths) > 32 else started)
            share = (len(self.paths) - 16) / len(self.paths) if len(self.paths) > 32 else 1
            self.steady.setdefault(name, []).append(seconds / share)

        return run


def show_stages(models: dict[str, ImageEmbedding]) -> None:
    """Print milliseconds an image of each stage; several threads work at once."""
    table = Table(title="milliseconds of a thread for an image", title_justify="left")
    for column in ("", "decode", "transform", "model"):
        table.add_column(column, justify="right" if column else "left")
    for name, model in models.items():
        stats = model.stats
        times = (stats.decode_seconds, stats.transform_seconds, stats.model_seconds)
        table.add_row(name, *(f"{1000 * value / stats.rows:.1f}" for value in times))
    console.print(table)


def efficientnet_folder() -> Path:
    """The exported EfficientNet-Lite0, made once and kept in build/."""
    folder = Path("build/efficientnet-lite0")
    if not (folder / "model.onnx").exists():
        export_packaged_efficientnet(folder)
    return folder


def mixed_photos(source: Path, target: Path, count: int) -> list[Path]:
    """Write JPEGs of all photos of a folder in turn, each of a random length, one in three cropped; always the same."""
    chance = random.Random(0)
    found = sorted(path for path in source.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not found:
        raise typer.BadParameter(f"{source} has no .jpg or .png file")
    paths = []
    for number in range(count):
        with Image.open(found[number % len(found)]) as opened:
            image = opened.convert("RGB")
        if number % 3 == 0:
            across, down = image.width // 8, image.height // 8
            image = image.crop((across, down, image.width - across, image.height - down))
        scale = chance.randint(SHORTEST, LONGEST) / max(image.size)
        image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
        paths.append(target / f"{number:05d}.jpg")
        image.save(paths[-1], quality=JPEG_QUALITY)
    return paths


@contextmanager
def main_module_hidden() -> Iterator[None]:
    """Keep worker processes from importing this program anew: its imports, Ray among them, are not fastembed's."""
    attributes = vars(sys.modules["__main__"])
    hidden = {name: attributes.pop(name) for name in ("__file__", "__spec__") if attributes.get(name) is not None}
    try:
        yield
    finally:
        attributes.update(hidden)
