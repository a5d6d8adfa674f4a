"""A call of a method of a world, whose failure is told in one line."""

import traceback
from typing import Any

from torch import Tensor

from lightning_meta.core.errors import InputError


def call(world: Any, method: str, arguments: tuple[Any, ...], when: str = "") -> Any:
    """Call a method of a world. Whatever it raises becomes an InputError that names the method, what failed where, what
    it was given and, if told, `when`."""
    try:
        return getattr(world, method)(*arguments)
    except InputError:
        raise
    except Exception as error:  # a user's code fails in any way
        place = traceback.extract_tb(error.__traceback__)[-1]
        given = f", actions {actions(world)}" if method == "step" else ""
        raise InputError(
            f"{type(world).__name__}.{method} fails{when} with {type(error).__name__}: {' '.join(str(error).split())}"
            f" ({place.filename}, line {place.lineno}; given {shapes(arguments)}{given})"
        ) from error


def actions(world: Any) -> str:
    """The legal actions of a world, in words."""
    return f"0 to {world.actions - 1}" if world.discrete else f"of {world.actions} numbers"


def shapes(arguments: tuple[Any, ...]) -> str:
    """The shapes of the tensors among some arguments, in words."""
    found = [
        list(part.shape)
        for value in arguments
        for part in (value if isinstance(value, tuple) else (value,))
        if isinstance(part, Tensor)
    ]
    return f"tensors {', '.join(map(str, found))}"
