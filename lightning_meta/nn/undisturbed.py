"""Contexts after which a module is what it was before."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

PLAIN = (bool, int, float, complex, str, bytes, type(None))


@contextmanager
def unwritten(module: nn.Module) -> Iterator[None]:
    """Take back what the passes within set on the module and its parts, such as the `weight` that the older weight_norm
    makes anew at each pass: tensors of vmap must not outlive it. Numbers and text, a count of calls say, stay as set."""
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
    """Put these parts, without their own, into evaluation mode within."""
    before = [part.training for part in parts]
    try:
        for part in parts:
            part.training = False
        yield
    finally:
        for part, training in zip(parts, before, strict=True):
            part.training = training


def changed(now: dict[str, Any], name: str, value: Any) -> bool:
    """Whether an attribute is to be taken back to `value`."""
    return name not in now or (now[name] is not value and not isinstance(now[name], PLAIN))


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Take back everything that passes within change: weights, gradients, buffers, attributes, the modes of the parts, and
    the state of torch's random numbers on the CPU."""
    values = [(tensor, tensor.detach().clone()) for tensor in (*module.parameters(), *module.buffers())]
    gradients = [(weight, weight.grad) for weight in module.parameters()]
    parts = [(part, part.training, dict(part._parameters), dict(part._buffers)) for part in module.modules()]
    with unwritten(module), torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            for part, training, parameters, buffers in parts:
                part.training = training
                part._parameters.update(parameters)
                part._buffers.update(buffers)
            with torch.no_grad():
                for tensor, value in values:
                    tensor.copy_(value)
            for weight, gradient in gradients:
                weight.grad = gradient
