"""Reptile.

Alex Nichol, Joshua Achiam and John Schulman. On First-Order Meta-Learning Algorithms. 2018, arXiv:1803.02999.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import grad

from lightning_meta.core import Episode, InputError, Outcome
from lightning_meta.learners._gradient import FastWeights, GradientLearner, in_float32, last
from lightning_meta.nn.batch_stats import BatchStats
from lightning_meta.nn.coordinatewise import flatten, unflatten
from lightning_meta.nn.inner_loop import Task, Weights
from lightning_meta.nn.task_network import TaskNetwork, Vectorize

BETA2 = 0.999


class Reptile(GradientLearner):
    """Reptile, which moves theta towards the weights that ordinary training reaches on each task.

    theta: initial weights. phi: theta after `inner_steps` of an ordinary optimiser on the support set (algorithm 2).

    The meta-gradient is theta - phi, the mean over tasks, with no derivative through the inner loop and no query set;
    an outer SGD of learning rate epsilon makes it the paper's theta <- theta + epsilon (phi - theta).

    The inner optimiser is Adam without momentum. As in the authors' code its second moments and its count of steps persist:
    every task starts from those that training has gathered, in evaluation too, which changes them no more. (Started
    anew in each task, Adam's first step would be of size `inner_lr` in every weight, whatever its gradient.) The tasks of a
    meta-batch start from the same moments, which then become the mean of theirs; the authors' take their tasks in turn.

    Args:
        backbone: Any module from [n, *shape] to features [n, d].
        outputs: Ways of the tasks, or dimensions of a regression target.
        inner_lr: Inner learning rate.
        inner_steps: Number of inner steps in training.
        test_steps: Number of inner steps in evaluation; as many as in training where it is not given.
        inner_rule: Inner optimiser, adam with beta1 = 0 and beta2 = 0.999, the paper's choice, or plain sgd.
        inner_batch: Number of support examples that an inner step sees, the next ones each time, going round the set in its
            (random) order; 0, or as many as there are, for all of them.
        batch_stats: Statistics that batch normalisation uses in the inner loop: running averages, those of the support set,
            or transductive, those of the batch itself (see `lightning_meta.nn.batch_stats`).
        vectorize: Run the tasks of a meta-batch together by vmap, one by one in a loop, or as is faster (auto).
        features: Width d of the features, where the backbone has no `out_features` that says it.
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
        super().__init__(TaskNetwork(backbone, outputs, batch_stats, vectorize, features), inner_steps, test_steps)
        if inner_lr <= 0:
            raise InputError(f"inner_lr is {inner_lr}; it must be positive")
        if inner_rule not in ("adam", "sgd"):
            raise InputError(f"inner_rule is {inner_rule!r}; choose adam or sgd")
        if inner_batch < 0:
            raise InputError(f"inner_batch is {inner_batch}; give a number of examples, or 0 for the whole support set")
        self.inner_lr, self.inner_batch = inner_lr, inner_batch
        zeros = torch.zeros_like(flatten(dict(self.network.named_parameters())).detach())
        self.register_buffer("second_moments", zeros if inner_rule == "adam" else None)
        self.register_buffer("steps_taken", torch.tensor(0) if inner_rule == "adam" else None)

    def descend(self, task: Task, steps: int) -> Iterator[Weights]:
        return (weights for weights, _ in self.optimise(task, steps))

    def optimise(self, task: Task, steps: int) -> Iterator[tuple[Weights, Weights]]:
        """Weights of one task, and Adam's second moments, by weight name, before the first step and after each."""
        weights = {name: w.detach() for name, w in self.network.start().items()}
        moments = self.moments(weights)
        yield weights, moments
        for step in range(steps):
            batch = task.minibatch(self.inner_batch, step)
            gradient = grad(lambda w, batch=batch: self.network.loss(w, batch))(weights)
            if self.steps_taken is not None:
                moments = {n: BETA2 * v + (1 - BETA2) * gradient[n].square() for n, v in moments.items()}
                bias = 1 - BETA2 ** (self.steps_taken.double() + step + 1)
                gradient = {n: g / ((moments[n] / bias).sqrt() + 1e-8) for n, g in gradient.items()}
            weights = {name: w - self.inner_lr * gradient[name] for name, w in weights.items()}
            yield weights, moments

    def moments(self, weights: Weights) -> Weights:
        """The second moments that training has gathered, of these weights; none for sgd."""
        if self.second_moments is None:
            return {}
        gathered = unflatten(self.second_moments, dict(self.network.named_parameters()))
        return {name: gathered[name] for name in weights}

    def loss(self, episode: Episode) -> Outcome:
        """Half the squared distance from theta to phi, summed over weights: its gradient is theta - phi."""
        support, query = episode
        outputs, steps = self.check_support(support), self.inner_steps if self.training else self.test_steps
        with in_float32(support.x.device.type), torch.no_grad():
            weights, moments = self.network.over_tasks(
                lambda x, y: last(self.optimise(Task(x, y, outputs), steps)), *support
            )
            if self.training and self.second_moments is not None:
                self.gather({name: v.mean(0) for name, v in moments.items()})
        with torch.no_grad():
            prediction = FastWeights(self.network, weights, self.network.context(support.x))(query.x)
        theta = self.network.start().items()
        distance = [(w - weights[name]).square().sum(tuple(range(1, w.ndim + 1))) for name, w in theta]
        self.network.track(support.x)
        return Outcome(0.5 * torch.stack(distance).sum(0).mean(), prediction)

    def gather(self, moments: Weights) -> None:
        """Let later tasks start from these second moments; those of frozen weights stay."""
        assert self.second_moments is not None
        assert self.steps_taken is not None
        everything = unflatten(self.second_moments, dict(self.network.named_parameters()))
        self.second_moments.copy_(flatten({**everything, **moments}))
        self.steps_taken += self.inner_steps
