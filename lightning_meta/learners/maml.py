"""Model-Agnostic Meta-Learning, and its first-order approximation.

Chelsea Finn, Pieter Abbeel and Sergey Levine. Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks.
ICML 2017, arXiv:1703.03400.
"""

from collections.abc import Iterator

from torch import nn

from lightning_meta.learners._gradient import UnrolledLearner
from lightning_meta.nn.batch_stats import BatchStats
from lightning_meta.nn.gradient_descent import GradientDescent, check_recompute
from lightning_meta.nn.inner_loop import Task, Weights
from lightning_meta.nn.task_network import TaskNetwork, Vectorize


class MAML(UnrolledLearner):
    """Model-Agnostic Meta-Learning, an initialisation from which a few gradient steps solve a task.

    theta: initial weights. phi: theta after a few gradient steps on the support loss (eq. 1). The meta-gradient of the query
    loss at phi goes through those steps (eq. 2 and section 2.2), or ignores their second derivatives with `first_order`
    (section 5.2).

    Args:
        backbone: Any module from [n, *shape] to features [n, d].
        outputs: Ways of the tasks, or dimensions of a regression target.
        inner_lr: Inner learning rate alpha.
        inner_steps: Number of inner steps in training.
        test_steps: Number of inner steps in evaluation; as many as in training where it is not given.
        first_order: Leave out the second derivatives of the inner steps (first-order MAML).
        recompute: Keep only the weights of each inner step in training and compute the steps again in the backward pass:
            the same meta-gradient in little more memory than one step takes, for one more forward and backward pass per
            step. The tasks run in a loop. This is for `loss.backward()`, not for `torch.autograd.grad`.
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
        self.descent = GradientDescent(inner_lr, first_order, recompute)

    def descend(self, task: Task, steps: int) -> Iterator[Weights]:
        return self.descent.path(lambda w: self.network.loss(w, task), self.network.start(), steps)
