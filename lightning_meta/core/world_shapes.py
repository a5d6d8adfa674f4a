"""What a world must say of itself and give back: each part's type, shape and device, an error in one line where it does not."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from lightning_meta.core.errors import InputError

# The least that each may be, and what it is.
SETTINGS = {
    "observations": (0, "numbers in an observation"),
    "actions": (1, "actions to choose from or, of continuous ones, numbers in an action"),
    "horizon": (1, "steps after which an episode is cut off"),
    "noise": (0, "random numbers that a reset or a step takes"),
}
MOVED = "return lightning_meta.core.Moved(state, observation, reward, terminated); episodes are cut off by `horizon`"


def check_settings(world: Any) -> None:
    """InputError where a world does not say, as whole numbers, what is in an observation, an action and an episode."""
    name = type(world).__name__
    for setting, (least, meaning) in SETTINGS.items():
        value = getattr(world, setting, None)
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            got = "not set" if value is None else repr(value)
            raise InputError(f"{name}.{setting} is {got}: set it to a whole number of {least} or more, {meaning}")
    if not isinstance(getattr(world, "discrete", None), bool):
        got = repr(world.discrete) if hasattr(world, "discrete") else "not set"
        raise InputError(f"{name}.discrete is {got}: set it to True where actions are whole numbers, or to False")
    if world.tasks is not None and (not isinstance(world.tasks, Integral) or world.tasks < 1):
        raise InputError(
            f"{name}.tasks is {world.tasks!r}: set it to how many tasks there are, or to None for no end of them"
        )


def check_task(world: Any, task: Any, tasks: int, device: torch.device) -> None:
    """InputError where a tensor among what differs between tasks has no row for each."""
    for part in task if isinstance(task, (tuple, list)) else (task,):
        if isinstance(part, Tensor):
            _check(f"what {type(world).__name__}.task gives", part, (tasks, ...), device)
        elif part is None:
            raise InputError(
                f"{type(world).__name__}.task gives None: return a tensor [tasks, ...], or a tuple of them"
            )


def check_start(world: Any, method: str, found: Any, tasks: int, envs: int, device: torch.device) -> None:
    """InputError where `reset` or `again` gives no state and observation."""
    name, shape = f"{type(world).__name__}.{method}", f"[{tasks}, {envs}, {world.observations}]"
    if not isinstance(found, tuple) or len(found) != 2:
        raise InputError(f"{name} returned {_kind(found)}: return (state, observation), tensors, the latter {shape}")
    _check(f"the state of {name}", found[0], (tasks, envs, None), device)
    _check(f"the observation of {name}", found[1], (tasks, envs, world.observations), device)


def check_moved(world: Any, before: Tensor, found: Any) -> None:
    """InputError where `step`, from a state `before`, gives other than a Moved of its four parts."""
    name, (tasks, envs, width) = f"{type(world).__name__}.step", before.shape
    if _as_before(before, found, world.observations):
        return
    if not all(hasattr(found, part) for part in ("state", "observation", "reward", "terminated")):
        raise InputError(f"{name} returned {_kind(found)}: {MOVED}")
    shapes = {
        "state": (tasks, envs, width),
        "observation": (tasks, envs, world.observations),
        "reward": (tasks, envs),
        "terminated": (tasks, envs),
    }
    for part, shape in shapes.items():
        _check(f"the {part} of {name}", getattr(found, part), shape, before.device)
    if found.terminated.dtype != torch.bool:
        raise InputError(f"the terminated of {name} is {found.terminated.dtype}: give torch.bool, True where it ended")


def _as_before(before: Tensor, found: Any, observations: int) -> bool:
    """Return whether a Moved has the right parts. This is asked at every step, so it composes no message."""
    try:
        parts = (found.state, found.observation, found.reward, found.terminated)
        slots, device = before.shape[:2], before.device
        fits = all(isinstance(part, Tensor) and part.device == device and not part.is_complex() for part in parts)
        shapes = (before.shape, (*slots, observations), slots, slots)
        return fits and parts[3].dtype == torch.bool and all(p.shape == s for p, s in zip(parts, shapes, strict=True))
    except AttributeError:
        return False


def check_dense(world: Any, shape: tuple[int, ...], found: Any) -> None:
    """InputError where `dense_reward` gives no reward of each step."""
    _check(f"what {type(world).__name__}.dense_reward gives", found, shape)


def _check(what: str, value: Any, shape: Sequence[Any], device: torch.device | None = None) -> None:
    """A tensor of real numbers there, of a shape in which None stands for any length and ... for any more axes."""
    wanted = f"[{', '.join('...' if n is ... else 'any' if n is None else str(n) for n in shape)}]"
    meaning = {2: " (tasks, envs)", 3: " (tasks, envs, numbers)"}[len(shape)] if ... not in shape and device else ""
    if not isinstance(value, Tensor):
        raise InputError(f"{what} is {_kind(value)}: give a torch tensor {wanted}{meaning}")
    rest = tuple(n for n in shape if n is not ...)
    has = tuple(value.shape[: len(rest)] if ... in shape else value.shape)
    if len(has) != len(rest) or any(n is not None and n != m for n, m in zip(rest, has, strict=True)):
        raise InputError(f"{what} is a tensor {list(value.shape)}: give one {wanted}{meaning}")
    if value.is_complex():
        raise InputError(f"{what} is {value.dtype}: give real numbers")
    if device is not None and value.device != device:
        raise InputError(f"{what} is on {value.device}: make it on {device}, where the seeds and u are")


def _kind(value: Any) -> str:
    kind = type(value)
    if isinstance(value, tuple) and kind is tuple:
        return f"a tuple of {len(value)}"
    return "None" if value is None else f"a {kind.__module__}.{kind.__qualname__}".replace("a builtins.", "a ")
