"""What is believed of a task's hidden z: a product of Gaussians, one for each step that was seen of the task."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Belief(NamedTuple):
    """N(mean, variance) of z as what multiplies by adding: precision, 1 / variance, and precision * mean, each
    [tasks, latents]. Where nothing was seen both are 0, which stands for N(0, 1)."""

    precision: Float[Tensor, "tasks latents"]
    weighted: Float[Tensor, "tasks latents"]

    def mean(self) -> Float[Tensor, "tasks latents"]:
        return self.weighted * self.variance()

    def variance(self) -> Float[Tensor, "tasks latents"]:
        return 1 / self.precision.where(self.precision > 0, 1)

    def draw(self, u: Float[Tensor, "tasks latents"]) -> Float[Tensor, "tasks latents"]:
        """The z that numbers u in (0, 1) stand for: mean + standard deviation * normal noise."""
        return self.mean() + self.variance().sqrt() * torch.special.ndtri(u)

    def times(
        self,
        mean: Float[Tensor, "tasks n latents"],
        variance: Float[Tensor, "tasks n latents"],
        valid: Bool[Tensor, "tasks n"],
    ) -> "Belief":
        """prod_n N(mean_n, variance_n), of the valid ones, with what was believed; their order means nothing."""
        precision = valid.unsqueeze(-1) / variance
        return Belief(self.precision + precision.sum(1), self.weighted + (precision * mean).sum(1))

    def kl(self) -> Float[Tensor, " tasks"]:
        """KL(q || N(0, I)) in nats, (sigma^2 + mu^2 - 1 - log sigma^2) / 2 over latents."""
        mean, variance = self.mean(), self.variance()
        return (variance + mean.square() - 1 - variance.log()).sum(-1) / 2
