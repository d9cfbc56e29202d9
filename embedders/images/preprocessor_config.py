"""Reads a model's preprocessor_config.json: the settings that images are preprocessed by.

Hugging Face's image processors write the file. These values of ``image_processor_type`` are known:

| type | what is done |
| --- | --- |
| CLIPImageProcessor (also without a type), SiglipImageProcessor | resize, centre crop |
| ConvNextFeatureExtractor | below 384: resize to size / crop_pct, centre crop; else resize to a square |
| JinaCLIPImageProcessor | resize the shorter side, cut or pad to a square |
| Idefics3ImageProcessor | resize the longer side, cut into tiles with a view of the whole behind them |

All then scale the grey levels, subtract a mean and divide by a deviation, where the file names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from PIL import Image
from PIL.Image import Resampling

from embedders.errors import ModelFilesError
from embedders.files.json_file import read_json_object

CONFIG_FILE = "preprocessor_config.json"

Size: TypeAlias = tuple[int, int]
Channels: TypeAlias = tuple[float, float, float]

CENTRE_CROPPED = ("CLIPImageProcessor", "SiglipImageProcessor")
CONVNEXT, JINA_CLIP, IDEFICS3 = "ConvNextFeatureExtractor", "JinaCLIPImageProcessor", "Idefics3ImageProcessor"
KNOWN_TYPES = (*CENTRE_CROPPED, CONVNEXT, JINA_CLIP, IDEFICS3)

# From here on, ConvNeXt's processor takes the whole image and not its centre.
CONVNEXT_WHOLE = 384
CONVNEXT_CROP_SHARE = 0.875
TILE = 512
LARGEST_SIDE = 1 << 14


@dataclass(frozen=True)
class Resize:
    """Resize to ``size`` (width, height); ``shortest`` and ``longest`` resize that side and keep the aspect ratio."""

    rule: Literal["exact", "shortest", "longest"]
    size: Size
    resample: Resampling

    def target(self, size: Size) -> Size:
        """Width and height that an image of this width and height gets."""
        width, height = size
        if self.rule == "exact":
            return self.size
        if self.rule == "shortest":
            side = self.size[0]
            longer = int(side * max(size) / min(size))
            return (side, longer) if width <= height else (longer, side)
        # Idefics3 rounds both sides up to even numbers.
        side, ratio = self.size[0], width / height
        width, height = (side, int(side / ratio)) if width >= height else (int(side * ratio), side)
        return max(1, width + width % 2), max(1, height + height % 2)


@dataclass(frozen=True)
class Window:
    """The part of an image that the model sees, ``size`` (width, height); ``fill`` surrounds a smaller image.

    ``centred`` puts a smaller image into the middle rather than the upper left corner.
    """

    size: Size
    fill: str | int | tuple[int, ...] = 0
    centred: bool = True
    half_even: bool = False

    def start(self, length: int, side: int) -> int:
        """Offset of a window of ``side`` in ``length``; negative where the window begins before the image."""
        surplus = length - side
        if surplus < 0 and not self.centred:
            return 0
        return round(surplus / 2) if self.half_even else surplus // 2


@dataclass(frozen=True)
class Tiling:
    """Cut into squares of ``side``, by rows, with the whole image as the last; without ``split`` the whole alone."""

    side: int
    split: bool
    resample: Resampling

    def target(self, size: Size) -> Size:
        """Width and height, multiples of ``side``, that an image of this width and height is resized to."""
        if not self.split:
            return self.side, self.side
        width, height = size
        ratio = width / height
        if width >= height:
            width = self._up(width)
            return width, self._up(int(width / ratio))
        height = self._up(height)
        return self._up(int(height * ratio)), height

    def _up(self, length: int) -> int:
        return max(1, -(-length // self.side)) * self.side


@dataclass(frozen=True)
class ImageSettings:
    """What is done to an RGB image, in this order.

    Grey levels g (0 to 255) of channel c become ``(g * scale - mean[c]) / deviation[c]``.
    """

    resize: Resize | None = None
    window: Window | None = None
    tiling: Tiling | None = None
    scale: float = 1 / 255
    mean: Channels = (0.0, 0.0, 0.0)
    deviation: Channels = (1.0, 1.0, 1.0)

    def needed_size(self, size: Size) -> Size:
        """Width and height at which the model sees an image of this width and height."""
        if self.resize is not None:
            size = self.resize.target(size)
        return size if self.tiling is None else self.tiling.target(size)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of every image's pixels, None where it follows from the image."""
        if self.tiling is not None:
            return None if self.tiling.split else (1, 3, self.tiling.side, self.tiling.side)
        if self.window is not None:
            return (3, *self.window.size[::-1])
        if self.resize is not None and self.resize.rule == "exact":
            return (3, *self.resize.size[::-1])
        return None


def load_image_settings(folder: Path) -> ImageSettings:
    """Read the preprocessor_config.json of a model's folder; raises ModelFilesError where it is missing or invalid."""
    path = folder / CONFIG_FILE
    return image_settings(read_json_object(path), str(path))


def image_settings(config: Mapping[str, Any], origin: str = CONFIG_FILE) -> ImageSettings:
    """Settings of an image processor's configuration; raises ModelFilesError, naming ``origin``, if invalid."""
    reader = _Reader(config, origin)
    kind = config.get("image_processor_type", CENTRE_CROPPED[0])
    read = {CONVNEXT: _convnext, JINA_CLIP: _jina_clip, IDEFICS3: _idefics3}.get(kind)
    if read is None and kind not in CENTRE_CROPPED:
        raise reader.fault(f"image_processor_type {kind!r} is not known; known are {', '.join(KNOWN_TYPES)}")
    geometry = (read or _centre_cropped)(reader)
    return ImageSettings(**geometry, **_levels(reader))


def _centre_cropped(reader: _Reader) -> dict[str, Any]:
    resize = window = None
    if reader.flag("do_resize", False):
        size, resample = reader.mapping("size"), reader.resampling("resample", Resampling.BICUBIC)
        if "shortest_edge" in size:
            side = reader.side(size, "shortest_edge", "size")
            resize = Resize("shortest", (side, side), resample)
        elif {"height", "width"} <= size.keys():
            resize = Resize("exact", reader.rectangle(size, "size"), resample)
        else:
            raise reader.fault(f"size must give shortest_edge, or height and width, not {dict(size)}")
    if reader.flag("do_center_crop", False):
        crop = reader.config.get("crop_size")
        if isinstance(crop, Mapping):
            window = Window(reader.rectangle(crop, "crop_size"))
        else:
            side = reader.side(reader.config, "crop_size")
            window = Window((side, side))
    return {"resize": resize, "window": window}


def _convnext(reader: _Reader) -> dict[str, Any]:
    if not reader.flag("do_resize", True):
        return {}
    side = reader.side(reader.mapping("size"), "shortest_edge", "size")
    resample = reader.resampling("resample", Resampling.BICUBIC)
    if side >= CONVNEXT_WHOLE:
        return {"resize": Resize("exact", (side, side), resample)}
    share = reader.number("crop_pct", CONVNEXT_CROP_SHARE)
    if not 0 < share <= 1:
        raise reader.fault(f"crop_pct must be more than 0 and at most 1, not {share}")
    larger = int(side / share)
    return {"resize": Resize("shortest", (larger, larger), resample), "window": Window((side, side))}


def _jina_clip(reader: _Reader) -> dict[str, Any]:
    side = reader.side(reader.config, "size")
    resample = reader.resampling("interpolation", Resampling.BICUBIC)
    shortest = reader.config.get("resize_mode", "shortest") == "shortest"
    resize = Resize("shortest", (side, side), resample) if shortest else None
    # Jina's code crops by torchvision's CenterCrop, which rounds an offset of .5 to the even neighbour.
    window = Window((side, side), fill=reader.colour("fill_color"), centred=False, half_even=True)
    return {"resize": resize, "window": window}


def _idefics3(reader: _Reader) -> dict[str, Any]:
    resample = reader.resampling("resample", Resampling.LANCZOS)
    resize = None
    if reader.flag("do_resize", False):
        side = reader.side(reader.mapping("size"), "longest_edge", "size")
        resize = Resize("longest", (side, side), resample)
    largest = reader.mapping("max_image_size", {})
    side = reader.side({"longest_edge": TILE, **largest}, "longest_edge", "max_image_size")
    return {"resize": resize, "tiling": Tiling(side, reader.flag("do_image_splitting", False), resample)}


def _levels(reader: _Reader) -> dict[str, Any]:
    scale = reader.number("rescale_factor", 1 / 255) if reader.flag("do_rescale", True) else 1.0
    if reader.flag("do_normalize", False):
        names = ("image_mean", "image_std")
    elif {"mean", "std"} <= reader.config.keys():
        names = ("mean", "std")
    else:
        return {"scale": scale}
    mean, deviation = (reader.channels(name) for name in names)
    if not all(deviation):
        raise reader.fault(f"{names[1]} must not be 0, but is {list(deviation)}")
    return {"scale": scale, "mean": mean, "deviation": deviation}


class _Reader:
    """A configuration whose values are checked as they are read."""

    def __init__(self, config: Mapping[str, Any], origin: str) -> None:
        self.config, self._origin = config, origin

    def fault(self, what: str) -> ModelFilesError:
        return ModelFilesError(f"{self._origin}: {what}")

    def flag(self, name: str, default: bool) -> bool:
        value = self.config.get(name, default)
        if not isinstance(value, bool):
            raise self.fault(f"{name} must be true or false, not {value!r}")
        return value

    def number(self, name: str, default: float) -> float:
        value = self.config.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.fault(f"{name} must be a number, not {value!r}")
        return float(value)

    def mapping(self, name: str, default: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        value = self.config.get(name, default)
        if not isinstance(value, Mapping):
            raise self.fault(f"{name} must be an object like {{'height': 224, 'width': 224}}, not {value!r}")
        return value

    def side(self, values: Mapping[str, Any], name: str, within: str = "") -> int:
        value = values.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= LARGEST_SIDE:
            shown = f"{within}.{name}" if within else name
            raise self.fault(f"{shown} must be a whole number of pixels from 1 to {LARGEST_SIDE}, not {value!r}")
        return value

    def rectangle(self, values: Mapping[str, Any], name: str) -> Size:
        return self.side(values, "width", name), self.side(values, "height", name)

    def resampling(self, name: str, default: Resampling) -> Resampling:
        value = self.config.get(name)
        if value is None:
            return default
        known = {method.name.lower(): method for method in Resampling}
        if isinstance(value, str) and value.lower() in known:
            return known[value.lower()]
        if type(value) is int and value in [int(method) for method in Resampling]:
            return Resampling(value)
        shown = ", ".join(f"{method.name.lower()} ({int(method)})" for method in Resampling)
        raise self.fault(f"{name} must be one of Pillow's filters, {shown}, not {value!r}")

    def colour(self, name: str) -> str | int | tuple[int, ...]:
        value = self.config.get(name, 0)
        colour = tuple(value) if isinstance(value, list) else value
        try:
            Image.new("RGB", (1, 1), colour)
        except (TypeError, ValueError) as error:
            raise self.fault(f"{name} must be a colour, such as 0 or [255, 255, 255], not {value!r}: {error}") from None
        return colour

    def channels(self, name: str) -> Channels:
        value = self.config.get(name)
        values: list[Any] = value if isinstance(value, list) else [value] * 3
        if len(values) != 3 or not all(type(number) in (int, float) for number in values):
            raise self.fault(f"{name} must be a number, or three, not {value!r}")
        return float(values[0]), float(values[1]), float(values[2])
