"""Gradient learners on a smooth backbone, for finite differences."""

import pytest
from torch import Tensor, nn

from lightning_meta.core import Episode
from lightning_meta.learners import MAML
from lightning_meta.learners._gradient import GradientLearner

EVERY_STATISTICS = pytest.mark.parametrize("batch_stats", ["running", "support", "transductive"])


def smooth_backbone() -> nn.Module:
    """[n, 1, 6, 6] -> [n, 12], with batch norm, twice differentiable everywhere."""
    net = nn.Sequential(nn.Conv2d(1, 3, 3, stride=2), nn.BatchNorm2d(3), nn.Softplus(), nn.Flatten())
    for parameter_or_buffer in (net[1].weight, net[1].bias, net[1].running_mean):
        nn.init.normal_(parameter_or_buffer)
    nn.init.uniform_(net[1].running_var, 0.5, 2)
    return net


def maml(kind: type = MAML, **options: object) -> GradientLearner:
    return kind(**{"backbone": smooth_backbone(), "outputs": 3, "features": 12, "inner_lr": 0.3, **options}).double()


def predict_support(learner: GradientLearner, episode: Episode) -> Tensor:
    return learner.adapt(episode.support)(episode.query.x)
