"""Prototypical Networks.

Jake Snell, Kevin Swersky and Richard Zemel. Prototypical Networks for Few-shot Learning. NeurIPS 2017, arXiv:1703.05175.
"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from lightning_meta.core import Examples, FewShotLearner, InputError, Predictor
from lightning_meta.learners.embedding import membership, squared_distance
from lightning_meta.nn.embed import check_backbone, embed

Distance = Literal["euclidean", "cosine"]


class ProtoNet(FewShotLearner):
    """theta: an embedding network. phi: one prototype a class, the mean of its embedded support examples (eq. 1).

    A query's logits are its negative squared Euclidean distances to the prototypes (eq. 2), or its cosine similarities
    to them times `temperature`. Any number of ways and shots, in training and at test. Batch norm uses its running
    statistics in evaluation mode, so predictions are inductive. (In training, support and queries are each normalised
    by their own statistics; the paper's code normalises them together.)
    """

    def __init__(self, backbone: nn.Module, distance: Distance = "euclidean", temperature: float = 10.0):
        super().__init__()
        if distance not in ("euclidean", "cosine"):
            raise InputError(f"distance is {distance!r}; choose euclidean or cosine")
        if temperature <= 0:
            raise InputError(f"temperature is {temperature}; it must be positive")
        check_backbone(backbone)
        self.backbone, self.distance, self.temperature = backbone, distance, temperature

    def adapt(self, support: Examples) -> "Prototypes":
        member, z = membership(support, "ProtoNet"), embed(self.backbone, support.x)
        return Prototypes(self, member.to(z.dtype) @ z / member.sum(-1, keepdim=True))


@dataclass(frozen=True, eq=False)
class Prototypes(Predictor):
    """phi of a ProtoNet: `centres` [tasks, ways, d] in the embedding of `learner`."""

    learner: ProtoNet
    centres: Float[Tensor, "tasks ways d"]

    def __call__(self, x: Shaped[Tensor, "tasks n *shape"]) -> Float[Tensor, "tasks n ways"]:
        z = embed(self.learner.backbone, x)
        if self.learner.distance == "cosine":
            return self.learner.temperature * F.normalize(z, dim=-1) @ F.normalize(self.centres, dim=-1).mT
        return -squared_distance(z, self.centres)
