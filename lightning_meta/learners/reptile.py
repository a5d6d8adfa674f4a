"""Reptile.

Alex Nichol, Joshua Achiam and John Schulman. On First-Order Meta-Learning Algorithms. 2018, arXiv:1803.02999.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import grad

from lightning_meta.core import Episode, Examples, InputError, Outcome
from lightning_meta.learners.fast_weights import FastWeights, GradientLearner, Vectorize, without_half
from lightning_meta.nn.batch_stats import BatchStats
from lightning_meta.nn.coordinatewise import flatten, unflatten
from lightning_meta.nn.inner_loop import Weights, minibatch

BETA2 = 0.999


class Reptile(GradientLearner):
    """theta: initial weights. phi: theta after `inner_steps` of an ordinary optimiser on the support set (algorithm 2).

    The meta-gradient is theta - phi, the mean over tasks, with no derivative through the inner loop and no query set;
    an outer SGD of learning rate epsilon makes it the paper's theta <- theta + epsilon (phi - theta).

    The inner optimiser is Adam without momentum. As in the authors' code its second moments and its count of steps live
    on: every task starts from those that training has gathered, in evaluation too, which changes them no more. (Started
    anew in each task, Adam's first step would be of size `inner_lr` in every weight, whatever its gradient.) The tasks of a
    meta-batch start from the same moments, which then become the mean of theirs; the authors' take their tasks in turn.

    Args:
        backbone: any module [n, *shape] -> [n, d].
        outputs: ways of the tasks, or dimensions of a regression target.
        inner_lr: inner learning rate.
        inner_steps: steps in training; `test_steps`, at test.
        inner_rule: `adam`, with beta1 = 0 and beta2 = 0.999, the paper's choice; or plain `sgd`.
        inner_batch: support examples that a step sees, the next ones each time, going round the set in its (random)
            order; 0 or as many as there are, all.
        batch_stats: what batch norm normalises by; see `lightning_meta.nn.batch_stats`.
        vectorize: tasks by `vmap` or in a `loop`; `auto` takes what is faster there.
        features: d, where the backbone has no `out_features` to tell it.
    """

    second_moments: Tensor | None  # of all weights, [coordinates]
    steps_taken: Tensor | None

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
        start = torch.zeros_like(flatten(self.everything()).detach())
        self.register_buffer("second_moments", start if inner_rule == "adam" else None)
        self.register_buffer("steps_taken", torch.tensor(0) if inner_rule == "adam" else None)

    def everything(self) -> Weights:
        return dict(self.network.named_parameters())

    def descend(self, weights: Weights, support: Examples, steps: int) -> Weights:
        return self.trained(weights, support, steps)[0]

    def trained(self, weights: Weights, support: Examples, steps: int) -> tuple[Weights, Weights]:
        """phi of one task, and Adam's second moments after it, by weight name."""
        weights = {name: w.detach() for name, w in weights.items()}
        moments = self.moments(weights)
        for step in range(steps):
            batch = minibatch(support, self.inner_batch, step)
            gradient = grad(lambda w, batch=batch: self.support_loss(w, batch))(weights)
            if self.steps_taken is not None:
                moments = {n: BETA2 * v + (1 - BETA2) * gradient[n].square() for n, v in moments.items()}
                bias = 1 - BETA2 ** (self.steps_taken.double() + step + 1)
                gradient = {n: g / ((moments[n] / bias).sqrt() + 1e-8) for n, g in gradient.items()}
            weights = {name: w - self.inner_lr * gradient[name] for name, w in weights.items()}
        return weights, moments

    def moments(self, weights: Weights) -> Weights:
        """The second moments that training has gathered, of these weights; none for sgd."""
        if self.second_moments is None:
            return {}
        found = unflatten(self.second_moments, self.everything())
        return {name: found[name] for name in weights}

    def meta_loss(self, episode: Episode) -> Outcome:
        """Half the squared distance from theta to phi, summed over weights: its gradient is theta - phi."""
        support, query = episode
        self._check_outputs(support)
        with without_half(support.x.device.type), torch.no_grad():
            steps = self.inner_steps if self.training else self.test_steps
            weights, moments = self.over_tasks(
                lambda one: self.trained(self.start(), one, steps), support, like=support.x
            )
            if self.training and self.second_moments is not None:
                self.gather({name: v.mean(0) for name, v in moments.items()})
        with torch.no_grad():
            prediction = FastWeights(self, weights, self.seen(support))(query.x)
        distance = [(w - weights[name]).square().sum(tuple(range(1, w.ndim + 1))) for name, w in self.start().items()]
        return Outcome(0.5 * torch.stack(distance).sum(0).mean(), prediction)

    def gather(self, moments: Weights) -> None:
        """Let later tasks start from these second moments; those of frozen weights stay."""
        assert self.second_moments is not None
        assert self.steps_taken is not None
        self.second_moments.copy_(flatten({**unflatten(self.second_moments, self.everything()), **moments}))
        self.steps_taken += self.inner_steps
