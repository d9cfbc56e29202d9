"""Exceptions a caller can act on. Each message says what was wrong, where, and what to do next."""

from __future__ import annotations


class FleetembedError(Exception):
    """Base of every error this project raises on purpose."""


class ModelNotFoundError(FleetembedError, ValueError):
    """The model name is in no catalog, or its files are in none of the places tried."""


class ModelFilesError(FleetembedError, ValueError):
    """A model's files are there but damaged, incomplete or not what its card says."""


class DeviceError(FleetembedError, RuntimeError):
    """A device or execution provider was asked for that this machine does not have."""


class ImageError(ValueError):
    """An image cannot be decoded or transformed. It is one row's fault: other images and the model are fine."""
