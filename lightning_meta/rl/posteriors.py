"""Draws from the posteriors that a strategy keeps of a task, as pure functions of seeds: the same alone and in any batch.

George Marsaglia and Wai Wan Tsang. A Simple Method for Generating Gamma Variables. ACM Transactions on Mathematical Software
26(3), 2000.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightning_meta.core import uniform
from lightning_meta.core.noise import GOLDEN


def normal(seeds: Int[Tensor, " tasks"], purpose: str, *shape: int) -> Float[Tensor, "tasks *shape"]:
    """Standard normal numbers."""
    return torch.special.ndtri(uniform(seeds, purpose, *shape))


def beta(
    a: Float[Tensor, "tasks *shape"], b: Float[Tensor, "tasks *shape"], seeds: Int[Tensor, " tasks"], purpose: str
) -> Float[Tensor, "tasks *shape"]:
    """Of Beta(a, b), both 1 or more."""
    first, second = gamma(torch.stack([a, b], -1), seeds, purpose).unbind(-1)
    return first / (first + second)


def dirichlet(
    weights: Float[Tensor, "tasks *shape k"], seeds: Int[Tensor, " tasks"], purpose: str
) -> Float[Tensor, "tasks *shape k"]:
    """Of Dirichlet(weights), all 1 or more: odds that sum to 1 along the last axis."""
    parts = gamma(weights, seeds, purpose)
    return parts / parts.sum(-1, keepdim=True)


def gamma(
    shape: Float[Tensor, "tasks *shape"], seeds: Int[Tensor, " tasks"], purpose: str
) -> Float[Tensor, "tasks *shape"]:
    """Of Gamma(shape, 1), shape 1 or more. A number is the first of its proposals that is accepted: more than 95 in 100 are,
    and each place that has none yet goes on with random numbers of its own."""
    degree = shape.flatten(1) - 1 / 3
    value, accepted = proposed(degree, uniform(seeds, purpose, degree.shape[1], 2))
    task, place = (~accepted).nonzero(as_tuple=True)
    seeds, attempt = seeds[task] + GOLDEN * (place + 1), 1
    while len(task):
        found, accepted = proposed(degree[task, place], uniform(seeds, f"{purpose}/{attempt}", 2))
        value[task, place] = found
        task, place, seeds, attempt = task[~accepted], place[~accepted], seeds[~accepted], attempt + 1
    return value.reshape(shape.shape)


def proposed(degree: Float[Tensor, "*n"], u: Float[Tensor, "*n 2"]) -> tuple[Float[Tensor, "*n"], Bool[Tensor, "*n"]]:
    """What two uniform numbers propose, and whether it is accepted: section 2 of the paper; degree is its d."""
    x = torch.special.ndtri(u[..., 0])
    v = (1 + x / (9 * degree).sqrt()) ** 3
    bound = x.square() / 2 + degree * (1 - v + v.log())  # not a number where v is not above 0, and then not accepted
    return degree * v, u[..., 1].log() < bound
