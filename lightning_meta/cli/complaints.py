"""The parser's complaints in a line: what came, where, and what is legal."""

import difflib
import re
from collections.abc import Iterable
from importlib import import_module
from inspect import getmembers, isclass, signature
from typing import NoReturn

from jsonargparse import ArgumentParser

from lightning_meta.core import InputError


class Complaining(ArgumentParser):
    """A parser whose complaints are an InputError that names what is legal."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # a parser within the parser, whose complaint the outer one passes on
            super().error(message, ex)
        options = [action.dest for action in self._actions if not action.dest.startswith(("help", "print_shtab"))]
        raise InputError(explain(message, options)) from ex


def explain(message: str, options: Iterable[str]) -> str:
    """A complaint of jsonargparse, which nests them a level a class; `options` are the parser's, as dotted names."""
    message = message.strip().removeprefix('Parser key "config": ')
    where = ".".join(re.findall(r'Parser key "([\w.]+)"', message))

    def said(pattern: str) -> tuple[str, ...] | None:
        found = re.search(pattern, message)
        return found.groups() if found else None

    if found := said(r"class_path '([\w.]+)':\s+Option '(\w+)' is not accepted"):
        return no_argument(where, *found)
    if found := said(r"Option '(\w+)' is not accepted\. Got value: Namespace\(class_path='([\w.]+)'"):
        return no_argument(where, found[1], found[0])
    if found := said(r"Group '([\w.]+)' does not accept option '(\w+)'"):
        return no_key(".".join(found), options)
    if found := said(r"^Option '([\w.]+)' is not accepted") or said(r"unrecognized arguments: --([\w.]+)"):
        return no_key(found[0], options)
    if found := said(r"module '([\w.]+)' has no attribute '(\w+)'"):
        return f"{where}: {found[0]} has no {found[1]!r}. {choose(found[1], classes(found[0]))}"
    if found := said(r"arguments are required: (.+)"):
        return f"{where + ': ' if where else ''}{found[0]} must be given"
    if found := said(r"Not a valid subclass of (\w+)"):
        return f"{where}: give `class_path`, a {found[0]}, and its `init_args`, with nothing beside them"
    if found := said(r"Import path ([\w.]+) does not correspond to a subclass of (\w+)"):
        return f"{where}: {found[0]} is no {found[1]}"
    if found := said(r"Expected a dot import path string: (\S+)"):
        return f"{where} is {found[0]}, which names no class: give its full path, as package.module.Class"
    if found := said(r"Expected a typing\.Literal\[(.+)\]\. Got value: (.+)"):
        return f"{where} is {found[1]}: choose {found[0].replace(chr(39), '')}"
    if found := said(r"(?s).*Subtypes: (.+?)\n.*?Given value: (.+?)(?:\n|$)"):  # the innermost
        return f"{where} is {found[1]}, which is none of {plain(found[0])}"
    if found := said(r"Expected a (.+)\. Got value: (.+)"):
        return f"{where} is {found[1]}, which is no {plain(found[0])}"
    if found := said(r"No module named '([\w.]+)'"):
        return f"{where}: Python finds no module {found[0]!r}; is it installed, or below PYTHONPATH?"
    return message


def no_argument(where: str, path: str, name: str) -> str:
    """`name` is not in the signature of the class at `path`."""
    module, _, kind = path.rpartition(".")
    legal = signature(getattr(import_module(module), kind)).parameters
    return f"{where}: {kind} has no argument {name!r}. {choose(name, legal)}"


def classes(module: str) -> list[str]:
    return [name for name, _ in getmembers(import_module(module), isclass)]


def no_key(path: str, options: Iterable[str]) -> str:
    """The dotted `path` leaves the tree of options at some key."""
    legal = [option.split(".") for option in options]
    parts, depth = path.split("."), 0
    while depth < len(parts) - 1 and any(option[: depth + 1] == parts[: depth + 1] for option in legal):
        depth += 1
    names = dict.fromkeys(o[depth] for o in legal if len(o) > depth and o[:depth] == parts[:depth])
    return (
        f"{'.'.join(parts[:depth]) or 'the configuration'} has no key {parts[depth]!r}. {choose(parts[depth], names)}"
    )


def choose(name: str, legal: Iterable[str]) -> str:
    """The nearest legal name, if one is near, and all of them."""
    legal = list(legal)
    close = difflib.get_close_matches(name, legal, n=1)
    return (f"Did you mean {close[0]}? " if close else "") + (f"Choose from {', '.join(legal)}" if legal else "")


def plain(types: str) -> str:
    """Types without Python's dress: `int, tuple[int, int], null`."""
    types = re.sub(r"<class '(?:\w+\.)*(\w+)'>|typing\.Literal", r"\1", types)
    return types.removeprefix("[").removesuffix("]").replace("NoneType", "null")
