"""Samples from posteriors as pure functions of seeds, so that they are the same for a task alone and in any batch.

George Marsaglia and Wai Wan Tsang. A Simple Method for Generating Gamma Variables. ACM Transactions on Mathematical Software
26(3), 2000.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightning_meta.core import uniform
from lightning_meta.core.noise import GOLDEN


def sample_normal(seeds: Int[Tensor, " tasks"], purpose: str, *shape: int) -> Float[Tensor, "tasks *shape"]:
    """Sample from N(0, 1)."""
    return torch.special.ndtri(uniform(seeds, purpose, *shape))


def sample_beta(
    a: Float[Tensor, "tasks *shape"], b: Float[Tensor, "tasks *shape"], seeds: Int[Tensor, " tasks"], purpose: str
) -> Float[Tensor, "tasks *shape"]:
    """Sample from Beta(a, b), both 1 or more."""
    first, second = sample_gamma(torch.stack([a, b], -1), seeds, purpose).unbind(-1)
    return first / (first + second)


def sample_dirichlet(
    weights: Float[Tensor, "tasks *shape k"], seeds: Int[Tensor, " tasks"], purpose: str
) -> Float[Tensor, "tasks *shape k"]:
    """Sample from Dirichlet(weights), all 1 or more: probabilities that sum to 1 along the last axis."""
    parts = sample_gamma(weights, seeds, purpose)
    return parts / parts.sum(-1, keepdim=True)


def sample_gamma(
    shape: Float[Tensor, "tasks *shape"], seeds: Int[Tensor, " tasks"], purpose: str
) -> Float[Tensor, "tasks *shape"]:
    """Sample from Gamma(shape, 1), shape 1 or more.

    A sample is the first of its proposals that is accepted. More than 95 in 100 are, and each place whose proposal is
    rejected continues with random numbers of its own.
    """
    degree = shape.flatten(1) - 1 / 3
    value, accepted = propose(degree, uniform(seeds, purpose, degree.shape[1], 2))
    task, place = (~accepted).nonzero(as_tuple=True)
    seeds, attempt = seeds[task] + GOLDEN * (place + 1), 1
    while len(task):
        proposal, accepted = propose(degree[task, place], uniform(seeds, f"{purpose}/{attempt}", 2))
        value[task, place] = proposal
        task, place, seeds, attempt = task[~accepted], place[~accepted], seeds[~accepted], attempt + 1
    return value.reshape(shape.shape)


def propose(degree: Float[Tensor, "*n"], u: Float[Tensor, "*n 2"]) -> tuple[Float[Tensor, "*n"], Bool[Tensor, "*n"]]:
    """Return proposals from two uniform numbers each, and whether they are accepted (section 2; degree is its d)."""
    x = torch.special.ndtri(u[..., 0])
    v = (1 + x / (9 * degree).sqrt()) ** 3
    bound = x.square() / 2 + degree * (1 - v + v.log())  # NaN where v is not above 0, which then is not accepted
    return degree * v, u[..., 1].log() < bound
