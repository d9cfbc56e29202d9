"""Images and model folders for tests of image models: photos, generated images, synthetic graphs of seeded numbers."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

MEAN, DEVIATION = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
HALF = [0.5, 0.5, 0.5]
CLIP_LEVELS = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
CLIP_LEVELS |= {"image_mean": MEAN, "image_std": DEVIATION}
HALF_LEVELS = {**CLIP_LEVELS, "image_mean": HALF, "image_std": HALF}


def clip_config(side: int = 224, crop: Any = None, **more: Any) -> dict[str, Any]:
    size = {"do_resize": True, "size": {"shortest_edge": side}, "resample": 3}
    window = {"do_center_crop": True, "crop_size": crop or {"height": side, "width": side}}
    return {"image_processor_type": "CLIPImageProcessor", **size, **window, **CLIP_LEVELS, **more}


def siglip_config(height: int = 224, width: int = 224, **more: Any) -> dict[str, Any]:
    size = {"do_resize": True, "size": {"height": height, "width": width}, "resample": 2}
    return {"image_processor_type": "SiglipImageProcessor", **size, **HALF_LEVELS, **more}


def convnext_config(side: int = 224, **more: Any) -> dict[str, Any]:
    size = {"do_resize": True, "size": {"shortest_edge": side}, "crop_pct": 0.875, "resample": 3}
    return {"image_processor_type": "ConvNextFeatureExtractor", **size, **CLIP_LEVELS, **more}


def jina_clip_config(side: int = 224, **more: Any) -> dict[str, Any]:
    size = {"size": side, "resize_mode": "shortest", "interpolation": "bicubic", "fill_color": 0}
    return {"image_processor_type": "JinaCLIPImageProcessor", **size, "mean": MEAN, "std": DEVIATION, **more}


def idefics3_config(longest: int = 2048, tile: int = 512, **more: Any) -> dict[str, Any]:
    size = {"do_resize": True, "size": {"longest_edge": longest}, "resample": 1}
    tiles = {"do_image_splitting": True, "max_image_size": {"longest_edge": tile}}
    return {"image_processor_type": "Idefics3ImageProcessor", **size, **tiles, **HALF_LEVELS, **more}


def random_image(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth gradient with noise: edges and texture for every filter."""
    random = np.random.default_rng((seed, width, height))
    across, down = np.linspace(0, 1, width), np.linspace(0, 1, height)[:, None]
    planes = [np.sin(9 * across + phase) * np.cos(7 * down - phase) for phase in random.uniform(0, 6, size=3)]
    levels = 127 + 90 * np.stack(planes, axis=-1) + random.normal(0, 25, (height, width, 3))
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """An image as the content of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def photos(shared_data: Path) -> list[Path]:
    """Photos without transparency and EXIF orientation, which fastembed reads as we do."""
    files = sorted((shared_data / "images-photos").iterdir())
    found = [path for path in files if path.suffix in (".jpg", ".jpeg", ".png")]
    kept = []
    for path in found:
        with Image.open(path) as image:
            if not image.has_transparency_data and image.mode in ("RGB", "L"):
                kept.append(path)
    return kept


def write_image_config(folder: Path, config: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "preprocessor_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
