"""Checks of a world's attributes, and of the type, shape and device of everything it returns.

Every fault is an InputError of one line that says what to return instead.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from lightning_meta.core.errors import InputError

# The least legal value of each attribute, and its meaning.
SETTINGS = {
    "observations": (0, "numbers in an observation"),
    "actions": (1, "the number of discrete actions, or of numbers in a continuous action"),
    "horizon": (1, "steps after which an episode is truncated"),
    "noise": (0, "random numbers that a reset or a step takes"),
}
TRANSITION = (
    "return lightning_meta.core.Transition(state, observation, reward, terminated); `horizon` truncates episodes"
)


def check_settings(world: Any) -> None:
    """Raise InputError if an attribute that describes observations, actions or episodes is missing or not legal."""
    name = type(world).__name__
    for setting, (least, meaning) in SETTINGS.items():
        value = getattr(world, setting, None)
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            given = "not set" if value is None else repr(value)
            raise InputError(f"{name}.{setting} is {given}: set it to a whole number of {least} or more, {meaning}")
    if not isinstance(getattr(world, "discrete", None), bool):
        given = repr(world.discrete) if hasattr(world, "discrete") else "not set"
        raise InputError(f"{name}.discrete is {given}: set it to True if actions are whole numbers, otherwise to False")
    if world.tasks is not None and (not isinstance(world.tasks, Integral) or world.tasks < 1):
        raise InputError(
            f"{name}.tasks is {world.tasks!r}: set it to the number of tasks, or to None if there is no end of them"
        )


def check_task(world: Any, task: Any, tasks: int, device: torch.device) -> None:
    """Raise InputError unless every tensor that `World.task` returned has one row per task."""
    for part in task if isinstance(task, (tuple, list)) else (task,):
        if isinstance(part, Tensor):
            _check(f"the result of {type(world).__name__}.task", part, (tasks, ...), device)
        elif part is None:
            raise InputError(
                f"the result of {type(world).__name__}.task is None: return a tensor [tasks, ...], or a tuple of them"
            )


def check_start(world: Any, method: str, start: Any, tasks: int, envs: int, device: torch.device) -> None:
    """Raise InputError unless `reset` or `soft_reset` returned a state and an observation."""
    name, shape = f"{type(world).__name__}.{method}", f"[{tasks}, {envs}, {world.observations}]"
    if not isinstance(start, tuple) or len(start) != 2:
        raise InputError(f"{name} returned {_kind(start)}: return (state, observation), tensors, the latter {shape}")
    _check(f"the state of {name}", start[0], (tasks, envs, None), device)
    _check(f"the observation of {name}", start[1], (tasks, envs, world.observations), device)


def check_transition(world: Any, state: Tensor, transition: Any) -> None:
    """Raise InputError unless `step`, called in `state`, returned a Transition with its four parts."""
    name, (tasks, envs, width) = f"{type(world).__name__}.step", state.shape
    if _is_valid(state, transition, world.observations):
        return
    if not all(hasattr(transition, part) for part in ("state", "observation", "reward", "terminated")):
        raise InputError(f"{name} returned {_kind(transition)}: {TRANSITION}")
    shapes = {
        "state": (tasks, envs, width),
        "observation": (tasks, envs, world.observations),
        "reward": (tasks, envs),
        "terminated": (tasks, envs),
    }
    for part, shape in shapes.items():
        _check(f"the {part} of {name}", getattr(transition, part), shape, state.device)
    if transition.terminated.dtype != torch.bool:
        raise InputError(
            f"the terminated of {name} is {transition.terminated.dtype}: give torch.bool, True where the episode ended"
        )


def _is_valid(state: Tensor, transition: Any, observations: int) -> bool:
    """Return whether a Transition has the right parts. It is called at every step, so it composes no message."""
    try:
        parts = (transition.state, transition.observation, transition.reward, transition.terminated)
        slots, device = state.shape[:2], state.device
        fits = all(isinstance(part, Tensor) and part.device == device and not part.is_complex() for part in parts)
        shapes = (state.shape, (*slots, observations), slots, slots)
        return fits and parts[3].dtype == torch.bool and all(p.shape == s for p, s in zip(parts, shapes, strict=True))
    except AttributeError:
        return False


def check_dense_reward(world: Any, shape: tuple[int, ...], reward: Any) -> None:
    """Raise InputError unless `dense_reward` returned one reward per step."""
    _check(f"the result of {type(world).__name__}.dense_reward", reward, shape)


def _check(name: str, value: Any, shape: Sequence[Any], device: torch.device | None = None) -> None:
    """Check that a value is a real tensor of a shape, in which None is any length and ... any further axes."""
    legal = f"[{', '.join('...' if n is ... else 'any' if n is None else str(n) for n in shape)}]"
    meaning = {2: " (tasks, envs)", 3: " (tasks, envs, numbers)"}[len(shape)] if ... not in shape and device else ""
    if not isinstance(value, Tensor):
        raise InputError(f"{name} is {_kind(value)}: give a torch tensor {legal}{meaning}")
    fixed = tuple(n for n in shape if n is not ...)
    axes = tuple(value.shape[: len(fixed)] if ... in shape else value.shape)
    if len(axes) != len(fixed) or any(n is not None and n != m for n, m in zip(fixed, axes, strict=True)):
        raise InputError(f"{name} is a tensor {list(value.shape)}: give one {legal}{meaning}")
    if value.is_complex():
        raise InputError(f"{name} is {value.dtype}: give real numbers")
    if device is not None and value.device != device:
        raise InputError(f"{name} is on {value.device}: create it on {device}, the device of the seeds and u")


def _kind(value: Any) -> str:
    kind = type(value)
    if isinstance(value, tuple) and kind is tuple:
        return f"a tuple of {len(value)}"
    return "None" if value is None else f"a {kind.__module__}.{kind.__qualname__}".replace("a builtins.", "a ")
