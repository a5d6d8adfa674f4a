"""Implicit MAML: the meta-gradient at the end of the inner problem, whichever way led there.

Aravind Rajeswaran, Chelsea Finn, Sham Kakade and Sergey Levine. Meta-Learning with Implicit Gradients. NeurIPS 2019,
arXiv:1909.04630.
"""

import torch
from torch import Tensor, nn
from torch.func import grad, vjp

from lightning_meta.core import Episode, Examples, InputError, Outcome, prediction_loss
from lightning_meta.learners.fast_weights import FastWeights, GradientLearner, Vectorize
from lightning_meta.nn.batch_stats import BatchStats
from lightning_meta.nn.conjugate_gradient import conjugate_gradient
from lightning_meta.nn.inner_loop import Weights, descend


class IMAML(GradientLearner):
    """theta: initial weights. phi: the minimum of the support loss plus (lambda / 2) ||phi - theta||^2 (section 2.2),
    approached from theta by gradient steps.

    At that minimum dphi/dtheta = (I + H / lambda)^-1 with H the Hessian of the support loss at phi (lemma 1). So the
    meta-gradient is (I + H / lambda)^-1 dL/dphi, solved for by conjugate gradient; the inner steps are not differentiated,
    and memory does not grow with their number. It is as true as phi is near the minimum: few steps or a small lambda
    give another gradient than MAML's.

    Args:
        backbone: any module [n, *shape] -> [n, d].
        outputs: ways of the tasks, or dimensions of a regression target.
        inner_lr: inner learning rate.
        inner_steps: gradient steps in training; `test_steps`, at test (the same if not given).
        proximal: lambda, how strongly phi is held to theta.
        cg_steps: conjugate gradient steps, each a Hessian-vector product; 0 gives dL/dphi, as first-order MAML.
        batch_stats: what batch norm normalises by; see `lightning_meta.nn.batch_stats`.
        vectorize: tasks by `vmap` or in a `loop`; `auto` takes what is faster there.
        features: d, where the backbone has no `out_features` to tell it.
    """

    def __init__(
        self,
        backbone: nn.Module,
        outputs: int,
        inner_lr: float = 0.1,
        inner_steps: int = 10,
        test_steps: int | None = None,
        proximal: float = 2.0,
        cg_steps: int = 5,
        batch_stats: BatchStats = "transductive",
        vectorize: Vectorize = "auto",
        features: int | None = None,
    ):
        super().__init__(backbone, outputs, inner_steps, test_steps, batch_stats, vectorize, features)
        if inner_lr <= 0 or proximal <= 0:
            raise InputError(f"inner_lr is {inner_lr} and proximal {proximal}; both must be positive")
        if cg_steps < 0:
            raise InputError(f"cg_steps is {cg_steps}; it must be 0 or more")
        if inner_lr * proximal >= 2:
            raise InputError(
                f"inner_lr {inner_lr} times proximal {proximal} is 2 or more: no descent converges; make inner_lr smaller"
            )
        self.inner_lr, self.proximal, self.cg_steps = inner_lr, proximal, cg_steps

    def adapt_steps(self, support: Examples, steps: int) -> FastWeights:
        """In float32 whatever the run's precision: half the digits bring phi too far from the minimum for H to tell much."""
        with torch.autocast(support.x.device.type, enabled=False):
            return super().adapt_steps(support, steps)

    def descend(self, weights: Weights, support: Examples, steps: int) -> Weights:
        theta = {name: w.detach() for name, w in weights.items()}

        def objective(phi: Weights) -> Tensor:
            distance = sum((phi[name] - w).square().sum() for name, w in theta.items())
            return self.support_loss(phi, support) + 0.5 * self.proximal * distance

        return descend(objective, theta, [dict.fromkeys(theta, self.inner_lr)] * steps, first_order=True)

    def meta_loss(self, episode: Episode) -> Outcome:
        """The query loss at phi, with the implicit gradient: to its value is added <g, theta> - <g, theta> = 0, which
        has the gradient g, the mean over tasks of (I + H / lambda)^-1 dL/dphi.

        In float32, as phi is.
        """
        support, query = episode
        with torch.autocast(support.x.device.type, enabled=False):
            phi = self.adapt(support)
            gradient, prediction = self.over_tasks(
                self.implicit_gradient, phi.weights, support, query, phi.seen, like=support.x
            )
        zero = sum((gradient[name].mean(0) * (w - w.detach())).sum() for name, w in self.start().items())
        return Outcome(prediction_loss(prediction, query.y) + zero, prediction)

    def implicit_gradient(
        self, phi: Weights, support: Examples, query: Examples, seen: Tensor
    ) -> tuple[Weights, Tensor]:
        """(I + H / lambda)^-1 dL/dphi of one task, by weight name, and its query predictions [n, outputs]."""

        def query_loss(w: Weights) -> tuple[Tensor, Tensor]:
            prediction = self.predict(w, query.x, seen)
            return prediction_loss(prediction, query.y), prediction

        outer, prediction = grad(query_loss, has_aux=True)(phi)
        hessian_times = vjp(grad(lambda w: self.support_loss(w, support)), phi)[1]  # H is symmetric

        def product(v: Weights) -> Weights:
            (curved,) = hessian_times(v)
            return {name: v[name] + curved[name] / self.proximal for name in v}

        return conjugate_gradient(product, outer, self.cg_steps), prediction
