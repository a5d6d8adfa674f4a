"""Inner gradient descent with a fixed learning rate, or with rates that are part of theta."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_meta.core import InputError
from lightning_meta.nn.batch_stats import BatchStats
from lightning_meta.nn.inner_loop import Rates, Weights, gradient_step
from lightning_meta.nn.task_network import Vectorize

Learned = Literal["no", "layer", "step", "parameter"]


class GradientDescent(nn.Module):
    """Gradient descent on one task, with a fixed or learned rate.

    Args:
        inner_lr: Inner learning rate alpha, or the value from which learned rates start.
        first_order: Leave out the second derivatives of the inner steps.
        recompute: In training, compute the inner steps again in the backward pass, to save memory.
        learned: Which rates are learned with theta: none, one per weight tensor (layer), one per weight tensor and inner
            step (step), or one per weight (parameter).
        weights: The weights by name that have learned rates.
        steps: Number of inner steps that have a rate of their own; later ones use the last.
    """

    def __init__(
        self,
        inner_lr: float,
        first_order: bool = False,
        recompute: bool = False,
        learned: Learned = "no",
        weights: Weights | None = None,
        steps: int = 1,
    ):
        super().__init__()
        if inner_lr <= 0:
            raise InputError(f"inner_lr is {inner_lr}; it must be positive")
        if learned not in ("no", "layer", "step", "parameter"):
            raise InputError(f"learn_inner_lr is {learned!r}; choose no, layer, step or parameter")
        self.inner_lr, self.first_order, self.recompute = inner_lr, first_order, recompute
        self.by_step = learned == "step"
        rated = {} if learned == "no" else weights or {}
        shapes = {"layer": lambda _: (), "step": lambda _: (max(steps, 1),), "parameter": lambda w: w.shape}
        self.rated = list(rated)  # a part of the network may be frozen later
        self.rates = nn.ParameterList(torch.full(shapes[learned](w), inner_lr) for w in rated.values())

    def path(self, loss: Callable[[Weights], Tensor], weights: Weights, steps: int) -> Iterator[Weights]:
        """The weights of one task before the first step on its `loss`, and after each of `steps` steps."""
        recompute = self.recompute and torch.is_grad_enabled()
        yield weights
        for step in range(steps):
            weights = gradient_step(loss, weights, self.rates_of(step, weights), self.first_order, recompute)
            yield weights

    def rates_of(self, step: int, names: Iterable[str]) -> Rates:
        """The rate of each named weight tensor in inner step `step`, from 0."""
        if not self.rates:
            return dict.fromkeys(names, self.inner_lr)
        rates = [rate[min(step, len(rate) - 1)] for rate in self.rates] if self.by_step else self.rates
        if unrated := [name for name in names if name not in self.rated]:
            raise InputError(
                f"{unrated[0]} has no learned inner rate, because it was frozen when the learner was built: build the learner"
                " with all weights that are to adapt"
            )
        return dict(zip(self.rated, rates, strict=True))

    def diagnostics(self) -> dict[str, float]:
        """The mean inner rate of each weight tensor, where rates are learned."""
        return {f"inner_lr/{name}": rate.mean().item() for name, rate in zip(self.rated, self.rates, strict=True)}


def check_recompute(recompute: bool, first_order: bool, batch_stats: BatchStats, vectorize: Vectorize) -> Vectorize:
    """Return how tasks run: in a loop if inner steps are recomputed, otherwise as chosen.

    Raises InputError if the steps cannot be recomputed.
    """
    # Running statistics have moved by the time of the backward pass.
    if recompute and (first_order or vectorize == "vmap" or batch_stats == "running"):
        raise InputError(
            "recompute is for second-order steps, with vectorize auto or loop and batch_stats support or transductive"
        )
    return "loop" if recompute else vectorize
