"""Backbones as users write them, sound ones and others: [n, 1, h, w] -> [n, 8]."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations


class Own(nn.Module):
    """A linear layer over the pixels, then whatever a subclass makes of it."""

    def __init__(self, pixels: int = 784):
        super().__init__()
        self.linear, self.out_features = nn.Linear(pixels, 8), 8

    def forward(self, x: Tensor) -> Any:
        return self.after(self.linear(x.flatten(1)))

    def after(self, z: Tensor) -> Any:
        return z.tanh()


class FunctionalNorm(Own):
    """Batch norm without a module, as in ports of MAML and MAML++."""

    def after(self, z: Tensor) -> Tensor:
        return F.batch_norm(z, None, None, training=True).tanh()


class NoStatistics(Own):
    """A module of batch norm that always normalises by its batch."""

    def __init__(self, pixels: int = 784):
        super().__init__(pixels)
        self.norm = nn.BatchNorm1d(8, track_running_stats=False)

    def after(self, z: Tensor) -> Tensor:
        return self.norm(z).tanh()


class Centred(Own):
    """Code of its own that depends on the batch."""

    def after(self, z: Tensor) -> Tensor:
        return (z - z.mean(0)).tanh()


class CentredIfMany(Own):
    """Mixes the rows of large batches only."""

    def after(self, z: Tensor) -> Tensor:
        return (z - z.mean(0) if len(z) > 60 else z).tanh()


class Follows(Own):
    """Each row is read in the light of the row before it."""

    def after(self, z: Tensor) -> Tensor:
        return (z + 0.1 * z.roll(1, 0)).tanh()


class Shares(Own):
    """Divides by the size of the batch."""

    def after(self, z: Tensor) -> Tensor:
        return (z / len(z) ** 0.1).tanh()


class Noise(Own):
    """Draws random numbers in evaluation mode too."""

    def after(self, z: Tensor) -> Tensor:
        return (z + 0.1 * torch.randn_like(z)).tanh()


class Pair(Own):
    def after(self, z: Tensor) -> Any:
        return z, z


class Output(Own):
    def after(self, z: Tensor) -> Any:
        return {"last_hidden_state": z, "pooler_output": z}


class Map(Own):
    def after(self, z: Tensor) -> Tensor:
        return z.unflatten(1, (2, 4))


class Fails(Own):
    def after(self, z: Tensor) -> Tensor:
        raise KeyError(f"no layer for {len(z)} rows")


class FailsInTraining(Own):
    def after(self, z: Tensor) -> Tensor:
        return z.tanh() if not self.training else z[:, [0, 99]]


class Branches(Own):
    """A branch on data, which vmap cannot lift."""

    def after(self, z: Tensor) -> Tensor:
        return z.tanh() if z.sum().item() < 1e9 else z


class Lazy(Own):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.LazyLinear(8)


class Cell(Own):
    def __init__(self, pixels: int = 784):
        super().__init__(pixels)
        self.cell = nn.GRUCell(8, 8)

    def after(self, z: Tensor) -> Tensor:
        return self.cell(z)


class Bag(Own):
    """An operation that has no second derivative."""

    def after(self, z: Tensor) -> Tensor:
        return F.embedding_bag(torch.arange(8).expand(len(z), 8), self.linear.weight[:, :8]) * z


class Spectral(Own):
    def __init__(self, pixels: int = 784):
        super().__init__(pixels)
        self.linear = nn.utils.spectral_norm(self.linear)


class OldWeightNorm(Own):
    def __init__(self, pixels: int = 784):
        super().__init__(pixels)
        self.linear = nn.utils.weight_norm(self.linear)


class WeightNorm(Own):
    def __init__(self, pixels: int = 784):
        super().__init__(pixels)
        self.linear = parametrizations.weight_norm(self.linear)


class ByHand(Own):
    """Weight norm in plain arithmetic."""

    def __init__(self, pixels: int = 784):
        super().__init__(pixels)
        self.g = nn.Parameter(self.linear.weight.detach().norm(dim=1, keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        v = self.linear.weight
        return F.linear(x.flatten(1), self.g * v / v.square().sum(1, keepdim=True).sqrt(), self.linear.bias).tanh()
