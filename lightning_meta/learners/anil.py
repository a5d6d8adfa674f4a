"""ANIL: almost no inner loop.

Aniruddh Raghu, Maithra Raghu, Samy Bengio and Oriol Vinyals. Rapid Learning or Feature Reuse? Towards Understanding the
Effectiveness of MAML. ICLR 2020, arXiv:1909.09157.
"""

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_meta.core import prediction_loss
from lightning_meta.learners._gradient import UnrolledLearner
from lightning_meta.nn.batch_stats import BatchStats
from lightning_meta.nn.gradient_descent import GradientDescent, Learned
from lightning_meta.nn.inner_loop import Task, Weights
from lightning_meta.nn.task_network import TaskNetwork, Vectorize


class ANIL(UnrolledLearner):
    """ANIL, MAML whose inner loop adapts the head alone.

    theta: initial weights. phi: theta with a head of its own, after a few gradient steps of the head on the support loss; the
    features are those of theta. The meta-gradient of the query loss at phi reaches the body through them.

    Args:
        backbone: Any module from [n, *shape] to features [n, d].
        outputs: Ways of the tasks, or dimensions of a regression target.
        inner_lr: Inner learning rate, or the value from which learned rates start.
        inner_steps: Number of inner steps in training.
        test_steps: Number of inner steps in evaluation; as many as in training where it is not given.
        first_order: Leave out the second derivatives of the inner steps.
        learn_inner_lr: Inner rates that are learned with theta, which the paper does not do: none (no), one per weight
            tensor of the head (layer), one per tensor and inner step (step), or one per weight (parameter).
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
        learn_inner_lr: Learned = "no",
        batch_stats: BatchStats = "transductive",
        vectorize: Vectorize = "auto",
        features: int | None = None,
    ):
        super().__init__(TaskNetwork(backbone, outputs, batch_stats, vectorize, features), inner_steps, test_steps)
        self.descent = GradientDescent(inner_lr, first_order, False, learn_inner_lr, self.head(), inner_steps)

    def head(self) -> Weights:
        """The weights of theta that adapt."""
        return {name: w for name, w in self.network.start().items() if name.startswith("head.")}

    def descend(self, task: Task, steps: int) -> Iterator[Weights]:
        z = self.network.features({}, task.x)  # the body runs once, not at each step

        def loss(head: Weights) -> Tensor:
            return prediction_loss(F.linear(z, head["head.weight"], head["head.bias"]), task.y)

        return self.descent.path(loss, self.head(), steps)

    def diagnostics(self) -> dict[str, float]:
        return self.descent.diagnostics()
