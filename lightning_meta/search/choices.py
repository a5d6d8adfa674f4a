"""Spaces inside choices: keys that exist only where some class is chosen, and points given to begin with.

model.optimizer:
  choice:
  - {class_path: torch.optim.SGD, init_args: {lr: {loguniform: [0.01, 1]}, momentum: {uniform: [0, 0.99]}}}
  - {class_path: torch.optim.Adam, init_args: {lr: {loguniform: [0.0001, 0.01]}}}
"""

import inspect
import pkgutil
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from lightning_meta.core import InputError
from lightning_meta.search.names import is_description
from lightning_meta.search.space import LISTS, RANGES, Dimension, dimension, exists

ARGS = ".init_args."


def opened(one: Dimension) -> list[Dimension]:
    """A dimension, and after it those that are written inside what it chooses from."""
    found = [one]
    for name, spec in one.described.items():
        under = {**one.under, one.key: [name]}
        for path, inner in varying(spec):
            chosen = ", ".join(names[0] for names in under.values() if len(names) == 1)
            each = dimension(f"{one.place}.{path} ({chosen})", inner, under)
            if "grid" in (one.kind, each.kind):
                raise InputError(
                    f"search.space: {each.key} varies inside a choice, where a grid would try the other choices again for"
                    " each of its points: write choice, not grid"
                )
            found += opened(each)
    return found


def varying(spec: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the varying keys inside a description, dotted, with the range or list that each draws from."""
    for key, value in spec.items() if isinstance(spec, dict) else ():
        if is_range(value):
            yield f"{path}{key}", value
        elif isinstance(value, list) and any(holds_range(part) for part in value):
            raise InputError(f"search.space: {path}{key} has a range inside a list: choose between whole lists")
        else:
            yield from varying(value, f"{path}{key}.")


def is_range(value: Any) -> bool:
    return isinstance(value, dict) and bool(value.keys() & {*RANGES, *LISTS})


def holds_range(value: Any) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return is_range(value) or any(map(holds_range, parts))


def shared(key: str, spec: Any, above: Dimension) -> Dimension:
    """A key below a choice, which exists under those of its classes that have such an argument. InputError where none has."""
    *way, name = bare(key).removeprefix(bare(above.place) + ".").split(".")
    legal = {choice: arguments(described, way) for choice, described in above.described.items()}
    having = [choice for choice, names in legal.items() if name in names]
    if not having:
        close = get_close_matches(name, [each for names in legal.values() for each in names], n=1)
        raise InputError(
            f"search.space: {bare(key)}: {' and '.join(legal)} have no {'.'.join([*way, name])}"
            f"{f'; did you mean {close[0]}?' if close else ''}"
        )
    return dimension(key, spec, {**above.under, above.key: having})


def arguments(spec: Any, way: list[str]) -> list[str]:
    """The arguments of a described class, or of one inside it; none where there is no such class."""
    for part in way:
        spec = (spec.get("init_args") or {}).get(part) if is_description(spec) else None
    if not is_description(spec):
        return []
    try:
        return [*inspect.signature(pkgutil.resolve_name(spec["class_path"])).parameters]
    except (ImportError, AttributeError, ValueError, TypeError):
        return []


def bare(key: str) -> str:
    """A dotted key without `init_args`, as on the command line."""
    return key.replace(ARGS, ".")


def point(space: list[Dimension], given: dict[str, Any]) -> dict[str, Any]:
    """A point to begin with, some keys and their values, as the search names both. InputError where it is not in the space."""
    left, found = {bare(key): value for key, value in given.items()}, {}
    for one in space:
        key = next((key for key in (bare(one.key), bare(one.place)) if key in left), None)
        if key is None or not exists(one, found):
            continue
        name, inner = recognised(one, left.pop(key))
        found[one.key] = name
        left |= {bare(f"{one.place}.{path}"): value for path, value in inner.items()}
    for key in left:
        if places := [one for one in space if bare(one.place) == key]:
            above = ", ".join(dict.fromkeys(k for one in places for k in one.under))
            raise InputError(f"search.start has {key}, which exists only under some choice of {above}: give that too")
        raise InputError(f"search.start has {key}, which is not in search.space: {', '.join(one.key for one in space)}")
    return found


def recognised(one: Dimension, value: Any) -> tuple[Any, dict[str, Any]]:
    """Return the search's name for a value, and the values of the keys inside it."""
    if one.is_range:
        low, high = one.values
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise InputError(f"search.start: {one.key} is {value}: give a number within {low} and {high}")
        return value, {}
    if isinstance(value, (str, int, float, bool, type(None))) and value in one.values:
        return value, {}
    wanted = {"class_path": value} if isinstance(value, str) else value
    fitting = []
    for name, spec in one.described.items():
        inner: dict[str, Any] = {}
        if matches(spec, wanted, inner):
            fitting.append((name, inner))
    if len(fitting) != 1:
        raise InputError(f"search.start: {one.key} is {value}: choose from {', '.join(map(str, one.values))}")
    return fitting[0]


def matches(spec: Any, value: Any, inner: dict[str, Any], path: str = "") -> bool:
    """Return whether `value` matches `spec`; values in the place of ranges are added to `inner`. A class may be given by
    its name alone, without arguments."""
    if is_range(spec):
        inner[path] = value
        return True
    if path.rpartition(".")[2] == "class_path" and isinstance(value, str):
        return value in (spec, spec.rpartition(".")[2])
    if not (isinstance(spec, dict) and isinstance(value, dict)):
        return spec == value
    left_out = {key for key in spec.keys() - value.keys() if key != "init_args" and not holds_range(spec[key])}
    return (
        not left_out
        and value.keys() <= spec.keys()
        and all(matches(spec[key], value[key], inner, f"{path}.{key}".lstrip(".")) for key in value)
    )
