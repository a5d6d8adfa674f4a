"""The base of the metric and the black-box learners, which see a task through an embedding network."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from lightning_meta.core import (
    Episode,
    Examples,
    FewShotLearner,
    InputError,
    Outcome,
    Predictor,
    check_examples,
    prediction_loss,
)
from lightning_meta.nn.embed import check_backbone, embed

# A `label_dependence` of learners that read labels:
LABELS_ARE_INPUTS = "labels are inputs of the network, each through weights of its own"


class EmbeddingLearner(FewShotLearner):
    """A learner that embeds every example first. To add one, write `condition`.

    theta is the embedding network and what a subclass adds, phi a predictor of embedded examples behind the embedding. In
    training, batch norm sees the support and query images of a task together; in evaluation mode it uses its running
    statistics, if it keeps any, and predictions are inductive.

    Args:
        backbone: Any module from [n, *shape] to features [n, d].
    """

    def __init__(self, backbone: nn.Module):
        super().__init__()
        check_backbone(backbone)
        self.backbone = backbone

    @abstractmethod
    def condition(self, support: Examples) -> Predictor:
        """phi as a function of embedded queries, from an embedded support set, x: [tasks, n, d]."""

    def adapt(self, support: Examples) -> Predictor:
        self.check(support)
        return Embedded(self.backbone, self.condition(Examples(embed(self.backbone, support.x), support.y)))

    def check(self, support: Examples) -> None:
        """Raise InputError where the learner cannot learn from such a support set. Called before anything is embedded."""
        if not self.regression:
            check_classes(support, type(self).__name__)

    def loss(self, episode: Episode) -> Outcome:
        support, query = episode
        self.check(support)
        check_examples(query)
        z = embed(self.backbone, torch.cat([support.x, query.x], dim=1))
        support_z, query_z = z.split([support.x.shape[1], query.x.shape[1]], dim=1)
        return self.embedded_loss(Episode(Examples(support_z, support.y), Examples(query_z, query.y)))

    def embedded_loss(self, episode: Episode) -> Outcome:
        """The meta-objective of an episode whose x is embedded, [tasks, n, d]; by default the query loss."""
        prediction = self.condition(episode.support)(episode.query.x)
        return Outcome(prediction_loss(prediction, episode.query.y), prediction)


@dataclass(frozen=True, eq=False)
class Embedded(Predictor):
    """`head`, a predictor of features, behind the embedding `backbone`."""

    backbone: nn.Module
    head: Predictor

    def __call__(self, x: Shaped[Tensor, "tasks n *shape"]) -> Float[Tensor, "tasks n out"]:
        if not x.shape[1]:
            return self(x.new_zeros(len(x), 1, *x.shape[2:]))[:, :0]
        return self.head(embed(self.backbone, x))


def check_classes(support: Examples, learner: str) -> None:
    """Raise InputError if the targets are not class numbers."""
    if support.y.is_floating_point():
        raise InputError(f"{learner} classifies, but the targets are real numbers: for regression use MAML or CNP")
    check_examples(support)


def membership(support: Examples, learner: str) -> Int[Tensor, "tasks ways n"]:
    """The class of each support example as ones and zeros, for classifiers of any number of ways.

    Returns:
        1 where support example i is of class k, else 0.

    Raises:
        InputError: The targets are real numbers, or a class has no examples.
    """
    check_classes(support, learner)
    member = F.one_hot(support.y.long(), support.ways).mT
    if not member.any(-1).all():
        raise InputError(
            f"a class of 0..{support.ways - 1} has no support example: number the classes of a task from 0"
        )
    return member


def squared_distance(a: Float[Tensor, "tasks q d"], b: Float[Tensor, "tasks n d"]) -> Float[Tensor, "tasks q n"]:
    """Squared Euclidean distances, computed in float32 for inputs of half precision.

    The differences are taken first: expanded into three terms, as cdist would for many rows, the square loses digits far from
    the origin.
    """
    a, b = (part.float() if part.dtype in (torch.bfloat16, torch.float16) else part for part in (a, b))
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()


def label_codes(support: Examples, outputs: int) -> Float[Tensor, "tasks n outputs"]:
    """The form in which a network reads y: one-hot labels, or the regression targets themselves."""
    return support.y if support.y.is_floating_point() else F.one_hot(support.y.long(), outputs).to(support.x.dtype)


def check_outputs(learner: FewShotLearner, support: Examples, outputs: int) -> None:
    """Raise InputError where a learner with inputs or outputs of a fixed width meets a task of another width."""
    check_examples(support)
    regression = support.y.is_floating_point()
    needed = support.y.shape[-1] if regression else support.ways
    if needed != outputs:
        kind = "target dimensions" if regression else "classes"
        other = "" if regression else ", or use a learner of any ways (ProtoNet)"
        raise InputError(
            f"{type(learner).__name__} was built for exactly {outputs} {kind}; this task has {needed}: train one for"
            f" {needed}{other}"
        )
