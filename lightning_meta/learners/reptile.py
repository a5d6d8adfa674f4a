"""Reptile.

Alex Nichol, Joshua Achiam and John Schulman. On First-Order Meta-Learning Algorithms. 2018, arXiv:1803.02999.
"""

from typing import Literal

import torch
from torch import nn
from torch.func import grad

from lightning_meta.core import Episode, Examples, InputError, Outcome
from lightning_meta.learners.fast_weights import GradientLearner, Vectorize
from lightning_meta.nn.batch_stats import BatchStats
from lightning_meta.nn.inner_loop import Weights, minibatch


class Reptile(GradientLearner):
    """theta: initial weights. phi: theta after `inner_steps` of an ordinary optimiser on the support set (algorithm 2).

    The meta-gradient is theta - phi, the mean over tasks, with no derivative through the inner loop and no query set;
    an outer SGD of learning rate epsilon makes it the paper's theta <- theta + epsilon (phi - theta).
    `inner_rule: adam` is Adam with beta1 = 0 and beta2 = 0.999, the paper's choice; `sgd` is plain. An inner step sees
    the next `inner_batch` support examples, going round the set in its (random) order; 0 or as many as there are, all.
    """

    def __init__(
        self,
        backbone: nn.Module,
        outputs: int,
        inner_lr: float = 1e-3,
        inner_steps: int = 5,
        test_steps: int | None = 50,
        inner_rule: Literal["adam", "sgd"] = "adam",
        inner_batch: int = 0,
        batch_stats: BatchStats = "transductive",
        vectorize: Vectorize = "auto",
        features: int | None = None,
    ):
        super().__init__(backbone, outputs, inner_steps, test_steps, batch_stats, vectorize, features)
        if inner_lr <= 0:
            raise InputError(f"inner_lr is {inner_lr}; it must be positive")
        if inner_rule not in ("adam", "sgd"):
            raise InputError(f"inner_rule is {inner_rule!r}; choose adam or sgd")
        if inner_batch < 0:
            raise InputError(f"inner_batch is {inner_batch}; give a number of examples, or 0 for the whole support set")
        self.inner_lr, self.inner_rule, self.inner_batch = inner_lr, inner_rule, inner_batch

    def descend(self, weights: Weights, support: Examples, steps: int) -> Weights:
        weights = {name: w.detach() for name, w in weights.items()}
        second_moment = {name: torch.zeros_like(w) for name, w in weights.items()}
        for step in range(1, steps + 1):
            batch = minibatch(support, self.inner_batch, step - 1)
            gradient = grad(lambda w, batch=batch: self.support_loss(w, batch))(weights)
            if self.inner_rule == "adam":
                second_moment = {n: 0.999 * v + 0.001 * gradient[n].square() for n, v in second_moment.items()}
                scale = 1 - 0.999**step
                gradient = {n: g / ((second_moment[n] / scale).sqrt() + 1e-8) for n, g in gradient.items()}
            weights = {name: w - self.inner_lr * gradient[name] for name, w in weights.items()}
        return weights

    def meta_loss(self, episode: Episode) -> Outcome:
        """Half the squared distance from theta to phi, summed over weights: its gradient is theta - phi."""
        phi = self.adapt(episode.support)
        with torch.no_grad():
            prediction = phi(episode.query.x)
        distance = [
            (w - phi.weights[name].detach()).square().sum(tuple(range(1, w.ndim + 1)))
            for name, w in self.start().items()
        ]
        return Outcome(0.5 * torch.stack(distance).sum(0).mean(), prediction)
