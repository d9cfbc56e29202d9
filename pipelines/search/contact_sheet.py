"""A contact sheet: a query and the images of its hits, as one HTML page or PNG picture."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from embedders.errors import ImageError
from embedders.files.atomic import whole_file
from embedders.images.decoding import decode_image
from pipelines.config.source import SourceConfig
from pipelines.errors import ConfigError
from pipelines.filesystem import open_filesystem
from pipelines.html_document import document
from pipelines.search import Hit
from pipelines.search.hits import shown_scores
from pipelines.urls import refuse_url

THUMBNAIL = 224
MARGIN = 16
CAPTION = 44
COLUMNS = 5
PAPER, INK, FAINT = (255, 255, 255), (32, 32, 32), (120, 120, 120)

STYLE = """
main { display: flex; flex-wrap: wrap; gap: 20px; }
figure { margin: 0; width: 224px; }
img, .none { width: 224px; height: 224px; object-fit: contain; background: var(--card); display: block; }
.none { display: grid; place-items: center; color: var(--faint); }
figcaption { overflow-wrap: anywhere; margin-top: 6px; }
small { color: var(--faint); }
"""


def write_sheet(target: Path, query: str | Path, hits: Sequence[Hit], source: SourceConfig) -> None:
    """Write the query and its hits, nearest first, to ``target``, which ends with .html or .png.

    An image is read again from where the job read it: the hit's payload ``path``, below the source's paths. A hit whose
    image cannot be read stands with its name alone. Raises ConfigError for a URL, another ending or an
    unwritable file.
    """
    refuse_url(target, "--image-sheet")
    thumbnails = [_thumbnail(hit, source) for hit in hits]
    asked = _opened(query.read_bytes()) if isinstance(query, Path) else None
    title = f"image {query}" if isinstance(query, Path) else query
    ending = target.suffix.lower()
    if ending not in (".html", ".png"):
        raise ConfigError(f"--image-sheet {target}: the name must end with .html or .png")
    try:
        with whole_file(target) as file:
            if ending == ".html":
                file.write(_page(title, asked, hits, thumbnails).encode())
            else:
                _picture(title, asked, hits, thumbnails).save(file, "PNG")
    except OSError as error:
        raise ConfigError(f"--image-sheet {target} cannot be written: {error.strerror}") from None


def _thumbnail(hit: Hit, source: SourceConfig) -> Image.Image | None:
    path = hit.payload.get("path")
    if not isinstance(path, str):
        return None
    for root, below in image_places(path, source):
        try:
            filesystem, inside = open_filesystem(root)
            # Joined once it is no URL any more: a name may have characters that mean something in one.
            place = f"{inside.rstrip('/')}/{below}" if below else inside
            with filesystem.open_input_stream(place, compression=None) as file:
                return _opened(file.read())
        # Each store has errors of its own kind, and a sheet without one image is still of use.
        except Exception:
            continue
    return None


def image_places(path: str, source: SourceConfig) -> list[tuple[str, str]]:
    """List where an image of the source may be: (path or URL, path below it), the last as the path says by itself."""
    roots = [source.image_root] if source.image_root else []
    for root in source.paths:
        body = root.partition("*")[0].rstrip("/") if "*" in root else root.rstrip("/")
        roots += [body, body.rpartition("/")[0] or "."]
    return [*((root, path) for root in roots), (path, "")]


def _opened(content: bytes) -> Image.Image | None:
    try:
        image = decode_image(content)
    except ImageError:
        return None
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return image


def _captions(hits: Sequence[Hit]) -> list[tuple[str, str]]:
    """The name of each hit, and its place with its score."""
    scores = shown_scores([hit.score for hit in hits])
    return [(hit.title, f"{place}.  {score}") for place, (hit, score) in enumerate(zip(hits, scores, strict=True), 1)]


def _page(title: str, asked: Image.Image | None, hits: Sequence[Hit], thumbnails: Sequence[Image.Image | None]) -> str:
    figures = []
    for image, (name, score) in zip(thumbnails, _captions(hits), strict=True):
        figures.append(
            f"<figure>{_tag(image)}<figcaption>{html.escape(name)}<br><small>{score}</small></figcaption></figure>"
        )
    heading = html.escape(title) if asked is None else _tag(asked)
    found = "\n".join(figures) or "nothing found"
    return document(title, f"<h1>{heading}</h1>\n<main>\n{found}\n</main>", style=STYLE)


def _tag(image: Image.Image | None) -> str:
    if image is None:
        return '<div class="none">no image at hand</div>'
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}">'


def _picture(
    title: str, asked: Image.Image | None, hits: Sequence[Hit], thumbnails: Sequence[Image.Image | None]
) -> Image.Image:
    columns = max(1, min(COLUMNS, len(hits)))
    rows = -(-len(hits) // columns)
    cell, line = THUMBNAIL + MARGIN, THUMBNAIL + CAPTION + MARGIN
    head = MARGIN + (THUMBNAIL if asked is not None else 28) + MARGIN
    sheet = Image.new("RGB", (max(columns, 2) * cell + MARGIN, head + max(rows, 1) * line), PAPER)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(20), ImageFont.load_default(14)
    if asked is None:
        draw.text((MARGIN, MARGIN), _fitted(draw, title, large, sheet.width - 2 * MARGIN), INK, large)
    else:
        sheet.paste(asked, (MARGIN, MARGIN))
    for at, (image, (name, score)) in enumerate(zip(thumbnails, _captions(hits), strict=True)):
        left, top = MARGIN + at % columns * cell, head + at // columns * line
        if image is not None:
            sheet.paste(image, (left + (THUMBNAIL - image.width) // 2, top + (THUMBNAIL - image.height) // 2))
        else:
            draw.rectangle((left, top, left + THUMBNAIL, top + THUMBNAIL), fill=(244, 244, 244))
            draw.text((left + 8, top + THUMBNAIL // 2), "no image at hand", FAINT, small)
        draw.text((left, top + THUMBNAIL + 4), _fitted(draw, name, small, THUMBNAIL), INK, small)
        draw.text((left, top + THUMBNAIL + 22), score, FAINT, small)
    return sheet


def _fitted(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> str:
    """Leave out the middle of a text that is wider than ``width`` pixels."""
    kept = len(text)
    shown = text
    while draw.textlength(shown, font) > width and kept > 4:
        kept -= 1
        shown = f"{text[: kept // 2]}…{text[len(text) - kept // 2 :]}"
    return shown
