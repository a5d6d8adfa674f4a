"""Model-Agnostic Meta-Learning and its kin: first-order MAML, ANIL, Meta-SGD.

Chelsea Finn, Pieter Abbeel and Sergey Levine. Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks.
ICML 2017, arXiv:1703.03400.
ANIL: Aniruddh Raghu et al. Rapid Learning or Feature Reuse? ICLR 2020, arXiv:1909.09157.
Meta-SGD: Zhenguo Li et al. Meta-SGD: Learning to Learn Quickly for Few-Shot Learning. arXiv:1707.09835.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_meta.core import Episode, Examples, InputError, Outcome, prediction_loss
from lightning_meta.learners.fast_weights import GradientLearner, Vectorize
from lightning_meta.nn.batch_stats import BatchStats
from lightning_meta.nn.inner_loop import Weights, descend


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
        learn_inner_lr: learn alpha with theta, one for each weight tensor (`layer`) or for each weight (`parameter`,
            Meta-SGD, its eq. 2).
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
        learn_inner_lr: Literal["no", "layer", "parameter"] = "no",
        batch_stats: BatchStats = "transductive",
        vectorize: Vectorize = "auto",
        features: int | None = None,
    ):
        super().__init__(backbone, outputs, inner_steps, test_steps, batch_stats, vectorize, features)
        if inner_lr <= 0:
            raise InputError(f"inner_lr is {inner_lr}; it must be positive")
        if adapt not in ("all", "head"):
            raise InputError(f"adapt is {adapt!r}; choose all or head")
        if learn_inner_lr not in ("no", "layer", "parameter"):
            raise InputError(f"learn_inner_lr is {learn_inner_lr!r}; choose no, layer or parameter")
        self.inner_lr, self.first_order, self.head_only = inner_lr, first_order, adapt == "head"
        shapes = [w.shape if learn_inner_lr == "parameter" else () for w in self.start().values()]
        self.rates = nn.ParameterList(torch.full(shape, inner_lr) for shape in shapes if learn_inner_lr != "no")

    def start(self) -> Weights:
        theta = super().start()
        return {name: w for name, w in theta.items() if name.startswith("head.")} if self.head_only else theta

    def descend(self, weights: Weights, support: Examples, steps: int) -> Weights:
        return descend(self.inner_loss(support), weights, self.inner_rates(), steps, self.first_order)

    def inner_loss(self, support: Examples) -> Callable[[Weights], Tensor]:
        """The support loss as a function of the adapted weights. A body that does not adapt runs once, not at each step."""
        if not self.head_only:
            return lambda w: self.support_loss(w, support)
        z = self.run(self.network.get_submodule("backbone"), {}, support.x, seen=support.x[:0])
        return lambda w: prediction_loss(F.linear(z, w["head.weight"], w["head.bias"]), support.y)

    def inner_rates(self) -> Mapping[str, Tensor | float]:
        """alpha by weight name: the learned ones, or `inner_lr` for all."""
        names = self.start()
        return dict(zip(names, self.rates, strict=True)) if self.rates else dict.fromkeys(names, self.inner_lr)

    def loss(self, episode: Episode) -> Outcome:
        outcome = super().loss(episode)
        self.gather_statistics(episode.support.x)
        return outcome

    def diagnostics(self) -> dict[str, float]:
        """Mean inner rate of each adapted weight tensor, if they are learned."""
        learned = {name: rate for name, rate in self.inner_rates().items() if isinstance(rate, Tensor)}
        return {f"inner_lr/{name}": rate.mean().item() for name, rate in learned.items()}
