"""Implicit MAML: the meta-gradient at the end of the inner problem, whichever way led there.

Aravind Rajeswaran, Chelsea Finn, Sham Kakade and Sergey Levine. Meta-Learning with Implicit Gradients. NeurIPS 2019,
arXiv:1909.04630.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import grad, vjp

from lightning_meta.core import Episode, Examples, InputError, Outcome, prediction_loss
from lightning_meta.learners._gradient import GradientLearner
from lightning_meta.nn.batch_stats import BatchStats
from lightning_meta.nn.conjugate_gradient import conjugate_gradient
from lightning_meta.nn.gradient_descent import GradientDescent
from lightning_meta.nn.inner_loop import Task, Weights
from lightning_meta.nn.task_network import TaskNetwork, Vectorize


class IMAML(GradientLearner):
    """Implicit MAML, whose memory does not grow with the number of inner steps.

    theta: initial weights. phi: the minimum of the support loss plus (lambda / 2) ||phi - theta||^2 (section 2.2), approached
    from theta by gradient steps, in float32 whatever the run's precision: half the digits bring phi too far from the
    minimum for H to say much.

    At that minimum dphi/dtheta = (I + H / lambda)^-1 with H the Hessian of the support loss at phi (lemma 1). So the
    meta-gradient is (I + H / lambda)^-1 dL/dphi, solved for by conjugate gradient; the inner steps are not differentiated,
    and memory does not grow with their number. It is as exact as phi is near the minimum: few steps or a small lambda
    give another gradient than MAML's.

    Args:
        backbone: Any module from [n, *shape] to features [n, d].
        outputs: Ways of the tasks, or dimensions of a regression target.
        inner_lr: Inner learning rate.
        inner_steps: Number of inner steps in training.
        test_steps: Number of inner steps in evaluation; as many as in training where it is not given.
        proximal: Strength lambda of the pull of phi towards theta.
        cg_steps: Number of conjugate gradient steps, each a Hessian-vector product; 0 gives dL/dphi, as first-order MAML.
        batch_stats: Statistics that batch normalisation uses in the inner loop: running averages, those of the support set,
            or transductive, those of the batch itself (see `lightning_meta.nn.batch_stats`).
        vectorize: Run the tasks of a meta-batch together by vmap, one by one in a loop, or as is faster (auto).
        features: Width d of the features, where the backbone has no `out_features` that says it.
    """

    exact = True

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
        super().__init__(TaskNetwork(backbone, outputs, batch_stats, vectorize, features), inner_steps, test_steps)
        if inner_lr <= 0 or proximal <= 0:
            raise InputError(f"inner_lr is {inner_lr} and proximal {proximal}; both must be positive")
        if cg_steps < 0:
            raise InputError(f"cg_steps is {cg_steps}; it must be 0 or more")
        if inner_lr * proximal >= 2:
            raise InputError(
                f"inner_lr {inner_lr} times proximal {proximal} is 2 or more: no descent converges; make inner_lr smaller"
            )
        self.descent = GradientDescent(inner_lr, first_order=True)
        self.proximal, self.cg_steps = proximal, cg_steps

    def descend(self, task: Task, steps: int) -> Iterator[Weights]:
        theta = {name: w.detach() for name, w in self.network.start().items()}

        def objective(phi: Weights) -> Tensor:
            distance = sum((phi[name] - w).square().sum() for name, w in theta.items())
            return self.network.loss(phi, task) + 0.5 * self.proximal * distance

        return self.descent.path(objective, theta, steps)

    def loss(self, episode: Episode) -> Outcome:
        """The query loss at phi, with the implicit gradient: to its value is added <g, theta> - <g, theta> = 0, which
        has the gradient g, the mean over tasks of (I + H / lambda)^-1 dL/dphi.

        It is computed in float32, as phi is.
        """
        support, query = episode
        with torch.autocast(support.x.device.type, enabled=False):
            phi = self.adapt(support)
            gradient, prediction = self.network.over_tasks(
                self.implicit_gradient, support.x, support.y, query, phi.weights, phi.support
            )
        zero = sum((gradient[name].mean(0) * (w - w.detach())).sum() for name, w in self.network.start().items())
        self.network.track(support.x)
        return Outcome(prediction_loss(prediction, query.y) + zero, prediction)

    def implicit_gradient(
        self, x: Tensor, y: Tensor, query: Examples, phi: Weights, support: Tensor
    ) -> tuple[Weights, Tensor]:
        """(I + H / lambda)^-1 dL/dphi of one task by weight name, and its query predictions [n, outputs]. The support set is
        x and y; `support` is what queries are normalised by."""

        def query_loss(w: Weights) -> tuple[Tensor, Tensor]:
            prediction = self.network.predict(w, query.x, support)
            return prediction_loss(prediction, query.y), prediction

        outer, prediction = grad(query_loss, has_aux=True)(phi)
        support_loss = grad(lambda w: prediction_loss(self.network.predict(w, x), y))
        hessian_times = vjp(support_loss, phi)[1]  # H is symmetric

        def product(v: Weights) -> Weights:
            (curved,) = hessian_times(v)
            return {name: v[name] + curved[name] / self.proximal for name in v}

        return conjugate_gradient(product, outer, self.cg_steps), prediction
