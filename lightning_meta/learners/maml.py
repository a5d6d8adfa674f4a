"""Model-Agnostic Meta-Learning and its kin: first-order MAML, ANIL, Meta-SGD.

Chelsea Finn, Pieter Abbeel and Sergey Levine. Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks.
ICML 2017, arXiv:1703.03400.
ANIL: Aniruddh Raghu et al. Rapid Learning or Feature Reuse? ICLR 2020, arXiv:1909.09157.
Meta-SGD: Zhenguo Li et al. Meta-SGD: Learning to Learn Quickly for Few-Shot Learning. arXiv:1707.09835.
"""

from typing import Literal

import torch
from torch import nn

from lightning_meta.core import Episode, Examples, InputError, Outcome
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
        self.first_order = first_order
        adapted = {name: w for name, w in self.network.named_parameters() if adapt == "all" or name.startswith("head.")}
        self.adapted = tuple(adapted)
        shapes = [w.shape if learn_inner_lr == "parameter" else () for w in adapted.values()]
        rates = [torch.full(shape, inner_lr, dtype=torch.get_default_dtype()) for shape in shapes]
        self.rates = nn.ParameterList(nn.Parameter(rate, requires_grad=learn_inner_lr != "no") for rate in rates)

    def start(self) -> Weights:
        theta = super().start()
        return {name: theta[name] for name in self.adapted}

    def descend(self, weights: Weights, support: Examples, steps: int) -> Weights:
        rates = dict(zip(self.adapted, self.rates, strict=True))
        return descend(lambda w: self.support_loss(w, support), weights, rates, steps, self.first_order)

    def loss(self, episode: Episode) -> Outcome:
        self.gather_statistics(episode.support.x)
        return super().loss(episode)

    def diagnostics(self) -> dict[str, float]:
        """Mean inner rate of each adapted weight tensor, if they are learned."""
        learned = [(name, rate) for name, rate in zip(self.adapted, self.rates, strict=True) if rate.requires_grad]
        return {f"inner_lr/{name}": float(rate.mean()) for name, rate in learned}
