"""Parts of a learned update rule that treats each weight (coordinate) alone, with one small network for all of them.

Marcin Andrychowicz et al. Learning to learn by gradient descent by gradient descent. NIPS 2016, arXiv:1606.04474.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import grad_and_value

from lightning_meta.nn.inner_loop import Weights

Memory = list[tuple[Tensor, Tensor]]  # output h and cell c of each layer of an LSTM, each [hidden, coordinates]


def preprocess(v: Float[Tensor, " coordinates"], p: float = 10.0) -> Float[Tensor, "two coordinates"]:
    """Size and sign of v, as two numbers about as large as 1 for any v (the paper's appendix on preprocessing).

    (log|v| / p, sign(v)) where |v| is at least e^-p, and (-1, e^p v) below.
    """
    return torch.stack([v.abs().clamp(min=math.exp(-p)).log() / p, (math.exp(p) * v).clamp(-1, 1)])


class ColumnLinear(nn.Linear):
    """A linear map of every column: with the coordinates last, gates are blocks of memory, which is faster."""

    def forward(self, input: Float[Tensor, "inputs coordinates"]) -> Float[Tensor, "outputs coordinates"]:
        return torch.addmm(self.bias[:, None], self.weight, input)


class CoordinateLSTM(nn.Module):
    """An LSTM that every coordinate runs with a memory of its own; the weights are the same for all.

    Written as matrix products and gates, because vmap cannot lift torch's LSTM. One call is one time step.
    """

    def __init__(self, inputs: int, hidden: int = 20, layers: int = 1):
        super().__init__()
        widths = [inputs, *[hidden] * layers]
        self.hidden = hidden
        self.gates = nn.ModuleList(ColumnLinear(below + hidden, 4 * hidden) for below in widths[:-1])

    def start(self, like: Float[Tensor, " coordinates"]) -> Memory:
        """The empty memory for as many coordinates as `like` has, of its type and on its device."""
        zeros = like.new_zeros(self.hidden, len(like))
        return [(zeros, zeros) for _ in self.gates]

    def forward(
        self, x: Float[Tensor, "inputs coordinates"], memory: Memory
    ) -> tuple[Float[Tensor, "hidden coordinates"], Memory]:
        after: Memory = []
        for gates, (h, c) in zip(self.gates, memory, strict=True):
            gated, new = gates(torch.cat([x, h])).split([3 * self.hidden, self.hidden])
            i, f, o = gated.sigmoid().chunk(3)
            c = f * c + i * new.tanh()
            x = o * c.tanh()
            after.append((x, c))
        return x, after


def flatten(weights: Weights) -> Float[Tensor, " coordinates"]:
    """All weights of one task as one vector."""
    return torch.cat([w.flatten() for w in weights.values()])


def unflatten(vector: Float[Tensor, " coordinates"], like: Weights) -> Weights:
    """The vector as weights with the names and shapes of `like`."""
    parts = vector.split([w.numel() for w in like.values()])
    return {name: part.view_as(w) for (name, w), part in zip(like.items(), parts, strict=True)}


def feedback(loss: Callable[[Weights], Tensor], weights: Weights, first_order: bool) -> tuple[Tensor, Tensor]:
    """The gradient [coordinates] and the loss, a scalar, that an update rule reads at `weights`.

    With `first_order` both are constants when phi is differentiated, so that no second derivative is built.
    """
    at = {name: w.detach() for name, w in weights.items()} if first_order else weights
    gradient, value = grad_and_value(loss)(at)
    gradient = flatten(gradient)
    return (gradient.detach(), value.detach()) if first_order else (gradient, value)
