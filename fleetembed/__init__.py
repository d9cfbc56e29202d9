"""All public names of `embedders` and `pipelines` under one name: ``import fleetembed as fe; fe.EmbeddingPipeline``.

A name is imported when it is first used. From this import on the two packages are taken from where this one is
installed, also where a folder called ``pipelines`` or ``embedders`` in the working directory, or elsewhere on
``sys.path``, comes before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleetembed import _own_packages

if TYPE_CHECKING:
    from embedders import *
    from pipelines import *

    __all__: list[str]
    __version__: str

_own_packages.come_first()

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name == "__all__":
            return _names()
        if name == "__version__":
            return _own_packages.load("embedders").__version__
        # Else IPython's questions, such as for _repr_html_, would load the packages.
        if not name.startswith("_"):
            for package in map(_own_packages.load, _own_packages.PACKAGES):
                if name in package.__all__:
                    value = globals()[name] = getattr(package, name)
                    return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _names() -> list[str]:
    return sorted({name for package in _own_packages.PACKAGES for name in _own_packages.load(package).__all__})


def __dir__() -> list[str]:
    return sorted({*globals(), *_names(), "__version__"})
