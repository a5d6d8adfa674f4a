"""Meta-SGD.

Zhenguo Li, Fengwei Zhou, Fei Chen and Hang Li. Meta-SGD: Learning to Learn Quickly for Few-Shot Learning. 2017,
arXiv:1707.09835.
"""

from collections.abc import Iterator

from torch import nn

from lightning_meta.learners._gradient import UnrolledLearner
from lightning_meta.nn.batch_stats import BatchStats
from lightning_meta.nn.gradient_descent import GradientDescent, check_recompute
from lightning_meta.nn.inner_loop import Task, Weights
from lightning_meta.nn.task_network import TaskNetwork, Vectorize


class MetaSGD(UnrolledLearner):
    """Meta-SGD, MAML that learns a rate and a direction of adaptation for every weight.

    theta: initial weights, and an inner learning rate for each of them, of either sign. phi: theta after a few gradient steps
    on the support loss, phi = theta - alpha * gradient, elementwise (eq. 2; the paper takes one step).

    Args:
        backbone: Any module from [n, *shape] to features [n, d].
        outputs: Ways of the tasks, or dimensions of a regression target.
        inner_lr: Value from which all inner learning rates start.
        inner_steps: Number of inner steps in training.
        test_steps: Number of inner steps in evaluation; as many as in training where it is not given.
        first_order: Leave out the second derivatives of the inner steps.
        recompute: Keep only the weights of each inner step in training and compute the steps again in the backward pass
            (see MAML).
        batch_stats: Statistics that batch normalisation uses in the inner loop: running averages, those of the support set,
            or transductive, those of the batch itself (see `lightning_meta.nn.batch_stats`).
        vectorize: Run the tasks of a meta-batch together by vmap, one by one in a loop, or as is faster (auto).
        features: Width d of the features, where the backbone has no `out_features` that says it.
    """

    def __init__(
        self,
        backbone: nn.Module,
        outputs: int,
        inner_lr: float = 0.01,
        inner_steps: int = 1,
        test_steps: int | None = None,
        first_order: bool = False,
        recompute: bool = False,
        batch_stats: BatchStats = "transductive",
        vectorize: Vectorize = "auto",
        features: int | None = None,
    ):
        vectorize = check_recompute(recompute, first_order, batch_stats, vectorize)
        super().__init__(TaskNetwork(backbone, outputs, batch_stats, vectorize, features), inner_steps, test_steps)
        self.descent = GradientDescent(inner_lr, first_order, recompute, "parameter", self.network.start())

    def descend(self, task: Task, steps: int) -> Iterator[Weights]:
        return self.descent.path(lambda w: self.network.loss(w, task), self.network.start(), steps)

    def diagnostics(self) -> dict[str, float]:
        return self.descent.diagnostics()
