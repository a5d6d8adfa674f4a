"""Classes of a configuration that cannot be imported or made: which, where it is named, and why."""

import inspect
import re
import sys
from typing import Any, NamedTuple

from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from lightning_meta.config.names import importable, in_a_line
from lightning_meta.core import InputError
from lightning_meta.nn.build import check_made, makes_module


class Failure(NamedTuple):
    """A class that could not be made, and why."""

    kind: type
    error: Exception

    def said(self, config: dict[str, Any]) -> str:
        """Ours as it is; of others with the key where `config` names the class, and what pip installs where that is it."""
        if isinstance(self.error, InputError):
            return str(self.error)
        where = where_is(self.kind, config)
        text = in_a_line(self.error)
        if isinstance(self.error, ImportError):
            wanted = re.search(r"pip install (?:-U )?'?([\w.\[\]-]+)", text)
            package = wanted[1] if wanted else self.error.name or text
            text = f"needs {package}, which is not installed: pip install {package}"
        else:
            text = f"cannot be made as configured: {text}"
        return f"{f'{where}: ' if where else ''}{self.kind.__name__} {text}"


def construct(failures: list[Failure], kind: type, *args: Any, **kwargs: Any) -> Any:
    """Make an object. The reason of a failure is kept, because the parser then tries the other members of a union."""
    try:
        return check_made(kind, kind(*args, **kwargs))
    except Exception as error:
        failures.append(Failure(kind, error))
        raise


def why(error: Exception, failures: list[Failure], config: dict[str, Any]) -> str | None:
    """The reason that a configuration came to nothing: what our own code said, the first class that could not be made, a
    module that cannot be imported, or what Lightning said. None where it is not a fault of the configuration."""
    root: BaseException = error
    while root.__cause__ and not isinstance(root, InputError):
        root = root.__cause__
    if isinstance(root, InputError):
        return str(root)
    if failures:
        return failures[0].said(config)
    for where, path in class_paths(config):
        _, problem = importable(path) if "." in path else (None, None)
        if problem:
            return f"{where}: {problem}"
    of_lightning = (ValueError, TypeError, MisconfigurationException, ImportError)
    return " ".join(str(root).split())[:380] if isinstance(error, of_lightning) else None


def class_paths(config: Any, where: str = "") -> list[tuple[str, str]]:
    """The keys at which a configuration names classes, as on the command line, and the classes' paths."""
    found = []
    if isinstance(config, dict):
        if isinstance(path := config.get("class_path"), str):
            found.append((where, path))
        for key, value in config.items():
            found += class_paths(value, where if key == "init_args" else f"{where}.{key}".lstrip("."))
    elif isinstance(config, list):
        for i, part in enumerate(config):
            found += class_paths(part, f"{where}[{i}]")
    elif (
        isinstance(config, str) and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", config) and "class_path" not in where
    ):
        found.append((where, config))
    return found


def annotate(config: dict[str, Any]) -> None:
    """Let the parser take a function that does not say what it returns for one that makes a module, where the arguments of
    the learner name it: it goes by annotations alone."""
    for where, path in class_paths(config):
        found = importable(path)[0] if where.startswith("model.learner.") and "." in path else None
        if inspect.isfunction(found) and "return" not in found.__annotations__:
            found.__annotations__["return"] = nn.Module
            print(
                f"{where}: {path} does not say what it returns: taken for a module. Annotate it, `-> nn.Module`, so that"
                " `adapt` and `compare` can load it with --trust",
                file=sys.stderr,
            )


def functions(config: Any) -> list[Any]:
    """The functions that a configuration names in the place of a class, as `class_path`."""
    if not isinstance(config, (dict, list)):
        return []
    parts = config.values() if isinstance(config, dict) else config
    path = config.get("class_path") if isinstance(config, dict) else None
    found = importable(path)[0] if isinstance(path, str) and "." in path else None
    own = [found] if inspect.isfunction(found) and makes_module(found) else []
    return own + [one for part in parts for one in functions(part)]


def where_is(kind: type, config: dict[str, Any]) -> str | None:
    """The key at which a configuration names a class."""
    return next((where for where, path in class_paths(config) if path.rpartition(".")[2] == kind.__name__), None)
