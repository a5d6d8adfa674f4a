"""Scores over episodes with their confidence interval, and calibration."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class EpisodeMean(Metric):
    """Mean of a score over episodes, and the half-width of its 95 % confidence interval, 1.96 standard errors.

    The episode is the unit, as in the field's tables: one score an episode, however many queries it has. Where episodes are of
    several sources, it is the mean of the sources' means, whose standard errors are independent.
    """

    full_state_update = False
    scores: list[Tensor]
    sources: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("sources", [], dist_reduce_fx="cat")

    def update(self, scores: Tensor, source: int = 0) -> None:
        """scores: [tasks], one an episode; source: the number of the source that they are of."""
        self.scores.append(scores.detach().float())
        self.sources.append(torch.full_like(scores, source, dtype=torch.int64))

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean, ci95 and the number of episodes. Of a single episode the interval is unknown: nan."""
        scores, sources = dim_zero_cat(self.scores).cpu().double(), dim_zero_cat(self.sources).cpu()
        each = [scores[sources == source] for source in sources.unique()]
        errors = [1.96 * one.std() / len(one) ** 0.5 if len(one) > 1 else torch.tensor(torch.nan) for one in each]
        mean = torch.stack([one.mean() for one in each]).mean()
        return mean.float(), (torch.stack(errors).norm() / len(each)).float(), torch.tensor(len(scores))


class CalibrationError(Metric):
    """Expected calibration error over the queries of all episodes, in 0..1.

    A query's confidence is the probability of its predicted class. ECE = sum_b |B_b| / n |accuracy(B_b) - confidence(B_b)|
    over the bins B_b of equal width, ((b-1)/bins, b/bins]: Guo et al. 2017 (arXiv:1706.04599), section 2. (torchmetrics
    gives confidences of exactly 1, which a softmax of distances often has, a bin of their own.)
    """

    full_state_update = False
    sums: Tensor

    def __init__(self, bins: int = 15) -> None:
        super().__init__()
        # Of each bin the queries, those that are right, and their confidence: float32 in a float64 run, too.
        self.add_state("sums", torch.zeros(3, bins, dtype=torch.float32), dist_reduce_fx="sum")

    def update(self, logits: Float[Tensor, "tasks n ways"], y: Int[Tensor, "tasks n"]) -> None:
        confidence, predicted = logits.detach().float().softmax(-1).flatten(0, 1).max(-1)
        right = (predicted == y.flatten()).float()
        bins = self.sums.shape[1]
        row = (confidence * bins).ceil().long().clamp(1, bins) - 1
        self.sums.index_add_(1, row, torch.stack([torch.ones_like(right), right, confidence]))

    def compute(self) -> Tensor:
        count, right, confidence = self.sums
        return (right - confidence).abs().sum() / count.sum()
