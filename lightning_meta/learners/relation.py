"""Relation Networks.

Flood Sung, Yongxin Yang, Li Zhang, Tao Xiang, Philip H. S. Torr and Timothy M. Hospedales. Learning to Compare: Relation
Network for Few-Shot Learning. CVPR 2018, arXiv:1711.06025.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core import Episode, Examples, InputError, Outcome, Predictor
from lightning_meta.learners._embedding import EmbeddingLearner, membership
from lightning_meta.nn.embed import feature_width


class RelationNet(EmbeddingLearner):
    """Relation Networks, whose metric between a query and a class is a network.

    theta: an embedding network f and a relation network g. phi: one embedding per class, the sum of its embedded support
    examples.

    A query's relation score to a class is r = g([class, f(x)]), a learned metric (eq. 1). Scores are trained towards 1 for
    the true class and 0 for the others by squared error (eq. 2). Logits are g before its sigmoid. Tasks may have any number
    of ways and shots; of unequal shots, the sum of a class with more examples is larger, as by the paper's definition. The
    paper's g begins with convolutions over feature maps; here, where any backbone gives a vector, it
    consists of their two fully connected layers, `hidden` wide.

    Args:
        backbone: Any module from [n, *shape] to features [n, d].
        hidden: Units of the relation network's hidden layer.
        features: Width d of the features, where the backbone has no `out_features` that says it.
    """

    regression = False

    def __init__(self, backbone: nn.Module, hidden: int = 64, features: int | None = None):
        super().__init__(backbone)
        if hidden < 1:
            raise InputError(f"hidden is {hidden}; the relation network needs 1 unit or more")
        d = feature_width(backbone, features)
        self.g = nn.Sequential(nn.Linear(2 * d, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def condition(self, support: Examples) -> "Relations":
        return Relations(self, membership(support, "RelationNet").to(support.x.dtype) @ support.x)

    def embedded_loss(self, episode: Episode) -> Outcome:
        logits = self.condition(episode.support)(episode.query.x)
        target = F.one_hot(episode.query.y.long(), logits.shape[-1]).to(logits.dtype)
        return Outcome(F.mse_loss(logits.sigmoid(), target), logits)


@dataclass(frozen=True, eq=False)
class Relations(Predictor):
    """phi of a RelationNet: `classes` [tasks, ways, d]."""

    learner: RelationNet
    classes: Float[Tensor, "tasks ways d"]

    def __call__(self, x: Float[Tensor, "tasks n d"]) -> Float[Tensor, "tasks n ways"]:
        n, ways = x.shape[1], self.classes.shape[1]
        pairs = [self.classes.unsqueeze(1).expand(-1, n, -1, -1), x.unsqueeze(2).expand(-1, -1, ways, -1)]
        return self.learner.g(torch.cat(pairs, -1)).squeeze(-1)
