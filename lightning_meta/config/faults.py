"""The place of a fault in a configuration: its key, what stands there, and what is legal.

jsonargparse complains in paragraphs, a level for each class and each member of a union. Where it refuses a configuration, we
walk down the same tree by its own tests and say the innermost thing that is wrong.
"""

import copy
import inspect
from collections.abc import Callable, Collection, Iterator
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from jsonargparse import ArgumentParser

from lightning_meta.config.names import choose, importable, no_key, subclasses
from lightning_meta.config.spelling import classes, given, legal, shown

SPEC = ("class_path", "init_args", "dict_kwargs")


def diagnose(parser: ArgumentParser, config: dict[str, Any], linked: Collection[str]) -> str | None:
    """Return the first fault of a configuration, or None. `linked` names arguments of a learner that its data supply."""
    return next(faults(parser, config, "", linked), None)


def misplaced_null(parser: ArgumentParser, config: dict[str, Any], linked: Collection[str]) -> str | None:
    """A null where none is legal, in a configuration that jsonargparse took: it takes them everywhere."""
    if not holds_null(config):
        return None
    return next((said for said in faults(parser, config, "", linked) if " is null: give " in said), None)


def with_options(config: dict[str, Any], rest: list[str]) -> dict[str, Any]:
    """The configuration with the command-line arguments `rest` over it."""
    config = copy.deepcopy(config)
    for option, value in options(rest):
        put(config, option.removesuffix("+").split("."), value, option.endswith("+"))
    return config


def holds_null(value: Any) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is None or any(map(holds_null, parts))


def options(rest: list[str]) -> Iterator[tuple[str, Any]]:
    """The options among command-line arguments, and their values as YAML reads them."""
    for arg, following in zip(rest, [*rest[1:], ""], strict=False):
        if arg.startswith("--"):
            key, equals, value = arg[2:].partition("=")
            try:
                yield key, yaml.safe_load(value if equals else following)
            except yaml.YAMLError:
                yield key, value if equals else following


def put(node: Any, path: list[str], value: Any, add: bool) -> None:
    """Put a value at a dotted key; `init_args` may be left out. A class that is named anew has no arguments yet."""
    first, *rest = path
    if "class_path" in node and first not in SPEC:
        node = node.setdefault("init_args", {})
    if not isinstance(node, dict):
        return  # a fault of its own
    if not rest:
        old = node.get(first)
        if add:
            node[first] = [*(old if isinstance(old, list) else [old] if old else []), value]
        elif not (isinstance(old, dict) and isinstance(value, str) and old.get("class_path") == value):
            node[first] = value
        return
    below = node.get(first)
    if isinstance(below, list) and below:
        below = below[-1]
    if isinstance(below, str):
        below = node[first] = {"class_path": below}
    if not isinstance(below, dict):
        below = node[first] = {}
    put(below, rest, value, add)


def faults(parser: ArgumentParser, config: dict[Any, Any], where: str, linked: Collection[str]) -> Iterator[str]:
    """Yield the faults of the values given to a parser's options, in the order of the configuration."""
    dests = [action.dest for action in parser._actions if not action.dest.endswith("help")]
    groups = {dest for dest in dests if any(other.startswith(f"{dest}.") for other in dests)}
    hidden = {"config", "print_config", *groups}
    known = {action.dest: action for action in parser._actions if action.dest in dests and action.dest not in hidden}
    for key, value in leaves(config, known):
        full = f"{where}.{key}" if where else key
        if key in groups:
            inner = dict.fromkeys(
                name.removeprefix(f"{key}.").split(".")[0] for name in known if name.startswith(f"{key}.")
            )
            yield f"{full} is {shown(value)}: give it keys. {choose('', inner)}"
        elif key not in known:
            inside = f"{where}." if where else ""
            yield no_key(full, [inside + name for name in known])
        else:
            hint = getattr(known[key], "_typehint", None) or known[key].type
            by_data = value is None and (
                known[key].default is None or full in (f"model.learner.{name}" for name in linked)
            )
            if hint is not None and not by_data and (holds_null(value) or not accepts(hint, value)):
                yield from faulty(hint, value, full, linked)


def leaves(config: dict[Any, Any], known: Collection[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys of a configuration down to where a parser has an option, or has none."""
    for key, value in config.items():
        full = f"{prefix}{key}"
        if full not in known and isinstance(value, dict) and any(one.startswith(f"{full}.") for one in known):
            yield from leaves(value, known, f"{full}.")
        else:
            yield full, value


def accepts(hint: Any, value: Any) -> bool:
    """Return whether a value is legal for a type, as jsonargparse sees it. Null is legal only if the type includes None."""
    if value is None:
        return hint is Any or NoneType in (hint, *get_args(hint))
    one = ArgumentParser(exit_on_error=False)
    try:
        one.add_argument("--value", type=hint)
        one.parse_object({"value": copy.deepcopy(value)})
    except Exception:  # it has many ways to say no
        return False
    return True


def faulty(hint: Any, value: Any, where: str, linked: Collection[str]) -> Iterator[str]:
    """Yield the faults of a value that its type rejects, at the innermost place that can be named."""
    members = [*get_args(hint)] if get_origin(hint) in (Union, UnionType) else [hint]
    if records := [one for one in members if is_dataclass(one) and isinstance(one, type)]:
        yield from faults_of_record(records[0], value, where, linked)
        return
    classes = [kind for one in members for kind in made(one)]
    wants_text = any(one in (str, int, float) or get_origin(one) is Literal for one in members)
    if classes and (isinstance(value, dict) or (isinstance(value, str) and not wants_text)):
        yield from faults_of_class(classes, value, where, members, linked)
        return
    for one in members:
        origin, args = get_origin(one), [arg for arg in get_args(one) if arg is not Ellipsis]
        if isinstance(value, list) and origin not in (Callable, Literal, dict) and args and not made(one):
            for i, part in enumerate(value):
                each = args[i] if origin is tuple and len(args) == len(value) else args[0]
                if holds_null(part) or not accepts(each, part):
                    yield from faulty(each, part, f"{where}[{i}]", linked)
        if isinstance(value, dict) and len(args) == 2 and origin is dict:
            for key, part in value.items():
                if holds_null(part) or not accepts(args[1], part):
                    yield from faulty(args[1], part, f"{where}.{key}", linked)
    if not accepts(hint, value):
        yield f"{where} is {shown(value)}: give {legal(members)}"


def made(hint: Any) -> list[type]:
    """The classes whose objects a type wants by their description, except those in lists."""
    return classes(hint) if get_origin(hint) in (None, Callable) else []


def faults_of_record(kind: type, value: Any, where: str, linked: Collection[str]) -> Iterator[str]:
    """Yield the faults in the description of a dataclass, which is its arguments alone."""
    if not isinstance(value, dict):
        yield f"{where} is {shown(value)}: give it keys. {choose('', [one.name for one in fields(kind)])}"
        return
    yield from faults_of_arguments(kind, value, 0, where, linked)


def faults_of_class(
    bases: list[type], value: Any, where: str, members: list[Any], linked: Collection[str]
) -> Iterator[str]:
    """Yield the faults in the description of an object of one of `bases`."""
    names = " or a ".join(base.__name__ for base in bases)
    spec = {"class_path": value} if isinstance(value, str) else value
    path = spec.get("class_path")
    if beside := [key for key in spec if key not in SPEC]:
        yield f"{where} has {beside[0]!r}: give `class_path`, a {names}, and its `init_args`, with nothing beside them"
        return
    if not isinstance(path, str):
        yield f"{where} is {shown(value)}: give `class_path`, a {names}, and its `init_args`"
        return
    if "." not in path:
        named = [found for base in bases for found in subclasses(base) if found.__name__ == path]
        if not named:
            near = {
                found.__name__: f"{found.__module__}.{found.__name__}" for base in bases for found in subclasses(base)
            }
            yield f"{where} is {path}, which names no class: give its full path, as package.module.Class. {choose(path, near)}"
            return
        found = named[0]
    else:
        found, problem = importable(path)
        if problem:
            yield f"{where}: {problem}"
            return
    if not callable(found) or (isinstance(found, type) and not issubclass(found, tuple(bases))):
        yield f"{where}: {path} is no {names}"
        return
    if inspect.isabstract(found):
        yield f"{where}: {path} is abstract: choose a class that derives from it"
        return
    args = spec.get("init_args")
    if not isinstance(args, dict | None):
        yield f"{where}.init_args is {shown(args)}: give the arguments of {found.__name__}, as name: value{given(args)}"
        return
    positional = max([len(get_args(one)[0]) for one in members if get_origin(one) is Callable and made(one)], default=0)
    yield from faults_of_arguments(found, args or {}, positional, where, linked)


def faults_of_arguments(
    found: Any, args: dict[Any, Any], positional: int, where: str, linked: Collection[str]
) -> Iterator[str]:
    """Yield the faults in the arguments of a class or function, except its first positional ones."""
    inner = arguments(found, positional)
    legal_names = [action.dest for action in inner._actions if not action.dest.endswith("help")]
    required = [action.dest for action in inner._actions if action.required]
    for name in args:
        if name not in legal_names:
            yield f"{where}: {found.__name__} has no argument {str(name)!r}. {choose(str(name), legal_names)}"
    yield from faults(inner, args, where, linked)
    for name in legal_names:
        if name in required and name not in args and not (where == "model.learner" and name in linked):
            yield f"{where}.{name} must be given: {found.__name__} has no default for it"


def arguments(found: Any, positional: int) -> ArgumentParser:
    """A parser of what a class or function takes, except the first positional arguments."""
    inner = ArgumentParser(exit_on_error=False)
    skip: set[Any] = {positional} if positional else set()
    add = inner.add_class_arguments if isinstance(found, type) else inner.add_function_arguments
    add(found, skip=skip, fail_untyped=False)
    return inner
