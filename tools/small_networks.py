"""Many small networks trained side by side on images of ten made-up characters: what compare_optimizers.py optimises."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.optim import Optimizer

from datamodules.sources import glyphs

CLASSES, SIZE, BATCH = 10, 14, 128

Weights = list[Tensor]  # of many networks: each [networks, *its shape]


class Images(NamedTuple):
    """x: [n, SIZE * SIZE] in 0..1. y: [n] class numbers."""

    x: Tensor
    y: Tensor


def characters(seed: int, drawings: int) -> Images:
    """So many drawings each of ten characters, every one of an alphabet of its own."""
    alphabets = range(0, CLASSES * glyphs.CLASSES_PER_ALPHABET, glyphs.CLASSES_PER_ALPHABET)
    drawn = np.stack([glyphs.draw_class(seed, index, drawings, SIZE) for index in alphabets])
    x = torch.from_numpy(drawn).float().flatten(0, 1).flatten(1) / 255
    return Images(x, torch.arange(CLASSES).repeat_interleave(drawings))


class Kind(NamedTuple):
    """A kind of network: its hidden layers."""

    name: str
    hidden: list[int]
    activation: type[nn.Module]

    def draw(self) -> nn.Module:
        """A network, its weights as torch draws them."""
        layers: list[nn.Module] = []
        width = SIZE * SIZE
        for units in self.hidden:
            layers += [nn.Linear(width, units), self.activation()]
            width = units
        return nn.Sequential(*layers, nn.Linear(width, CLASSES))


class Problem:
    """Freshly drawn networks of a kind and the batches that each will see, both a pure function of the seed."""

    def __init__(self, kind: Kind, images: Images, networks: int, seed: tuple[int, ...]):
        number = int(np.random.SeedSequence(seed).generate_state(1)[0])
        torch.manual_seed(number)
        self.batches = torch.Generator().manual_seed(number)
        drawn = [kind.draw() for _ in range(networks)]
        stacked, _ = stack_module_state(drawn)
        self.images, self.networks, self.network, self.names = images, networks, drawn[0], list(stacked)
        self.weights: Weights = [w.detach() for w in stacked.values()]

    def batch_losses(self, weights: Weights) -> Tensor:
        """Losses [networks], each on its next batch."""
        rows = torch.randint(len(self.images.y), (self.networks, BATCH), generator=self.batches)
        return vmap(self.loss)(weights, self.images.x[rows], self.images.y[rows])

    def final_losses(self, weights: Weights) -> Tensor:
        """Losses [networks] over all images."""
        return vmap(self.loss, in_dims=(0, None, None))(weights, *self.images)

    def loss(self, weights: Weights, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(self.network, dict(zip(self.names, weights, strict=True)), (x,)), y)


def train(problem: Problem, optimizer: Callable[[Weights], Optimizer], steps: int) -> tuple[Tensor, Tensor]:
    """Train all networks at once; batch losses [steps, networks], and final losses [networks] over all images."""
    weights = [w.clone().requires_grad_() for w in problem.weights]
    stepper, curve = optimizer(weights), []
    for _ in range(steps):
        stepper.zero_grad()
        losses = problem.batch_losses(weights)
        losses.sum().backward()  # the networks share nothing, so each has its own gradient
        stepper.step()
        curve.append(losses.detach())
    with torch.no_grad():
        return torch.stack(curve), problem.final_losses(weights)
