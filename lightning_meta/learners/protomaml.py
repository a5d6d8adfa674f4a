"""ProtoMAML: MAML whose head starts as a Prototypical Network.

Eleni Triantafillou et al. Meta-Dataset: A Dataset of Datasets for Learning to Learn from Few Examples. ICLR 2020,
arXiv:1903.03096 (section 3, "Proto-MAML").
"""

from collections.abc import Iterator

import torch
from torch import nn

from lightning_meta.learners._gradient import UnrolledLearner
from lightning_meta.nn.batch_stats import BatchStats
from lightning_meta.nn.gradient_descent import GradientDescent
from lightning_meta.nn.inner_loop import Task, Weights
from lightning_meta.nn.task_network import TaskNetwork, Vectorize


class ProtoMAML(UnrolledLearner):
    """ProtoMAML, MAML whose head starts from the prototypes of the task's classes.

    theta: a backbone's initial weights. phi: they and a linear head, after a few gradient steps on the support loss.

    The head starts from the class means c_k of the support features, W_k = 2 c_k and b_k = -||c_k||^2: a query's logits
    are then ProtoNet's, -||z - c_k||^2, except for -||z||^2, which is the same for every class. The meta-gradient passes
    through that start, with `first_order` too. Tasks may have any number of ways, in training and at test.

    Args:
        backbone: Any module from [n, *shape] to features [n, d].
        inner_lr: Inner learning rate alpha, of backbone and head.
        inner_steps: Number of inner steps in training.
        test_steps: Number of inner steps in evaluation; as many as in training where it is not given.
        first_order: Leave out the second derivatives of the inner steps.
        batch_stats: Statistics that batch normalisation uses in the inner loop: running averages, those of the support set,
            or transductive, those of the batch itself (see `lightning_meta.nn.batch_stats`).
        vectorize: Run the tasks of a meta-batch together by vmap, one by one in a loop, or as is faster (auto).
    """

    regression = False
    label_dependence = None

    def __init__(
        self,
        backbone: nn.Module,
        inner_lr: float = 0.01,
        inner_steps: int = 1,
        test_steps: int | None = None,
        first_order: bool = False,
        batch_stats: BatchStats = "transductive",
        vectorize: Vectorize = "auto",
    ):
        super().__init__(TaskNetwork(backbone, None, batch_stats, vectorize), inner_steps, test_steps)
        self.descent = GradientDescent(inner_lr, first_order)

    def descend(self, task: Task, steps: int) -> Iterator[Weights]:
        theta = self.network.start()
        start = {**theta, **self.prototype_head(theta, task)}
        return self.descent.path(lambda w: self.network.loss(w, task), start, steps)

    def prototype_head(self, theta: Weights, task: Task) -> Weights:
        """The head of one task before its first step, weight [ways, d] and bias [ways]."""
        z = self.network.features(theta, task.x)
        member = torch.arange(task.outputs, device=task.y.device).unsqueeze(1) == task.y  # [ways, n]
        centres = member.to(z.dtype) @ z / member.sum(-1, keepdim=True)
        return {"head.weight": 2 * centres, "head.bias": -centres.square().sum(-1)}
