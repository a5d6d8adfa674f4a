"""Short names for what a search chooses from, where that is a description of a class or another composite value."""

import json
import pkgutil
from typing import Any


def named(values: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """The values to choose from, and what their short names stand for: a class is called as such, with the arguments that
    tell it from another of its name, `MLP(sizes=[1, 8])`; a list is called as it is written; numbers, words, booleans and
    null stand for themselves."""
    values = [short_form(value) for value in values]
    names, meant = [], {}
    for i, value in enumerate(values):
        if not isinstance(value, (dict, list)):
            names.append(value)
            continue
        name = called(value, [other for other in values if other is not value])
        if name in meant or name in values:
            name = f"{name} #{i + 1}"
        names.append(name)
        meant[name] = value
    return names, meant


def short_form(value: Any) -> Any:
    """A class that is given by its path alone, as a description."""
    if isinstance(value, str) and "." in value:
        try:
            found = pkgutil.resolve_name(value)
        except (ImportError, AttributeError, ValueError):
            return value
        return {"class_path": value} if callable(found) else value
    return value


def called(value: Any, others: list[Any]) -> str:
    """The name of a class without its module, or how another value is written."""
    if not is_description(value):
        return json.dumps(value)
    name = value["class_path"].rpartition(".")[2]
    alike = [other for other in others if is_description(other) and other["class_path"].rpartition(".")[2] == name]
    own = value.get("init_args") or {}
    args = [(other.get("init_args") or {}) for other in alike]
    telling = {key: v for key, v in own.items() if any(other.get(key) != v for other in args)}
    if not telling:
        return name
    return f"{name}({', '.join(f'{key}={short_value(v)}' for key, v in telling.items())})"


def short_value(value: Any) -> str:
    return called(value, []) if is_description(value) else value if isinstance(value, str) else json.dumps(value)


def is_description(value: Any) -> bool:
    """Return whether a value describes a class by `class_path` and `init_args`."""
    return isinstance(value, dict) and isinstance(value.get("class_path"), str)
