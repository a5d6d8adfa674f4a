"""Prototypical Networks.

Jake Snell, Kevin Swersky and Richard Zemel. Prototypical Networks for Few-shot Learning. NeurIPS 2017, arXiv:1703.05175.
"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core import Examples, InputError, Predictor
from lightning_meta.learners._embedding import EmbeddingLearner, membership, squared_distance

Distance = Literal["euclidean", "cosine"]


class ProtoNet(EmbeddingLearner):
    """Prototypical Networks, which classify a query by the nearest class mean.

    theta: an embedding network. phi: one prototype per class, the mean of its embedded support examples (eq. 1).

    A query's logits are its negative squared Euclidean distances to the prototypes (eq. 2), or its cosine similarities
    to them times `temperature`. Tasks may have any number of ways and shots, in training and at test. In training, batch
    norm sees the support and query images of a task together, as in the paper's code; in evaluation mode it uses its running
    statistics, so predictions are inductive.

    Args:
        backbone: Any module from [n, *shape] to features [n, d].
        distance: Distance of a query to a prototype, euclidean (squared) or cosine.
        temperature: Factor of the cosine similarities.
    """

    regression = False

    def __init__(self, backbone: nn.Module, distance: Distance = "euclidean", temperature: float = 10.0):
        super().__init__(backbone)
        if distance not in ("euclidean", "cosine"):
            raise InputError(f"distance is {distance!r}; choose euclidean or cosine")
        if temperature <= 0:
            raise InputError(f"temperature is {temperature}; it must be positive")
        self.distance, self.temperature = distance, temperature

    def condition(self, support: Examples) -> "Prototypes":
        member = membership(support, "ProtoNet")
        return Prototypes(self, member.to(support.x.dtype) @ support.x / member.sum(-1, keepdim=True))


@dataclass(frozen=True, eq=False)
class Prototypes(Predictor):
    """phi of a ProtoNet: `centres` [tasks, ways, d], among embedded queries."""

    learner: ProtoNet
    centres: Float[Tensor, "tasks ways d"]

    def __call__(self, x: Float[Tensor, "tasks n d"]) -> Float[Tensor, "tasks n ways"]:
        if self.learner.distance == "cosine":
            return self.learner.temperature * F.normalize(x, dim=-1) @ F.normalize(self.centres, dim=-1).mT
        return -squared_distance(x, self.centres)
