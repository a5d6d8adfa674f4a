"""Contexts that restore a module when they end."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lightning_meta.core import InputError

PLAIN = (bool, int, float, complex, str, bytes, type(None))


@contextmanager
def unwritten(module: nn.Module) -> Iterator[None]:
    """Restore the attributes that forward passes set on the module and its parts.

    The older weight_norm, for example, sets a new `weight` in each pass, and a tensor of vmap must not outlive it. Numbers
    and text, such as a count of calls, stay as set.
    """
    before = [(part, dict(part.__dict__)) for part in module.modules()]
    try:
        yield
    finally:
        for part, was in before:
            now = part.__dict__
            for name in [name for name, value in now.items() if name not in was and not isinstance(value, PLAIN)]:
                del now[name]
            now.update({name: value for name, value in was.items() if changed(now, name, value)})


@contextmanager
def held(parts: list[nn.Module]) -> Iterator[None]:
    """Keep these parts, but not the parts within them, in evaluation mode."""
    before = [part.training for part in parts]
    try:
        for part in parts:
            part.training = False
        yield
    finally:
        for part, training in zip(parts, before, strict=True):
            part.training = training


def changed(now: dict[str, Any], name: str, value: Any) -> bool:
    """Return whether an attribute has to be restored to `value`."""
    return name not in now or (now[name] is not value and not isinstance(now[name], PLAIN))


def holders(part: nn.Module) -> tuple[Any, ...]:
    """The dictionaries in which a module keeps its tensors and parts."""
    return part._parameters, part._buffers, part._modules


def put_back(now: Any, before: dict[str, Any]) -> None:
    """Restore the tensors or parts of a module. Those of a compiled module are not in a dictionary, and stay."""
    if isinstance(now, dict):
        for name in [name for name in now if name not in before]:
            del now[name]
        now.update(before)


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Restore everything that passes change: weights, gradients, buffers, attributes, the modes of the parts, and the state
    of torch's random numbers on the CPU."""
    values = [(tensor, tensor.detach().clone()) for tensor in (*module.parameters(), *module.buffers())]
    gradients = [(weight, weight.grad) for weight in module.parameters()]
    parts = [(part, part.training, [dict(held.items()) for held in holders(part)]) for part in module.modules()]
    with unwritten(module), torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            for part, training, before in parts:
                part.training = training
                for now, was in zip(holders(part), before, strict=True):
                    put_back(now, was)
            with torch.no_grad():
                for tensor, value in values:
                    tensor.copy_(value)
            for weight, gradient in gradients:
                weight.grad = gradient


@contextmanager
def loadable(module: nn.Module) -> Iterator[None]:
    """Raise InputError where passes add, remove or resize tensors of the module's state: its checkpoint could not be loaded
    into a new one."""
    before = shapes(module)
    yield
    now = shapes(module)
    changed = [name for name in (*now, *before) if now.get(name, 0) != before.get(name, 0)]
    if changed:
        where, _, name = changed[0].rpartition(".")
        raise InputError(
            f"{type(module.get_submodule(where)).__name__} makes or changes {name} as it is called, which is among its"
            " weights: its checkpoint could not be loaded again. Make parameters, buffers and layers in __init__, of the shape"
            " that they keep"
        )


def shapes(module: nn.Module) -> dict[str, torch.Size | None]:
    """The shapes of a module's state by name; None for a state that is not a tensor."""
    return {name: getattr(w, "shape", None) for name, w in module.state_dict().items()}
