"""Means over the processes that train together, and errors that end all of them. Inner loops and conjugate gradients go past
DDP's hooks, so they ask here."""

from typing import NoReturn

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch import distributed as dist

from lightning_meta.core import InputError


class SharedError(InputError):
    """An error of one process that all processes of the run raise together, so that none waits for another."""


def mean_over_processes(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The mean of x over all processes, each of which must ask for it; x itself where there is one.

    Raises SharedError where a process has met an error in the place of asking (`share_error`).
    """
    if alone():
        return x
    share_error(None, x.device)
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def share_error(error: InputError | None, device: torch.device) -> None:
    """Each process asks, with its error or with None: if any has one, all raise that of the first."""
    if isinstance(error, SharedError) or (error and alone()):
        raise error
    if alone():
        return
    failed = torch.tensor(int(error is not None), device=device)
    dist.all_reduce(failed, op=dist.ReduceOp.MAX)
    if failed:
        said: list[str | None] = [None] * dist.get_world_size()
        dist.all_gather_object(said, error and str(error))
        raise SharedError(next(filter(None, said))) from error


def raise_in_all(error: InputError, device: torch.device) -> NoReturn:
    """Raise an error that the other processes meet at the same time, or at their next mean over processes."""
    share_error(error, device)
    raise error


def standardised(x: Float[Tensor, "*shape"], valid: Float[Tensor, "*shape"], least: float) -> Float[Tensor, "*shape"]:
    """x with mean 0 and variance 1 where it is valid (1, not 0), over all processes. A standard deviation below `least` is
    taken for that: what varies so little is noise, which is not to be magnified."""
    count, total, square = mean_over_processes(torch.stack([valid.sum(), (x * valid).sum(), (x * x * valid).sum()]))
    mean = total / count
    return (x - mean) / (square / count - mean.square()).clamp(min=least**2).sqrt() * valid


def from_all_processes(x: Shaped[Tensor, "n *shape"]) -> Shaped[Tensor, "all *shape"]:
    """The x of every process, of one shape, one after another along the first axis; x itself where there is one."""
    if alone():
        return x
    share_error(None, x.device)
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def alone() -> bool:
    """Whether this process trains by itself."""
    return not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1
