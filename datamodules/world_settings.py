"""The settings of a world as plain values, by content, to compare two worlds and to report them."""

import copyreg
import functools
import hashlib
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_meta.core import World
from lightning_meta.core.world_checks import SETTINGS

SHOWN = 16  # numbers of a tensor that are listed one by one; a larger one is represented by a digest


class Settings:
    """The content of an object as plain values, including the objects that it is made of.

    Tensors and arrays are represented by their numbers, functions by their name, code, defaults and closure.

    Args:
        what: the object.

    Attributes:
        value: the plain values.
        unknown: the names of parts whose content is not accessible, only their class.
    """

    def __init__(self, what: Any):
        self.unknown: list[str] = []
        self.under_way: set[int] = set()
        self.value = self.of(what, "")

    def of(self, what: Any, name: str) -> Any:
        if isinstance(what, (bool, int, float, str, type(None))):
            return what
        if id(what) in self.under_way:
            return "itself"
        self.under_way.add(id(what))
        try:
            return self.parts(what, name)
        finally:
            self.under_way.remove(id(what))

    def parts(self, what: Any, name: str) -> Any:
        if isinstance(what, (Tensor, np.ndarray)):
            return self.numbers(what, name)
        if isinstance(what, (bytes, bytearray)):
            return digest(bytes(what))
        if isinstance(what, dict):
            if all(isinstance(key, str) for key in what):
                return {key: self.of(part, f"{name}.{key}") for key, part in what.items()}
            return [[self.of(key, name), self.of(part, f"{name}[{key!r}]")] for key, part in what.items()]
        if isinstance(what, (set, frozenset)):
            return sorted((self.of(part, name) for part in what), key=repr)
        if isinstance(what, (list, tuple, range)):
            return [self.of(part, f"{name}[{k}]") for k, part in enumerate(what)]
        if isinstance(what, (type, types.ModuleType, types.BuiltinFunctionType, torch.dtype, torch.device)):
            return named(what)
        if isinstance(what, types.CodeType):
            return [digest(what.co_code), list(what.co_names), self.of(what.co_consts, name)]
        if isinstance(what, types.FunctionType):
            closure = [content(cell) for cell in what.__closure__ or ()]
            parts = {"code": what.__code__, "defaults": [what.__defaults__, what.__kwdefaults__], "closure": closure}
            return {"function": named(what), **{key: self.of(part, f"{name}.{key}") for key, part in parts.items()}}
        if isinstance(what, types.MethodType):
            return {"method": what.__name__, "of": self.of(what.__self__, name)}
        if isinstance(what, functools.partial):
            return {"partial": self.of((what.func, what.args, what.keywords), name)}
        if isinstance(what, World):
            own = {setting: getattr(what, setting, None) for setting in (*SETTINGS, "discrete", "tasks")} | kept(what)
            return {"class": named(type(what)), **{key: self.of(part, f"{name}.{key}") for key, part in own.items()}}
        return self.reduced(what, name)

    def numbers(self, what: Any, name: str) -> Any:
        if isinstance(what, np.ndarray):
            if what.dtype.kind not in "biufc":
                return {"array": list(what.shape), "of": self.of(what.tolist(), name)}
            what = torch.from_numpy(np.array(what, dtype=what.dtype.newbyteorder("=")))
        what = what.detach().cpu().contiguous()
        kind = str(what.dtype).removeprefix("torch.")
        if what.numel() <= SHOWN and not what.is_complex():
            return {kind: what.tolist()}
        return {kind: list(what.shape), "sha256": digest(what.flatten().view(torch.uint8).numpy().tobytes())}

    def reduced(self, what: Any, name: str) -> Any:
        """Represent an object as pickle would: the function that made it, its arguments and its state."""
        try:
            reduced = what.__reduce_ex__(4)
        except Exception:  # locks, files, handles of libraries: each raises an error of its own
            self.unknown.append(f"{name.lstrip('.')}, a {named(type(what))},")
            return {"class": named(type(what))}
        if isinstance(reduced, str):
            return {"global": reduced}
        maker, arguments, *rest = reduced
        rest = [list(part) if isinstance(part, Iterator) else part for part in rest]
        plain = maker is copyreg.__newobj__  # type: ignore[attr-defined]  # what pickle itself refers to
        if plain and len(arguments) == 1 and not any(part is not None for part in rest[1:]):
            state = rest[0] if rest else None
            return {"class": named(type(what)), "state": self.of(state, name)}
        return {"class": named(type(what)), "made of": self.of([arguments, *rest], name)}


def kept(what: Any) -> dict[str, Any]:
    """Return the attributes of an object, those in its dictionary and those in slots."""
    slots = copyreg._slotnames(type(what))  # type: ignore[attr-defined]  # those that pickle keeps
    return {name: getattr(what, name) for name in slots if hasattr(what, name)} | getattr(what, "__dict__", {})


def content(cell: types.CellType) -> Any:
    """Return the content of a closure cell. A variable that was deleted, or is not set yet, is recorded as empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return {"cell": "empty"}


def named(what: Any) -> str:
    """Return the full name of a class, function or module."""
    return f"{getattr(what, '__module__', None) or ''}.{getattr(what, '__qualname__', str(what))}".lstrip(".")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
