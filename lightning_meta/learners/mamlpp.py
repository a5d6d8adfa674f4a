"""MAML++, two ideas of it: the loss of every inner step, and learned inner rates.

Antreas Antoniou, Harrison Edwards and Amos Storkey. How to Train Your MAML. ICLR 2019, arXiv:1810.09502.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_meta.core import Episode, InputError, Outcome
from lightning_meta.learners._gradient import GradientLearner
from lightning_meta.nn.batch_stats import BatchStats
from lightning_meta.nn.gradient_descent import GradientDescent, Learned, check_recompute
from lightning_meta.nn.inner_loop import Task, Weights
from lightning_meta.nn.task_network import TaskNetwork, Vectorize


class MAMLPlusPlus(GradientLearner):
    """MAML++, MAML that learns its inner rates and is trained on the query loss after every inner step.

    theta: initial weights and inner learning rates. phi: theta after a few gradient steps on the support loss. The
    meta-objective is the sum of the query losses after each step, weighted equally at first and more and more towards the
    last step alone (section 4, "Multi-Step Loss Optimization"). Not here: annealing of the derivative's order, cosine
    annealing of the outer rate (give the scheduler of your choice), and batch norm statistics and biases per step.

    Args:
        backbone: Any module from [n, *shape] to features [n, d].
        outputs: Ways of the tasks, or dimensions of a regression target.
        inner_lr: Inner learning rate, or the value from which learned rates start.
        inner_steps: Number of inner steps in training.
        test_steps: Number of inner steps in evaluation; as many as in training where it is not given.
        multi_step: Number of meta-batches over which the weight of the query losses moves, linearly, to the last inner step;
            0 for the last step alone from the start.
        learn_inner_lr: Inner rates that are learned with theta: one per weight tensor and inner step (step, the paper's;
            further steps in evaluation use the last one's), one per weight tensor (layer), one per weight (parameter),
            or none (no).
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
        inner_steps: int = 5,
        test_steps: int | None = None,
        multi_step: int = 2000,
        learn_inner_lr: Learned = "step",
        first_order: bool = False,
        recompute: bool = False,
        batch_stats: BatchStats = "transductive",
        vectorize: Vectorize = "auto",
        features: int | None = None,
    ):
        vectorize = check_recompute(recompute, first_order, batch_stats, vectorize)
        super().__init__(TaskNetwork(backbone, outputs, batch_stats, vectorize, features), inner_steps, test_steps)
        if multi_step < 0 or (multi_step and not inner_steps):
            raise InputError(f"multi_step is {multi_step}; give a number of meta-batches, or 0, as with 0 inner_steps")
        start = self.network.start()
        self.descent = GradientDescent(inner_lr, first_order, recompute, learn_inner_lr, start, inner_steps)
        self.multi_step = multi_step
        self.register_buffer("meta_batches", torch.tensor(0) if multi_step else None)  # trained on so far

    def descend(self, task: Task, steps: int) -> Iterator[Weights]:
        return self.descent.path(lambda w: self.network.loss(w, task), self.network.start(), steps)

    def loss(self, episode: Episode) -> Outcome:
        """The query losses after each inner step, weighted by `importance` (section 4)."""
        if self.annealing() < 1:
            losses, prediction = self.query_losses(episode)
            counts = importance(self.inner_steps, self.annealing()).to(losses)
            outcome = Outcome((counts * losses).sum(), prediction)
        else:
            outcome = super().loss(episode)
        if self.training and self.multi_step:
            self.meta_batches += 1
        self.network.track(episode.support.x)
        return outcome

    def annealing(self) -> float:
        """The share of the weight of the query losses that has moved to the last step, in 0..1."""
        return min(int(self.meta_batches) / self.multi_step, 1.0) if self.training and self.multi_step else 1.0

    def diagnostics(self) -> dict[str, float]:
        return self.descent.diagnostics()


def importance(steps: int, annealing: float) -> Tensor:
    """The weight of the query loss after each inner step, [steps], in all 1: equal at `annealing` 0, at 1 the last alone."""
    equal, last = torch.full((steps,), 1 / steps), F.one_hot(torch.tensor(steps - 1), steps)
    return torch.lerp(equal, last.to(equal), annealing)
