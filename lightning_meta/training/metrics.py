"""Scores over episodes, with their confidence interval."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class EpisodeMean(Metric):
    """Mean of a score over episodes, and the half-width of its 95 % confidence interval, 1.96 standard errors.

    The episode is the unit, as in the field's tables: one score an episode, however many queries it has.
    """

    full_state_update = False
    scores: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("scores", [], dist_reduce_fx="cat")

    def update(self, scores: Tensor) -> None:
        """scores: [tasks], one an episode."""
        self.scores.append(scores.detach().float())

    def compute(self) -> tuple[Tensor, Tensor]:
        """Mean and ci95. Of a single episode the interval is unknown: nan."""
        scores = dim_zero_cat(self.scores).cpu().double()
        spread = scores.std() if len(scores) > 1 else torch.tensor(torch.nan)
        return scores.mean().float(), (1.96 * spread / len(scores) ** 0.5).float()
