"""The inner loop of the gradient family: from shared weights theta to fast weights phi, one task at a time, lifted over
the `tasks` axis."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from lightning_meta.core import Examples

Weights = dict[str, Tensor]  # a parameter set by name; with a leading `tasks` axis once lifted
Rates = Mapping[str, Tensor | float]  # an inner learning rate for each weight tensor


def descend(
    loss: Callable[[Weights], Tensor],
    weights: Weights,
    rates: Iterable[Rates],
    first_order: bool,
) -> Weights:
    """phi after a gradient step on one task for each of `rates`: phi <- phi - rate * dL/dphi.  Finn et al. 2017, eq. 1.

    With `first_order` the gradient is a constant to whoever differentiates phi, so no second derivative is built.
    """
    for rate in rates:
        if first_order:
            constant = {name: w.detach() for name, w in weights.items()}
            gradient = {name: g.detach() for name, g in grad(loss)(constant).items()}
        else:
            gradient = grad(loss)(weights)
        weights = {name: w - rate[name] * gradient[name] for name, w in weights.items()}
    return weights


def minibatch(support: Examples, size: int, step: int) -> Examples:
    """The examples that inner step `step`, from 0, of one task sees: the next `size`, round and round; all of them where
    size is 0 or as many as there are."""
    n = len(support.y)
    if size == 0 or size >= n:
        return support
    rows = torch.arange(step * size, (step + 1) * size, device=support.y.device) % n
    return Examples(support.x[rows], support.y[rows])


def over_tasks(function: Callable[..., Any], *args: Any, vectorize: bool) -> Any:
    """Lift a function of one task over the leading axis of every tensor in `args`; results are stacked likewise.

    By `vmap` (one batched kernel a layer) or by a loop over the tasks; the results are the same.
    """
    if vectorize:
        return vmap(function, randomness="different")(*args)
    leaves, structure = tree_flatten(args)
    results = [function(*tree_unflatten(task, structure)) for task in zip(*leaves, strict=True)]
    return tree_map(lambda *leaves: torch.stack(leaves), *results)
