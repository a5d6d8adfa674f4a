"""Names that a user gives: of keys, classes and modules, with the nearest legal one where there is none such."""

import difflib
import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lightning_meta.mismatch import MismatchError


def importable(path: str) -> tuple[Any, str | None]:
    """Return the object that a dotted path names, or one line that says why Python does not find it."""
    module, _, name = path.rpartition(".")
    if not all(part.isidentifier() for part in path.split(".")):
        return None, f"{path!r} is not the path of a class, as package.module.Class"
    try:
        found = importlib.import_module(module)
    except MismatchError as error:
        return None, str(error)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            outer = module.rpartition(".")[0]
            held = getattr(sys.modules.get(outer), module.rpartition(".")[2], None)  # a class inside a class
            if held is not None and hasattr(held, name):
                return getattr(held, name), None
            return None, no_module(error.name)
        return (
            None,
            f"{module} cannot be imported: it imports {error.name}, which is not installed: pip install {error.name}",
        )
    except Exception as error:  # whatever the module does
        return None, f"{module} cannot be imported: {type(error).__name__}: {in_a_line(error)}"
    if not hasattr(found, name):
        legal = [each for each, _ in inspect.getmembers(found, inspect.isclass)]
        return None, f"{module} has no {name!r}. {choose(name, legal)}"
    return getattr(found, name), None


def no_module(name: str) -> str:
    """Return the remedy for a module that Python does not find."""
    top = name.partition(".")[0]
    if Path(f"{top}.py").is_file() or Path(top).is_dir():
        return (
            f"Python finds no module {name!r}: {top} lies in this folder, where it does not look; put PYTHONPATH=. before"
            " the command"
        )
    return f"Python finds no module {name!r}; is it installed, or below PYTHONPATH?"


def in_a_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else "it says no more"


def subclasses(base: type) -> Iterator[type]:
    """All classes derived from another that have been imported."""
    for each in base.__subclasses__():
        yield each
        yield from subclasses(each)


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
    """The nearest legal name, if one is near, and the others, as many as fit a line or two."""
    legal = list(legal)
    close = difflib.get_close_matches(name, legal, n=1)
    hint = f"Did you mean {close[0]}? " if close else ""
    if not legal:
        return hint.strip()
    listed = ", ".join(legal)
    return hint + (
        f"Choose from {listed}" if len(listed) <= 250 else f"Choose from {listed[:230].rpartition(',')[0]}, ..."
    )
