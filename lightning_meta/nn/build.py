"""Modules from their description: `class_path` and `init_args`, nested, as in a YAML."""

import importlib
import inspect
from typing import Any, get_type_hints

from torch import nn

from lightning_meta.core import InputError


def build(spec: dict[str, Any]) -> nn.Module:
    """The module that a description names: `class_path`, a subclass of torch's Module or a function whose annotation says
    that it returns one (`torchvision.models.resnet18`), and `init_args`, which may hold descriptions too.

    Raises InputError where it names anything else: nothing else is called.
    """

    def value(v: Any) -> Any:
        return build(v) if isinstance(v, dict) and "class_path" in v else v

    found = find(spec["class_path"])
    if not makes_module(found):
        raise InputError(
            f"{spec['class_path']!r} is no torch module that Python finds, nor a function annotated to return one"
        )
    return found(**{key: value(v) for key, v in (spec.get("init_args") or {}).items()})


def find(class_path: str) -> Any:
    """What a dotted path names, or None."""
    path, _, name = class_path.rpartition(".")
    try:
        return getattr(importlib.import_module(path), name, None)
    except (ImportError, ValueError):
        return None


def makes_module(found: Any) -> bool:
    """Whether calling it gives a torch module, as far as it says so itself."""
    try:
        kind = get_type_hints(found).get("return") if inspect.isfunction(found) else found
    except (NameError, TypeError):  # annotations that do not resolve
        return False
    return isinstance(kind, type) and issubclass(kind, nn.Module)
