"""A learner of one's own: nearest class means whose metric is learned per feature.   python new_learner.py"""

from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn

from datamodules import Episodes, Key, Tasks
from lightning_meta.core import Episode, Examples, Predictor
from lightning_meta.learners._embedding import EmbeddingLearner, membership
from lightning_meta.training import MetaTraining


class WeightedMeans(EmbeddingLearner):
    """The nearest class mean by a weighted squared distance.

    theta: an embedding network and a weight per feature. phi: one mean per class.

    Args:
        backbone: Any module from [n, *shape] to features [n, d].
        features: Width d of the features.
    """

    regression = False

    def __init__(self, backbone: nn.Module, features: int):
        super().__init__(backbone)
        self.log_weight = nn.Parameter(torch.zeros(features))

    def condition(self, support: Examples) -> "Means":
        member = membership(support, "WeightedMeans")
        means = member.to(support.x.dtype) @ support.x / member.sum(-1, keepdim=True)
        return Means(means, self.log_weight.exp())


@dataclass(frozen=True, eq=False)
class Means(Predictor):
    """phi of WeightedMeans."""

    means: Float[Tensor, "tasks ways d"]
    weight: Float[Tensor, " d"]

    def __call__(self, x: Float[Tensor, "tasks n d"]) -> Float[Tensor, "tasks n ways"]:
        return -((x.unsqueeze(2) - self.means.unsqueeze(1)).square() * self.weight).sum(-1)


class Clusters(Tasks):
    """Classes are points in 8 dimensions, of which only the first two differ between classes."""

    def draw(self, key: Key, ways: int, shots: int, queries: int) -> Episode:
        rng = key.rng()
        centres = rng.normal(size=(ways, 1, 8)) * ([1] * 2 + [0] * 6)
        x = torch.from_numpy(centres + 0.3 * rng.normal(size=(ways, shots + queries, 8))).float()
        y = torch.arange(ways).unsqueeze(1).expand(-1, shots + queries)
        return Episode(examples(x[:, :shots], y[:, :shots]), examples(x[:, shots:], y[:, shots:]))


def examples(x: Float[Tensor, "ways n 8"], y: Tensor) -> Examples:
    """Return the examples of one task, with a tasks axis of length 1."""
    return Examples(x.flatten(0, 1).unsqueeze(0), y.flatten().unsqueeze(0))


def main(epochs: int = 3, batches: int = 100) -> float:
    """Meta-train, and return the mean weight of the features that matter, relative to that of all."""
    learner = WeightedMeans(nn.Identity(), features=8)
    data = Episodes(Clusters(), ways=5, shots=2, queries=5, epoch_batches=batches, val_episodes=50)
    trainer = pl.Trainer(max_epochs=epochs, inference_mode=False)
    trainer.fit(
        MetaTraining(learner, optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.02)), datamodule=data
    )
    weight = learner.log_weight.detach().exp()
    print(f"learned weights of the features: {weight.tolist()}")
    return (weight[:2].mean() / weight.mean()).item()


if __name__ == "__main__":
    main()
