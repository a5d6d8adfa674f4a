"""Calls of a world's methods that report a failure in one line."""

import traceback
from typing import Any

from torch import Tensor

from lightning_meta.core.errors import InputError


def call(world: Any, method: str, arguments: tuple[Any, ...], when: str = "") -> Any:
    """Call a method of a world and return its result.

    Raises:
        InputError: for any exception of the method. The message names the method, the exception, its place, the shapes of
            the arguments and, if given, `when` it was called.
    """
    try:
        return getattr(world, method)(*arguments)
    except InputError:
        raise
    except Exception as error:  # the code of a user may raise anything
        place = traceback.extract_tb(error.__traceback__)[-1]
        legal = f", actions {legal_actions(world)}" if method == "step" else ""
        raise InputError(
            f"{type(world).__name__}.{method} fails{when} with {type(error).__name__}: {' '.join(str(error).split())}"
            f" ({place.filename}, line {place.lineno}; given {shapes(arguments)}{legal})"
        ) from error


def legal_actions(world: Any) -> str:
    """Describe the legal actions of a world."""
    return f"0 to {world.actions - 1}" if world.discrete else f"of {world.actions} numbers"


def shapes(arguments: tuple[Any, ...]) -> str:
    """Describe the shapes of the tensors among some arguments."""
    tensor_shapes = [
        list(part.shape)
        for value in arguments
        for part in (value if isinstance(value, tuple) else (value,))
        if isinstance(part, Tensor)
    ]
    return f"tensors {', '.join(map(str, tensor_shapes))}"
