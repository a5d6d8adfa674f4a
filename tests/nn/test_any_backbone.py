"""Any backbone works unpatched: the meta-gradient through it is that of finite differences, by vmap and by the loop."""

import pytest
import torch
from torch import Tensor, nn

from lightning_meta.core import Episode, Examples
from lightning_meta.learners import MAML
from support.episodes import separable_episode


class Rows(nn.Module):
    """An image's rows as a sequence through `layer`, averaged."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x.squeeze(1))
        return (y[0] if isinstance(y, tuple) else y).mean(1)


def conv(norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), norm, nn.Softplus(), nn.Flatten())


def backbones() -> dict[str, tuple[nn.Module, int]]:
    """Name: backbone [n, 1, 6, 6] -> [n, d], d."""
    attention = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, activation=nn.functional.softplus, batch_first=True)
    return {
        "batch norm": (conv(nn.BatchNorm2d(4)), 16),
        "instance norm": (conv(nn.InstanceNorm2d(4, affine=True)), 16),
        "instance norm, tracking": (conv(nn.InstanceNorm2d(4, affine=True, track_running_stats=True)), 16),
        "layer norm": (nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.LayerNorm(8), nn.Softplus()), 8),
        "group norm": (conv(nn.GroupNorm(2, 4)), 16),
        "RMS norm": (nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.RMSNorm(8), nn.Softplus()), 8),
        "attention": (Rows(attention), 6),
        "GRU": (Rows(nn.GRU(6, 5, batch_first=True)), 5),
        "LSTM": (Rows(nn.LSTM(6, 5, batch_first=True)), 5),
    }


@pytest.fixture
def episode() -> Episode:
    support, query = separable_episode(tasks=2, ways=3, shots=2, queries=2, shape=(1, 6, 6))
    return Episode(Examples(support.x.double(), support.y), Examples(query.x.double(), query.y))


@pytest.mark.parametrize("vectorize", ["auto", "vmap", "loop"])
@pytest.mark.parametrize("name", backbones())
def test_the_meta_gradient_is_that_of_finite_differences(name: str, vectorize: str, episode: Episode) -> None:
    backbone, features = backbones()[name]
    learner = MAML(backbone, 3, 0.3, 2, features=features, vectorize=vectorize).double()  # type: ignore[arg-type]
    if vectorize == "vmap" and name in ("GRU", "LSTM"):  # which vmap cannot lift: auto does not try
        with pytest.raises((RuntimeError, IndexError, ValueError)):
            learner.loss(episode)
        return
    theta = [w for w in learner.parameters() if w.requires_grad]
    gradient = torch.autograd.grad(learner.loss(episode).loss, theta)
    direction, start, step = [torch.randn_like(w) for w in theta], [w.detach().clone() for w in theta], 1e-6
    ends = []
    for sign in (+1, -1):
        for w, at, d in zip(theta, start, direction, strict=True):
            w.data = at + sign * step * d
        with torch.no_grad():
            ends.append(float(learner.loss(episode).loss))
    slope = (ends[0] - ends[1]) / (2 * step)
    along = sum(float((g * d).sum()) for g, d in zip(gradient, direction, strict=True))
    assert along == pytest.approx(slope, rel=1e-5, abs=1e-6)


def test_frozen_weights_are_not_adapted(episode: Episode) -> None:
    backbone = conv(nn.GroupNorm(2, 4))
    backbone[0].requires_grad_(False)
    learner = MAML(backbone, 3, features=16).double()
    adapted = set(learner.adapt(episode.support).weights)
    assert adapted == {"backbone.1.weight", "backbone.1.bias", "head.weight", "head.bias"}
    learner.loss(episode).loss.backward()
    assert backbone[0].weight.grad is None
