"""Model-Agnostic Meta-Learning and its kin: first-order MAML, ANIL, Meta-SGD, and what pays of MAML++.

Chelsea Finn, Pieter Abbeel and Sergey Levine. Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks.
ICML 2017, arXiv:1703.03400.
ANIL: Aniruddh Raghu et al. Rapid Learning or Feature Reuse? ICLR 2020, arXiv:1909.09157.
Meta-SGD: Zhenguo Li et al. Meta-SGD: Learning to Learn Quickly for Few-Shot Learning. arXiv:1707.09835.
MAML++: Antreas Antoniou, Harrison Edwards and Amos Storkey. How to Train Your MAML. ICLR 2019, arXiv:1810.09502.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_meta.core import Episode, Examples, InputError, Outcome, prediction_loss
from lightning_meta.learners.fast_weights import GradientLearner, Vectorize, without_half
from lightning_meta.nn.batch_stats import BatchStats
from lightning_meta.nn.inner_loop import Rates, Weights, descend


class MAML(GradientLearner):
    """theta: initial weights. phi: theta after a few gradient steps on the support loss (eq. 1); the meta-gradient of
    the query loss at phi goes through those steps (eq. 2 and section 2.2), or ignores them with `first_order`.

    Args:
        backbone: any module [n, *shape] -> [n, d].
        outputs: ways of the tasks, or dimensions of a regression target.
        inner_lr: alpha, the inner learning rate, or where it starts if it is learned.
        inner_steps: gradient steps in training; `test_steps`, at test (the same if not given).
        first_order: FOMAML.
        adapt: `all` weights, or the `head` alone (ANIL).
        learn_inner_lr: learn alpha with theta, one for each weight tensor (`layer`), for each tensor and inner step
            (`step`, MAML++; more steps at test go on with the last one's) or for each weight (`parameter`, Meta-SGD,
            its eq. 2).
        multi_step: train on the query losses after every inner step (MAML++), weighted equally at first and, linearly
            over this many meta-batches, more and more by the last step alone; 0, by the last step from the start.
        recompute: in training keep each inner step's weights alone and compute the step again in the backward pass:
            the same meta-gradient in little more memory than one step takes, for one more forward and backward pass a
            step. Tasks in a loop; for `loss.backward()`, not `torch.autograd.grad`.
        batch_stats: what batch norm normalises by; see `lightning_meta.nn.batch_stats`.
        vectorize: tasks by `vmap` or in a `loop`; `auto` takes what is faster there.
        features: d, where the backbone has no `out_features` to tell it.
    """

    def __init__(
        self,
        backbone: nn.Module,
        outputs: int,
        inner_lr: float = 0.01,
        inner_steps: int = 1,
        test_steps: int | None = None,
        first_order: bool = False,
        adapt: Literal["all", "head"] = "all",
        learn_inner_lr: Literal["no", "layer", "step", "parameter"] = "no",
        multi_step: int = 0,
        recompute: bool = False,
        batch_stats: BatchStats = "transductive",
        vectorize: Vectorize = "auto",
        features: int | None = None,
    ):
        super().__init__(backbone, outputs, inner_steps, test_steps, batch_stats, vectorize, features)
        if inner_lr <= 0:
            raise InputError(f"inner_lr is {inner_lr}; it must be positive")
        if adapt not in ("all", "head"):
            raise InputError(f"adapt is {adapt!r}; choose all or head")
        if learn_inner_lr not in ("no", "layer", "step", "parameter"):
            raise InputError(f"learn_inner_lr is {learn_inner_lr!r}; choose no, layer, step or parameter")
        if multi_step < 0 or (multi_step and not inner_steps):
            raise InputError(f"multi_step is {multi_step}; give a number of meta-batches, or 0, as with 0 inner_steps")
        # Running statistics have moved by the time of the backward pass.
        if recompute and (first_order or adapt == "head" or vectorize == "vmap" or batch_stats == "running"):
            raise InputError(
                "recompute is for second-order steps of all weights, with vectorize auto or loop and batch_stats support or"
                " transductive"
            )
        self.recompute = recompute
        self.inner_lr, self.first_order, self.head_only = inner_lr, first_order, adapt == "head"
        shapes = {"layer": lambda _: (), "step": lambda _: (max(inner_steps, 1),), "parameter": lambda w: w.shape}
        shape = shapes.get(learn_inner_lr)
        self.rated = list(self.start())  # a part may be frozen later
        self.rates = nn.ParameterList(torch.full(shape(w), inner_lr) for w in self.start().values() if shape)
        self.by_step, self.multi_step = learn_inner_lr == "step", multi_step
        self.register_buffer("meta_batches", torch.tensor(0) if multi_step else None)  # trained on so far

    def start(self) -> Weights:
        theta = super().start()
        return {name: w for name, w in theta.items() if name.startswith("head.")} if self.head_only else theta

    def descend(self, weights: Weights, support: Examples, steps: int) -> Weights:
        rates = [self.inner_rates(step) for step in range(steps)]
        return self.steps(self.inner_loss(support), weights, rates)

    def steps(self, loss: Callable[[Weights], Tensor], weights: Weights, rates: list[Rates]) -> Weights:
        recompute = self.recompute and torch.is_grad_enabled()
        return descend(loss, weights, rates, self.first_order, recompute)

    def vectorized(self, x: Tensor) -> bool:
        return not self.recompute and super().vectorized(x)

    def inner_loss(self, support: Examples) -> Callable[[Weights], Tensor]:
        """The support loss as a function of the adapted weights. A body that does not adapt runs once, not at each step."""
        if not self.head_only:
            return lambda w: self.support_loss(w, support)
        z = self.run(self.network.get_submodule("backbone"), {}, support.x, seen=support.x[:0])
        return lambda w: prediction_loss(F.linear(z, w["head.weight"], w["head.bias"]), support.y)

    def inner_rates(self, step: int) -> Rates:
        """alpha of inner step `step`, from 0, by weight name: the learned ones, or `inner_lr` for all."""
        names = self.start()
        if not self.rates:
            return dict.fromkeys(names, self.inner_lr)
        rates = [rate[min(step, len(rate) - 1)] for rate in self.rates] if self.by_step else self.rates
        if unrated := [name for name in names if name not in self.rated]:
            raise InputError(
                f"{unrated[0]} has no learned inner rate, for it was frozen when this MAML was built: build it with all that"
                " is to adapt"
            )
        return dict(zip(self.rated, rates, strict=True))

    def meta_loss(self, episode: Episode) -> Outcome:
        outcome = self.multi_step_loss(episode) if self.annealing() < 1 else super().meta_loss(episode)
        if self.training and self.multi_step:
            self.meta_batches += 1
        return outcome

    def annealing(self) -> float:
        """How far the importance of the query losses has gone over to the last step, 0..1."""
        return min(int(self.meta_batches) / self.multi_step, 1.0) if self.training and self.multi_step else 1.0

    def multi_step_loss(self, episode: Episode) -> Outcome:
        """The query losses after each inner step, weighted by importance (Antoniou et al. 2019, section 4)."""
        with without_half(episode.support.x.device.type):
            path = self.over_tasks(self.path, *episode, like=episode.support.x)
        losses = torch.stack([prediction_loss(prediction, episode.query.y) for prediction in path])
        counts = importance(self.inner_steps, self.annealing()).to(losses)
        return Outcome((counts * losses).sum(), path[-1])

    def path(self, support: Examples, query: Examples) -> list[Tensor]:
        """The query predictions [n, outputs] of one task after each inner step."""
        weights, loss, predictions = self.start(), self.inner_loss(support), []
        for step in range(self.inner_steps):
            weights = self.steps(loss, weights, [self.inner_rates(step)])
            seen = support.x if self.sees_support else support.x[:0]
            predictions.append(self.predict(weights, query.x, seen))
        return predictions

    def diagnostics(self) -> dict[str, float]:
        """Mean inner rate of each adapted weight tensor, if they are learned."""
        learned = zip(self.rated, self.rates, strict=True) if self.rates else ()
        return {f"inner_lr/{name}": rate.mean().item() for name, rate in learned}


def importance(steps: int, annealing: float) -> Tensor:
    """What the query loss after each inner step counts, [steps], in all 1: equal at `annealing` 0, at 1 the last alone."""
    equal, last = torch.full((steps,), 1 / steps), F.one_hot(torch.tensor(steps - 1), steps)
    return torch.lerp(equal, last.to(equal), annealing)
