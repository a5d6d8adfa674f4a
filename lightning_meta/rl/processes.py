"""Means over the processes that train together. Inner loops and conjugate gradients go past DDP's hooks, so they ask here."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch import distributed as dist


def mean_over_processes(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The mean of x over all processes, each of which must ask for it; x itself where there is one."""
    if alone():
        return x
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def standardised(x: Float[Tensor, "*shape"], valid: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """x with mean 0 and variance 1 where it is valid (1, not 0), over all processes."""
    count, total, square = mean_over_processes(torch.stack([valid.sum(), (x * valid).sum(), (x * x * valid).sum()]))
    mean = total / count
    return (x - mean) / ((square / count - mean.square()).clamp(min=0).sqrt() + 1e-8) * valid


def from_all_processes(x: Shaped[Tensor, "n *shape"]) -> Shaped[Tensor, "all *shape"]:
    """The x of every process, of one shape, one after another along the first axis; x itself where there is one."""
    if alone():
        return x
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def alone() -> bool:
    """Whether this process trains by itself."""
    return not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1
