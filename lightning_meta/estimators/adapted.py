"""phi, and all that it takes to apply it to any number of queries."""

import torch
from torch import Tensor

from lightning_meta.core import Episode, Examples, FewShotLearner
from lightning_meta.evaluation.rehearsal import try_task
from lightning_meta.training.evaluation import observe


class Adapted:
    """phi = f_theta(D^tr), made once, with the support set that made it.

    Args:
        learner: f_theta, in evaluation mode.
        support: D^tr, with a tasks axis of 1.
        batch: Queries that are predicted at a time; a transductive learner takes all at once.

    Raises:
        InputError: If the learner does not fit the examples.
    """

    def __init__(self, learner: FewShotLearner, support: Examples, batch: int):
        self.learner, self.support, self.batch = learner, support, batch
        self.observed = 0  # rows of the largest query set on which `transductive` and `noisy` were measured
        try_task(learner, Episode(support, Examples(support.x[:, :2], support.y[:, :2])))
        self.phi = learner.adapt(support)

    def observe(self, rows: int) -> FewShotLearner:
        """Return the learner, after measuring whether predictions for as many queries depend on each other. A backbone may
        read many rows otherwise than few."""
        if (rows := max(min(rows, self.batch), 2)) > self.observed:
            index = torch.arange(rows) % self.support.x.shape[1]
            query = Examples(self.support.x[:, index], self.support.y[:, index])
            observe(self.learner, Episode(self.support, query))
            self.observed = rows
        return self.learner

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Predict x: [n, *shape] -> logits [n, ways], or regression outputs [n, d]."""
        whole = self.observe(len(x)).transductive
        parts = [x] if whole else x.split(self.batch)
        return torch.cat([self.phi(part.unsqueeze(0))[0] for part in parts])
