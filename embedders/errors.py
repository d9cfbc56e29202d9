"""Exceptions a caller can act on. Each message says what was wrong, where, and what to do next."""

from __future__ import annotations


class FleetembedError(Exception):
    """Base of every error this project raises on purpose."""


class ModelNotFoundError(FleetembedError, ValueError):
    """The model's name is in no catalog, or its files were found nowhere."""


class ModelFilesError(FleetembedError, ValueError):
    """A model's files are damaged, incomplete or not what its card says."""


class DeviceError(FleetembedError, RuntimeError):
    """This machine lacks a device or execution provider that was asked for."""


class UnknownProviderError(DeviceError, ValueError):
    """ONNX Runtime has no execution provider of this name; a ValueError, as with fastembed."""


class ImageError(ValueError):
    """An image cannot be decoded or transformed. Other images and the model are not affected."""
