"""Synthetic episodes, and the graph behind a loss."""

from typing import Any

import torch
from torch import Tensor

from lightning_meta.core import Episode, Examples


def separable_episode(tasks: int, ways: int, shots: int, queries: int, shape=(1, 28, 28), seed: int = 0) -> Episode:
    """Classes are fixed random patterns, examples of them are noisy copies."""
    g = torch.Generator().manual_seed(seed)
    patterns = torch.rand(tasks, ways, 1, *shape, generator=g)

    def examples(n: int) -> Examples:
        x = patterns + 0.1 * torch.randn(tasks, ways, n, *shape, generator=g)
        return Examples(x.flatten(1, 2), torch.arange(ways).repeat_interleave(n).expand(tasks, -1))

    return Episode(examples(shots), examples(queries))


def unequal_episode(
    shots: list[list[int]], queries: int, shape: tuple[int, ...] = (1, 28, 28), seed: int = 0
) -> Episode:
    """As `separable_episode`, with a number of support examples for each task and class, of equal sums, in mixed order."""
    most = max(map(max, shots))
    (x, y), query = separable_episode(len(shots), len(shots[0]), most, queries, shape, seed)
    g = torch.Generator().manual_seed(seed)
    number = torch.arange(most).repeat(len(shots[0]))
    rows = [(number < torch.tensor(own).repeat_interleave(most)).nonzero().flatten() for own in shots]
    rows = [own[torch.randperm(len(own), generator=g)] for own in rows]
    picked = zip(x, y, rows, strict=True)
    return Episode(Examples(*map(torch.stack, zip(*((a[own], b[own]) for a, b, own in picked), strict=True))), query)


def graph(loss: Tensor) -> set[Any]:
    """The nodes of the autograd graph behind a loss."""
    seen, queue = set(), [loss.grad_fn]
    while queue:
        node = queue.pop()
        if node is not None and node not in seen:
            seen.add(node)
            queue += [parent for parent, _ in node.next_functions]
    return seen
