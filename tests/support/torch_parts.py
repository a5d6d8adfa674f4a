"""Modules and functions of torch as parts of a backbone."""

# pyright: reportArgumentType=false, reportPrivateImportUsage=false, reportCallIssue=false, reportAttributeAccessIssue=false

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape = tuple[int, ...]
Case = tuple[Callable[[], nn.Module], Shape]  # what makes the part, and the shape of an example that it takes

ROW, SEQUENCE, IMAGE, VOLUME = (6,), (4, 6), (4, 6, 6), (2, 4, 4, 4)


class Call(nn.Module):
    """A function of a batch as a module."""

    def __init__(self, function: Callable[[Tensor], Any]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        found = self.function(x)
        return found[0] if isinstance(found, tuple) else found


class With(nn.Module):
    """A module that is called in a way of its own."""

    def __init__(self, module: nn.Module, call: Callable[[nn.Module, Tensor], Any]):
        super().__init__()
        self.module, self.call = module, call

    def forward(self, x: Tensor) -> Tensor:
        found = self.call(self.module, x)
        return found[0] if isinstance(found, tuple) else found


class Part(nn.Module):
    """A backbone [n, *shape] -> [n, 6] around a part: every number of an example has a weight and a bias of its own before
    it, and what comes out is mixed by a fixed matrix. A part that gives other than a row for each example gives them all."""

    def __init__(self, part: nn.Module, shape: Shape):
        super().__init__()
        self.weight, self.bias = nn.Parameter(0.5 + torch.rand(shape)), nn.Parameter(0.3 * torch.randn(shape))
        self.part, self.out_features = part, 6

    def forward(self, x: Tensor) -> Tensor:
        found = self.part(x * self.weight + self.bias)
        rows = (
            found.reshape(len(x), -1)
            if found.ndim and len(found) == len(x)
            else found.reshape(1, -1).expand(len(x), -1)
        )
        mix = torch.linspace(0, 7, rows.shape[1] * 6, dtype=rows.dtype).sin().reshape(rows.shape[1], 6)
        return (rows @ mix / rows.shape[1] ** 0.5).sin()


def modules(shape: Shape, *made: Callable[[], nn.Module]) -> dict[str, Case]:
    return {type(make()).__name__: (make, shape) for make in made}


def functions(shape: Shape, **calls: Callable[[Tensor], Any]) -> dict[str, Case]:
    return {name: (lambda call=call: Call(call), shape) for name, call in calls.items()}


def steps(length: int, call: Callable[[nn.Module, Tensor], Any]) -> Callable[[nn.Module, Tensor], Tensor]:
    """A cell, called on the parts of a row in turn."""

    def run(cell: nn.Module, x: Tensor) -> Tensor:
        state = None
        for token in x.split(length, 1):
            state = call(cell, token) if state is None else cell(token, state)
        return state[0] if isinstance(state, tuple) else state  # type: ignore[return-value]

    return run


def unpool(pool: Any, undo: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: undo(*pool(x, 2, return_indices=True), 2)


def tokens(x: Tensor) -> Tensor:
    return torch.arange(x[0].numel(), device=x.device).remainder(5).expand(len(x), -1)


def attention() -> nn.Module:
    return nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, activation=F.softplus, batch_first=True)


def decoder() -> nn.Module:
    return nn.TransformerDecoderLayer(6, 2, 8, dropout=0.0, activation=F.softplus, batch_first=True)
