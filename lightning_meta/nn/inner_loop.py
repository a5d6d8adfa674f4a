"""The inner loop of the gradient family: from shared weights theta to fast weights phi, one task at a time, lifted over
the `tasks` axis."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.checkpoint import checkpoint

from lightning_meta.core import Examples

Weights = dict[str, Tensor]  # a parameter set by name; with a leading `tasks` axis once lifted
Rates = Mapping[str, Tensor | float]  # an inner learning rate for each weight tensor


def descend(
    loss: Callable[[Weights], Tensor],
    weights: Weights,
    rates: Iterable[Rates],
    first_order: bool,
    recompute: bool = False,
) -> Weights:
    """phi after a gradient step on one task for each of `rates`: phi <- phi - rate * dL/dphi.  Finn et al. 2017, eq. 1.

    With `first_order` the gradient is a constant to whoever differentiates phi, so no second derivative is built. With
    `recompute` each step keeps its weights alone and is computed again when phi is differentiated (by `backward`; not
    under vmap, and `loss` must know nothing else that is differentiated).
    """

    def step(weights: Weights, rate: Rates) -> Weights:
        if first_order:
            constant = {name: w.detach() for name, w in weights.items()}
            gradient = {name: g.detach() for name, g in grad(loss)(constant).items()}
        else:
            gradient = grad(loss)(weights)
        return {name: w - rate[name] * gradient[name] for name, w in weights.items()}

    def flat_step(*values: Any) -> tuple[Tensor, ...]:  # what checkpoint differentiates comes as its arguments
        halves = values[: len(weights)], values[len(weights) :]
        return tuple(step(*(dict(zip(weights, half, strict=True)) for half in halves)).values())

    for rate in rates:
        if recompute:  # reentrant: torch.func refuses the hooks of the other kind
            values = checkpoint(flat_step, *weights.values(), *(rate[name] for name in weights), use_reentrant=True)
            weights = dict(zip(weights, values, strict=True))
        else:
            weights = step(weights, rate)
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
