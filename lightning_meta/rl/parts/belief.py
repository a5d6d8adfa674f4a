"""A belief about the hidden z of a task: a product of Gaussian factors, one per observed step."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Belief(NamedTuple):
    """N(mean, variance) of z in natural parameters, so that a product of Gaussians is a sum.

    Without any factor both parameters are 0, which stands for N(0, 1).

    Attributes:
        precision: 1 / variance, [tasks, latents].
        weighted_mean: precision * mean, [tasks, latents].
    """

    precision: Float[Tensor, "tasks latents"]
    weighted_mean: Float[Tensor, "tasks latents"]

    def mean(self) -> Float[Tensor, "tasks latents"]:
        return self.weighted_mean * self.variance()

    def variance(self) -> Float[Tensor, "tasks latents"]:
        return 1 / self.precision.where(self.precision > 0, 1)

    def sample(self, u: Float[Tensor, "tasks latents"]) -> Float[Tensor, "tasks latents"]:
        """Sample z as mean + standard deviation * normal noise, from u uniform in (0, 1)."""
        return self.mean() + self.variance().sqrt() * torch.special.ndtri(u)

    def multiply(
        self,
        mean: Float[Tensor, "tasks n latents"],
        variance: Float[Tensor, "tasks n latents"],
        valid: Bool[Tensor, "tasks n"],
    ) -> "Belief":
        """Return the belief times prod_n N(mean_n, variance_n) over the valid factors, in any order."""
        precision = valid.unsqueeze(-1) / variance
        return Belief(self.precision + precision.sum(1), self.weighted_mean + (precision * mean).sum(1))

    def kl(self) -> Float[Tensor, " tasks"]:
        """Return KL(q || N(0, I)) in nats, (sigma^2 + mu^2 - 1 - log sigma^2) / 2 summed over latents."""
        mean, variance = self.mean(), self.variance()
        return (variance + mean.square() - 1 - variance.log()).sum(-1) / 2
