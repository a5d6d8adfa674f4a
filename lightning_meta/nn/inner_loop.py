"""The inner loop: from shared weights theta to fast weights phi, one task at a time, lifted over the `tasks` axis."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.checkpoint import checkpoint

Weights = dict[str, Tensor]  # a parameter set by name; with a leading `tasks` axis once lifted
Rates = Mapping[str, Tensor | float]  # an inner learning rate for each weight tensor


class Task(NamedTuple):
    """The support set of one task, without the tasks axis, as an inner loop sees it.

    x: [n, *shape].
    y: [n] class numbers 0..outputs-1, or [n, outputs] regression targets.
    outputs: Number of classes, or dimensions of a target.
    """

    x: Tensor
    y: Tensor
    outputs: int

    def minibatch(self, size: int, step: int) -> "Task":
        """The examples that inner step `step`, from 0, sees: the next `size`, going round the set; 0 for all of them."""
        n = len(self.y)
        if size == 0 or size >= n:
            return self
        rows = torch.arange(step * size, (step + 1) * size, device=self.y.device) % n
        return self._replace(x=self.x[rows], y=self.y[rows])


def gradient_step(
    loss: Callable[[Weights], Tensor], weights: Weights, rates: Rates, first_order: bool, recompute: bool = False
) -> Weights:
    """Weights after one gradient step on one task: phi <- phi - rate * dL/dphi.  Finn et al. 2017, eq. 1.

    Args:
        loss: The support loss as a function of the weights.
        weights: The weights before the step.
        rates: The learning rate of each weight tensor.
        first_order: Treat the gradient as a constant when phi is differentiated, so that no second derivative is built.
        recompute: Keep only the weights before the step, and compute the step again when phi is differentiated. This is
            for `backward`, and neither for vmap nor for a `loss` that reads anything else that is differentiated.
    """

    def step(weights: Weights, rates: Rates) -> Weights:
        if first_order:
            constant = {name: w.detach() for name, w in weights.items()}
            gradient = {name: g.detach() for name, g in grad(loss)(constant).items()}
        else:
            gradient = grad(loss)(weights)
        return {name: w - rates[name] * gradient[name] for name, w in weights.items()}

    def flat_step(*values: Any) -> tuple[Tensor, ...]:  # checkpoint differentiates by positional arguments only
        halves = values[: len(weights)], values[len(weights) :]
        return tuple(step(*(dict(zip(weights, half, strict=True)) for half in halves)).values())

    if not recompute:
        return step(weights, rates)
    # Reentrant, because torch.func refuses the hooks of the other kind.
    values = checkpoint(flat_step, *weights.values(), *(rates[name] for name in weights), use_reentrant=True)
    return dict(zip(weights, values, strict=True))


def over_tasks(function: Callable[..., Any], *args: Any, vectorize: bool) -> Any:
    """Lift a function of one task over the leading axis of every tensor in `args`, and stack its results likewise.

    Args:
        function: Takes the tensors, or nested containers of tensors, of one task.
        vectorize: Use `vmap` (one batched kernel per layer) and not a loop over the tasks. The results are the same.
    """
    if vectorize:
        return vmap(function, randomness="different")(*args)
    leaves, structure = tree_flatten(args)
    results = [function(*tree_unflatten(task, structure)) for task in zip(*leaves, strict=True)]
    return tree_map(lambda *leaves: torch.stack(leaves), *results)
