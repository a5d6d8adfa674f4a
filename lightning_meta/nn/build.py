"""Modules from their description: `class_path` and `init_args`, nested, as in a YAML."""

import importlib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, get_type_hints

from torch import nn

from lightning_meta.core import InputError
from lightning_meta.nn.annotated import Makers, arguments_of


def find(class_path: str) -> Any:
    """Return the object that a dotted path names, or None. This imports the module: pass only names that the user gave."""
    path, _, name = class_path.rpartition(".")
    try:
        return getattr(importlib.import_module(path), name, None)
    except (ImportError, ValueError):
        return None


def build(
    spec: dict[str, Any], find: Callable[[str], Any] = find, name: Callable[[str], Any] | None = None
) -> nn.Module:
    """The module that a description names: `class_path`, a subclass of torch's Module or a function whose annotation says
    that it returns one (`torchvision.models.resnet18`), and `init_args` (and `dict_kwargs`, as jsonargparse calls what a
    `**kwargs` takes), which may hold descriptions too, in lists and dictionaries as well. Arguments are made what their
    annotations say.

    `find` tells what a path names, `name` what a path names that is an argument itself (an activation); it is `find` where
    it is not given. Raises InputError where a path names anything else: nothing else is called.
    """
    return _make(spec, find, name or find)


def _make(spec: Any, find: Callable[[str], Any], name: Callable[[str], Any]) -> nn.Module:
    return check_made(find(spec["class_path"]), _partial(spec, find, name)())


def _partial(spec: Any, find: Callable[[str], Any], name: Callable[[str], Any]) -> Any:
    found = find(spec["class_path"])
    if not makes_module(found):
        raise InputError(
            f"{spec['class_path']!r} is not a torch module that Python finds, nor a function annotated to return one"
        )
    makers = Makers(lambda nested: _make(nested, find, name), lambda nested: _partial(nested, find, name), name)
    return partial(found, **arguments_of(found, arguments(spec), makers))


def arguments(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a description's class."""
    return {**(spec.get("init_args") or {}), **(spec.get("dict_kwargs") or {})}


def makes_module(found: Any) -> bool:
    """Return whether an object declares that calling it gives a torch module."""
    try:
        kind = get_type_hints(found).get("return") if inspect.isfunction(found) else found
    except (NameError, TypeError):  # annotations that do not resolve
        return False
    return isinstance(kind, type) and issubclass(kind, nn.Module)


def check_made(kind: Any, found: Any) -> Any:
    """Return what a class or a function gave. Raises InputError where a function that is annotated to return a module gave
    something else."""
    if not isinstance(found, nn.Module) and makes_module(kind):
        what = (
            repr(found)[:100] if isinstance(found, (type(None), bool, int, float, str)) else f"a {type(found).__name__}"
        )
        raise InputError(
            f"{kind.__name__} returned {what}: a backbone is a torch Module, and a function that is named in the place of a"
            " class has to return one"
        )
    return found
