"""Means over the processes that train together, and errors that end all of them.

Inner loops, conjugate gradients and running statistics bypass the hooks of DDP, so they average over processes themselves
with these functions, as torch.nn.SyncBatchNorm does. With only one process
every function returns its argument unchanged.
"""

from collections.abc import Iterable
from typing import NoReturn, TypeVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch import distributed as dist

from lightning_meta.core.errors import InputError

Value = TypeVar("Value")


class SharedError(InputError):
    """An error of one process that all processes of a run raise together, so that none waits for another."""


def mean_over_processes(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the mean of x over all processes, each of which must call this function.

    Raises:
        SharedError: if a process called `share_error` with an error instead.
    """
    if is_single_process():
        return x
    share_error(None, x.device)
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def share_error(error: InputError | None, device: torch.device) -> None:
    """Raise the first error of any process in all of them. Each process calls this with its error or None."""
    if isinstance(error, SharedError) or (error and is_single_process()):
        raise error
    if is_single_process():
        return
    failed = torch.tensor(int(error is not None), device=device)
    dist.all_reduce(failed, op=dist.ReduceOp.MAX)
    if failed:
        messages: list[str | None] = [None] * dist.get_world_size()
        dist.all_gather_object(messages, error and str(error))
        raise SharedError(next(filter(None, messages))) from error


def raise_in_all(error: InputError, device: torch.device) -> NoReturn:
    """Raise an error here and in the other processes, at the same call or at their next mean over processes."""
    share_error(error, device)
    raise error


def gather_from_processes(x: Shaped[Tensor, "n *shape"]) -> Shaped[Tensor, "all *shape"]:
    """Concatenate the x of every process, which all have the same shape, along the first axis."""
    if is_single_process():
        return x
    share_error(None, x.device)
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def union_over_processes(values: Iterable[Value]) -> list[Value]:
    """Return the values of all processes, each once and in the same order everywhere. Every process calls this function."""
    own = list(dict.fromkeys(values))
    if is_single_process():
        return own
    lists: list[list[Value] | None] = [None] * dist.get_world_size()
    dist.all_gather_object(lists, own)
    return list(dict.fromkeys(value for values in lists for value in values or ()))


def is_single_process() -> bool:
    """Return whether this process trains by itself."""
    return not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1
