"""Values of a YAML as the annotations of what takes them ask for: a list as a tuple, a name as a member of an Enum."""

import collections.abc
import dataclasses
import enum
import inspect
import os
import types
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import torch
from torch import nn

from lightning_meta.core import InputError

UNSAID = "Unable to serialize instance "  # jsonargparse's, in the place of a default that no YAML can hold
OF_DEFAULTS = (tuple, set, frozenset, enum.Enum, PurePath, torch.dtype, torch.device, complex)
OF_YAML = (bool, int, float, complex, str, bytes, list, tuple, set, frozenset)
UNRESOLVED = (NameError, AttributeError, TypeError, SyntaxError)  # a name that type checkers alone know, say
MISSING = inspect.Parameter.empty


class UnfitError(Exception):
    """A value is not of an annotation."""


class Makers(NamedTuple):
    """Makers of objects of names and descriptions; each raises InputError for what it may not."""

    build: Callable[[Any], Any]  # of a description of a module
    partial: Callable[[Any], Any]  # of a description of what is called later
    name: Callable[[str], Any]  # of the dotted name of a function or a class


def takes(kind: Any) -> dict[str, Any]:
    """The annotation of each argument of a class or a function, by name, as far as they resolve. Where it has `**kwargs`, also
    those of its base classes, or of the class that it says it returns. Of an argument without one, the kind of its default."""
    found: dict[str, Any] = {}
    function: Any = kind
    if isinstance(kind, type):
        if kind.__init__ is object.__init__:
            return {}
        for base in reversed(kind.__mro__):
            if "__init__" in vars(base) and base is not object:
                function = inspect.unwrap(base.__init__)
                found = {**(found if open_ended(function) else {}), **own(function)}
        return found
    function = inspect.unwrap(kind)
    found = own(function)
    made = found.pop("return", None)
    return {**takes(made), **found} if open_ended(function) and isinstance(made, type) else found


def own(function: Any) -> dict[str, Any]:
    """The annotations of one function."""
    known, found = getattr(function, "__globals__", {}), {}
    for name, hint in getattr(function, "__annotations__", {}).items():
        try:
            found |= get_type_hints(types.SimpleNamespace(__annotations__={name: hint}), known)
        except UNRESOLVED:
            continue
    for name, default in defaults(function).items():
        if name not in getattr(function, "__annotations__", {}):
            if isinstance(default, OF_DEFAULTS) or is_record(type(default)):
                found[name] = type(default)
            elif isinstance(default, type) or callable(default):
                found[name] = type if isinstance(default, type) else Callable
    return found


def defaults(kind: Any) -> dict[str, Any]:
    """The default of each argument, MISSING where it has none; empty where it does not tell."""
    try:
        return {name: one.default for name, one in inspect.signature(kind).parameters.items()}
    except (TypeError, ValueError):
        return {}


def open_ended(function: Any) -> bool:
    try:
        return any(one.kind is one.VAR_KEYWORD for one in inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False


def is_record(hint: Any) -> bool:
    """Return whether it is a dataclass or a named tuple, which a YAML has as a dictionary."""
    return (
        isinstance(hint, type)
        and not issubclass(hint, nn.Module)
        and (dataclasses.is_dataclass(hint) or (issubclass(hint, tuple) and hasattr(hint, "_fields")))
    )


def record(hint: Any) -> dict[str, Any]:
    """The annotations of a record's fields."""
    return takes(hint) if dataclasses.is_dataclass(hint) else own_fields(hint)


def own_fields(hint: Any) -> dict[str, Any]:
    try:
        return get_type_hints(hint)
    except UNRESOLVED:
        return {}


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The types that an annotation names, one or several."""
    while hasattr(hint, "__supertype__"):  # NewType
        hint = hint.__supertype__
    if isinstance(hint, TypeVar):
        return alternatives(hint.__bound__) if hint.__bound__ else (Any,)
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(each for one in get_args(hint) for each in alternatives(one))
    return (hint,)


def is_path_type(hint: Any) -> bool:
    """Return whether an annotation says that a value is the name of a file or a folder."""
    kinds = [get_origin(one) or one for one in alternatives(hint)]
    return any(one is os.PathLike or (isinstance(one, type) and issubclass(one, PurePath)) for one in kinds)


def arguments_of(kind: Any, values: dict[str, Any], makers: Makers) -> dict[str, Any]:
    """Arguments of a class or a function, as its annotations ask for. What could not be said stays its default."""
    hints = record(kind) if is_record(kind) else takes(kind)
    said = {name: v for name, v in values.items() if not (isinstance(v, str) and v.startswith(UNSAID))}
    return {name: converted(v, hints.get(name, Any), makers) for name, v in said.items()}


def converted(value: Any, hint: Any, makers: Makers) -> Any:
    """A value as an annotation asks for; where it is of none of its types, as the YAML has it."""
    refused = None
    for one in alternatives(hint):
        try:
            return as_one(value, one, makers)
        except UnfitError:
            continue
        except InputError as error:
            if len(alternatives(hint)) == 1:
                raise
            refused = refused or error
    if refused:
        raise refused
    return plain(value, makers)


def plain(value: Any, makers: Makers) -> Any:
    """A value without an annotation: descriptions in it are built."""
    if isinstance(value, dict):
        return makers.build(value) if "class_path" in value else {k: plain(v, makers) for k, v in value.items()}
    return type(value)(plain(one, makers) for one in value) if isinstance(value, (list, tuple)) else value


def as_one(value: Any, hint: Any, makers: Makers) -> Any:
    """A value as one type; UnfitError where it is not of that type."""
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if hint is Any or hint is object:
        return plain(value, makers)
    if value is None or hint is None or hint is type(None):
        return fit(value, value is None and hint in (None, type(None)))
    if origin is Literal:
        return fit(value, value in inner)
    if origin is collections.abc.Callable:
        return called(value, inner[1] if len(inner) == 2 else Any, makers)
    if origin is type:
        bound = inner[0] if inner and isinstance(inner[0], type) else object
        found = makers.name(value) if isinstance(value, str) else value
        return fit(found, isinstance(found, type) and issubclass(found, bound))
    if not isinstance(origin, type):
        raise UnfitError
    if is_record(origin):
        return origin(**arguments_of(origin, fields(value), makers))
    if isinstance(value, dict) and "class_path" in value:
        fit(value, origin not in OF_YAML)
        return makers.build(value)
    if isinstance(value, (list, tuple)):
        return several(value, origin, inner, makers)
    if isinstance(value, dict) and issubclass(origin, Mapping):
        key, item = inner if len(inner) == 2 else (Any, Any)
        number = int in alternatives(key)  # a file has text for every key
        return {int(k) if number and k.isdigit() else k: converted(v, item, makers) for k, v in value.items()}
    return scalar(value, origin)


def called(value: Any, returned: Any, makers: Makers) -> Any:
    """A function by its name; a class that makes what the annotation returns, with the arguments that are set; or an object
    that is itself called."""
    if isinstance(value, str):
        found = makers.name(value)
        if not callable(found):
            raise InputError(f"{value!r} is not a function or class that Python finds")
        return found
    if isinstance(value, dict) and "class_path" in value:
        kinds = [one for one in alternatives(returned) if isinstance(one, type)]
        return makers.partial(value) if any(issubclass(one, nn.Module) for one in kinds) else makers.build(value)
    return fit(value, callable(value))


def several(value: Any, origin: type, inner: tuple[Any, ...], makers: Makers) -> Any:
    """A list as a tuple, a set or a list of what its annotation says."""
    if issubclass(origin, tuple) and inner and Ellipsis not in inner:
        fit(value, len(value) == len(inner))
        return tuple(converted(v, each, makers) for v, each in zip(value, inner, strict=True))
    within = [converted(v, inner[0] if inner else Any, makers) for v in value]
    for kind in (tuple, frozenset, set):
        if issubclass(origin, kind):
            return origin(within) if origin is torch.Size else kind(within)
    if issubclass(origin, collections.abc.Set):
        return set(within)
    return fit(within if isinstance(value, list) else tuple(within), issubclass(list, origin))


def scalar(value: Any, kind: type) -> Any:
    """A number or a text as a type that a YAML writes so."""
    if isinstance(value, str):
        if issubclass(kind, enum.Enum):
            return fit(kind.__members__.get(value), value in kind.__members__)
        if issubclass(kind, PurePath):
            return kind(value)
        if kind is os.PathLike:
            return PurePath(value)
        if kind is torch.dtype:
            found = getattr(torch, value.removeprefix("torch."), None)
            return fit(found, isinstance(found, torch.dtype))
        if kind is torch.device or kind is complex:
            try:
                return kind(value)
            except (RuntimeError, ValueError) as error:
                raise UnfitError from error
    if kind in (int, float) and isinstance(value, bool):
        raise UnfitError
    return fit(value, isinstance(value, kind) or (kind is float and isinstance(value, int)))


def fields(value: Any) -> dict[str, Any]:
    """The fields of a record, as they are or as a description has them."""
    if not isinstance(value, dict):
        raise UnfitError
    return {**(value.get("init_args") or {})} if "class_path" in value else value


def fit(value: Any, is_so: bool) -> Any:
    """The value, where it is of its type."""
    if not is_so:
        raise UnfitError
    return value
