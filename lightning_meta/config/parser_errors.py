"""The parser's complaints in a line: what came, where, and what is legal."""

import re
from collections.abc import Callable, Iterable
from importlib import import_module
from inspect import signature
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from lightning_meta.config.names import choose, importable, no_key
from lightning_meta.core import InputError


class ParserError(InputError):
    """An error of a parser about its arguments, with the parser."""

    def __init__(self, message: str, parser: ArgumentParser):
        super().__init__(message)
        self.parser = parser


class Complaining(ArgumentParser):
    """A parser whose complaints are an InputError that names what is legal. It takes no abbreviated options."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **{"allow_abbrev": False, **options})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # a parser within the parser, whose complaint the outer one passes on
            super().error(message, ex)
        options = [action.dest for action in self._actions if not action.dest.startswith(("help", "print_shtab"))]
        raise ParserError(explain(message, options), self) from ex

    def add_function_arguments(
        self,
        function: Callable[..., Any],
        nested_key: str | None = None,
        as_group: bool = True,
        as_positional: bool = False,
        skip: set[str | int] | None = None,
        fail_untyped: Any = True,
        sub_configs: bool = False,
        linked_targets: set[str] | None = None,  # noqa: ARG002  jsonargparse 4.53 gives them to functions too, and fails
    ) -> list[str]:
        return super().add_function_arguments(
            function, nested_key, as_group, as_positional, skip, fail_untyped, sub_configs
        )


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
    if found := said(r"Unable to load config \"(.*)\""):
        return f"{where.split('.')[0]} is {found[0]}: give it keys"
    if found := said(r"Group '([\w.]+)' does not accept option '(\w+)'"):
        return no_key(".".join(found), options)
    if found := said(r"^Option '([\w.]+)' is not accepted") or said(r"unrecognized arguments: --([\w.]+)"):
        return no_key(found[0], options)
    if found := said(r"module '([\w.]+)' has no attribute '(\w+)'"):
        return f"{where}: {importable('.'.join(found))[1]}"
    if found := said(r"arguments are required: (.+)"):
        return f"{where + ': ' if where else ''}{found[0]} must be given"
    if found := said(r"Not a valid subclass of (\w+)"):
        return f"{where}: give `class_path`, a {found[0]}, and its `init_args`, with nothing beside them"
    if found := said(r"Import path ([\w.]+) does not correspond to a subclass of (\w+)"):
        return f"{where}: {found[0]} is no {found[1]}"
    if found := said(r"(?s)Subtypes: \[dict\[.+?NestedArg\(key='(\w+)\.([\w.]+)', val='?(.+?)'?\)"):
        name, key, value = found
        return f"{where} is not given yet, so it has no {name!r}: give a whole one, --{where} '{{{name}: {{{key}: {value}}}}}'"
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
    return in_two_lines(message)


def in_two_lines(message: str) -> str:
    """The end of a long complaint, where its reason stands, without the parser's own names."""
    lines = [re.sub(r"NestedArg\(key='(\w+)', val=(.*)\)", r"\1 \2", line).strip() for line in message.splitlines()]
    lines = [line for line in lines if line and not re.search(r"Namespace\(|Subtypes|subtypes|Given value", line)]
    return " ".join([*lines[:1], *lines[1:][-1:]])[:380]


def no_argument(where: str, path: str, name: str) -> str:
    """`name` is not in the signature of the class at `path`."""
    module, _, kind = path.rpartition(".")
    legal = signature(getattr(import_module(module), kind)).parameters
    return f"{where}: {kind} has no argument {name!r}. {choose(name, legal)}"


def plain(types: str) -> str:
    """Types without Python's dress: `int, tuple[int, int], null`."""
    types = re.sub(r"<class '(?:\w+\.)*(\w+)'>|typing\.Literal", r"\1", types)
    return types.removeprefix("[").removesuffix("]").replace("NoneType", "null")


def add_trust(parser: ArgumentParser) -> None:
    """`--trust`, of a command that builds what a checkpoint names."""
    parser.add_argument(
        "--trust",
        type=str,
        action="append",
        metavar="PACKAGE",
        help="a package whose classes the checkpoint may name, and whose code then runs; repeatable",
    )
