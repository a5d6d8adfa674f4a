"""Distributions of continuous actions in [-1, 1], with the numbers of an action independent of each other."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Normal


class SquashedNormal(Distribution):
    """The distribution of tanh x for a normal x: the policy of soft actor-critic.

    Haarnoja et al. 2018, arXiv:1801.01290, appendix C.

    Args:
        mean: The mean of x.
        std: The standard deviation of x.
    """

    def __init__(self, mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"]):
        super().__init__(mean.shape, validate_args=False)
        self.normal = Normal(mean, std, validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, Any]:
        return {}

    @property
    def mode(self) -> Float[Tensor, "*shape"]:
        """tanh of the normal mean. This is the median, which agents use as the most likely action."""
        return self.normal.mean.tanh()

    def icdf(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return self.normal.icdf(value).tanh()

    def log_prob(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        edge = 1 - torch.finfo(value.dtype).eps
        return self.log_prob_of_tanh(value.clamp(-edge, edge).atanh())

    def log_prob_of_tanh(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return log p(tanh x) = log N(x) - log(1 - tanh(x)^2), which is exact even if tanh x rounds to 1."""
        return self.normal.log_prob(x) - 2 * (math.log(2) - x - F.softplus(-2 * x))

    def rsample_from(self, u: Float[Tensor, "*shape"]) -> tuple[Tensor, Tensor]:
        """Return differentiable samples, computed from u uniform in (0, 1), and their log probabilities."""
        x = self.normal.icdf(u)
        return x.tanh(), self.log_prob_of_tanh(x)


class ClippedNormal(Distribution):
    """Normal noise around a mean in [-1, 1], clipped to that interval: exploration of a deterministic policy.

    Args:
        mean: The action of the deterministic policy.
        std: The standard deviation of the noise.
    """

    def __init__(self, mean: Float[Tensor, "*shape"], std: float):
        super().__init__(mean.shape, validate_args=False)
        self.normal = Normal(mean, std, validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, Any]:
        return {}

    @property
    def mode(self) -> Float[Tensor, "*shape"]:
        return self.normal.mean

    def icdf(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return self.normal.icdf(value).clamp(-1, 1)

    def log_prob(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the log density inside the interval and, at an end, the log probability of everything clipped to it."""
        beyond = (value.abs() - value.sign() * self.normal.mean) / self.normal.stddev
        return torch.where(value.abs() < 1, self.normal.log_prob(value), torch.special.log_ndtr(-beyond))
