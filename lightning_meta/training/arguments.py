"""Arguments from a file against the annotations of the class that they are for."""

import types
from collections.abc import Callable, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from lightning_meta.core import InputError
from lightning_meta.nn.annotated import takes


def check_types(kind: type, arguments: dict[str, Any], find: Callable[[str], Any]) -> None:
    """InputError where an argument is not of its annotation. `find` gives the class that a nested description names."""
    hints = takes(kind)
    for name, value in arguments.items():
        if not fits(value, hints.get(name, Any), find):
            expected = getattr(hints[name], "__name__", None) or str(hints[name])
            raise InputError(f"its {kind.__name__} has {name} {repr(value)[:100]}, which is no {expected}")


def fits(value: Any, hint: Any, find: Callable[[str], Any]) -> bool:
    """Return whether a plain value, or the description of a module, is of a type, for the types that occur in our
    constructors."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if hint is None:
        return value is None
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if origin in (Union, types.UnionType):
        return any(fits(value, one, find) for one in inner)
    if origin is tuple and Ellipsis not in inner:
        pairs = zip(value, inner, strict=False) if isinstance(value, (list, tuple)) else ()
        return isinstance(value, (list, tuple)) and len(value) == len(inner) and all(fits(v, t, find) for v, t in pairs)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return isinstance(value, (list, tuple)) and all(fits(one, inner[0], find) for one in value)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, dict) and "class_path" in value:
        found = find(value["class_path"])
        return not isinstance(found, type) or not isinstance(hint, type) or issubclass(found, hint)
    return isinstance(value, hint) if isinstance(hint, type) else True
