"""A torchvision that does not match torch: taken as absent, so that everything that does not need it still works.

PyPI's torchvision on PyTorch's CPU build, or one that an upgrade of torch left behind, fails as it is imported ("operator
torchvision::nms does not exist"), and torchmetrics, which Lightning imports, imports it wherever it is installed.
"""

import importlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any

SAID = "LIGHTNING_META_TORCHVISION"  # set where this was reported, for the processes of a run


class MismatchError(ModuleNotFoundError):
    """Raised by the import of a torchvision that does not match torch."""


class NoVersion(importlib.metadata.Distribution):
    """A stand-in for a broken package that hides its version, so that libraries take it as not installed."""

    def read_text(self, filename: str) -> str | None:
        return "Name: torchvision\nVersion: unknown\n" if filename in ("METADATA", "PKG-INFO") else None

    def locate_file(self, path: str | os.PathLike[str]) -> Any:
        raise FileNotFoundError(path)


class Absent(MetaPathFinder):
    """Hides torchvision, and tells why."""

    def __init__(self, why: str):
        self.why = why

    def find_spec(self, fullname: str, *_: Any) -> ModuleSpec | None:
        if fullname.partition(".")[0] == "torchvision":
            raise MismatchError(self.why, name="torchvision")
        return None

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context
    ) -> Iterable[importlib.metadata.Distribution]:
        return [NoVersion()] if context.name == "torchvision" else []


class Guard(MetaPathFinder):
    """Looks at torchvision before Lightning or torchmetrics does, and at no other time: the import takes a second."""

    def find_spec(self, fullname: str, *_: Any) -> ModuleSpec | None:
        if fullname in ("torchmetrics", "pytorch_lightning", "lightning_fabric"):
            sys.meta_path.remove(self)
            hide_mismatch()
        return None


def hide_mismatch() -> None:
    """Import torchvision, if there is one; hide it where that fails, with one warning."""
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except (RuntimeError, ImportError, OSError, AttributeError) as error:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        why = mismatch(error)
        sys.meta_path.insert(0, Absent(why))
        if SAID not in os.environ:
            os.environ[SAID] = "reported"
            print(f"lightning-meta: warning: {why}. What does not need torchvision still works", file=sys.stderr)


def mismatch(error: Exception) -> str:
    """Return one line that names the mismatch and the command that repairs it, from the index that torch came from."""
    version, torch = (importlib.metadata.version(name) for name in ("torchvision", "torch"))
    said = (str(error).splitlines() or [type(error).__name__])[0]
    build = torch.partition("+")[2]
    index = f" --index-url https://download.pytorch.org/whl/{build}" if build else ""
    return (
        f"torchvision {version} does not match torch {torch} ({said}): pip install --force-reinstall --no-deps"
        f" torchvision{index}"
    )


def watch() -> None:
    """Look at torchvision when Lightning or torchmetrics is first imported."""
    if "torchmetrics" not in sys.modules and not any(isinstance(finder, Guard) for finder in sys.meta_path):
        sys.meta_path.insert(0, Guard())
