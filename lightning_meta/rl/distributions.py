"""Distributions of continuous actions in [-1, 1], each number of an action by itself."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Normal


class SquashedNormal(Distribution):
    """tanh x of a normal x: the policy of soft actor-critic (Haarnoja et al. 2018, arXiv:1801.01290, appendix C)."""

    def __init__(self, mean: Float[Tensor, "*shape"], std: Float[Tensor, "*shape"]):
        super().__init__(mean.shape, validate_args=False)
        self.normal = Normal(mean, std, validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, Any]:
        return {}

    @property
    def mode(self) -> Float[Tensor, "*shape"]:
        """tanh of the normal's mean: the median, which the agents take for the likeliest action."""
        return self.normal.mean.tanh()

    def icdf(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return self.normal.icdf(value).tanh()

    def log_prob(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        edge = 1 - torch.finfo(value.dtype).eps
        return self.log_prob_of_tanh(value.clamp(-edge, edge).atanh())

    def log_prob_of_tanh(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """log p(tanh x) = log N(x) - log(1 - tanh(x)^2), exact where tanh x rounds to 1 as well."""
        return self.normal.log_prob(x) - 2 * (math.log(2) - x - F.softplus(-2 * x))

    def draw(self, u: Float[Tensor, "*shape"]) -> tuple[Tensor, Tensor]:
        """The actions that numbers u in (0, 1) stand for, with a gradient, and their log probabilities."""
        x = self.normal.icdf(u)
        return x.tanh(), self.log_prob_of_tanh(x)


class ClippedNormal(Distribution):
    """A mean in [-1, 1] and normal noise around it, cut off at both ends: a deterministic policy that explores."""

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
        """Of a density between the ends; at an end, of all that was cut off there."""
        beyond = (value.abs() - value.sign() * self.normal.mean) / self.normal.stddev
        return torch.where(value.abs() < 1, self.normal.log_prob(value), torch.special.log_ndtr(-beyond))
