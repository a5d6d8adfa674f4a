"""Values and types as a user would write them."""

import json
import re
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

WORDS = {
    int: "an int",
    float: "a float",
    str: "text",
    bool: "true or false",
    NoneType: "null",
    dict: "a dict",
    list: "a list",
}


def shown(value: Any) -> str:
    """A value as YAML has it, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return (text if len(text) <= 60 else f"{text[:57]}...") + given(value)


def given(value: Any) -> str:
    """A remark on text that was to be `key: value`."""
    found = re.match(r"^\w+:(?!//)\S", value) if isinstance(value, str) else None
    return " (a space is missing after the colon)" if found else ""


def legal(members: list[Any]) -> str:
    """The types of a union, as words; classes together, by which an object is described."""
    kinds = [kind.__name__ for one in members for kind in classes(one)]
    simple = dict.fromkeys(words(one) for one in members if not classes(one))
    described = [f"`class_path` and `init_args` of a {' or '.join(dict.fromkeys(kinds))}"] if kinds else []
    return " or ".join([*described, *simple])


def classes(hint: Any) -> list[type]:
    """The classes whose objects a type wants by their description, alone or in a list."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Callable:
        return classes(args[-1]) if args else []
    if origin in (Union, UnionType):
        return [kind for each in args for kind in classes(each)]
    if origin is not None:
        return classes(args[0]) if args and origin not in (dict, Literal, tuple) else []
    plain = (bool, int, float, str, bytes, list, tuple, dict, set, object, NoneType)
    is_class = isinstance(hint, type) and hint not in plain and hint.__module__ not in ("pathlib", "os")
    return [hint] if is_class else []


def words(hint: Any) -> str:
    origin, args = get_origin(hint), [arg for arg in get_args(hint) if arg is not Ellipsis]
    if hint in WORDS:
        return WORDS[hint]
    if origin is Literal:
        return ", ".join(map(str, args))
    if origin is tuple and Ellipsis not in get_args(hint):
        return f"[{', '.join(map(bare, args))}]"
    if origin is dict:
        return "a dict of key: value"
    if args:
        return f"a list of {' or '.join(map(bare, args))}"
    return "a path" if isinstance(hint, type) else str(hint).rpartition(".")[2]


def bare(hint: Any) -> str:
    return words(hint).removeprefix("an ").removeprefix("a ")
