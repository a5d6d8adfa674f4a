"""A meta-batch: tasks of one size as one episode, or tasks of several sizes as a list, and the loss over them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_meta.core.few_shot import Episode, Examples, FewShotLearner, Outcome

MetaBatch = Episode | list[Episode]  # a list has one episode for each size, whose tasks run as one tensor


def equal_parts(batch: MetaBatch) -> list[Episode]:
    """Return a meta-batch as episodes, the tasks of each of which are of one size."""
    return batch if isinstance(batch, list) else [batch]


def count_tasks(batch: MetaBatch) -> int:
    """Return the number of tasks in a meta-batch."""
    return sum(len(part.query.y) for part in equal_parts(batch))


def join_tasks(episodes: Sequence[Episode]) -> MetaBatch:
    """Join episodes along the tasks axis: to one, or to a list of one for each size where they differ in size.

    The sizes come in the order of their first task, and the tasks of a size in theirs.
    """
    groups: dict[Any, list[Episode]] = {}
    for episode in episodes:
        groups.setdefault(size_of(episode), []).append(episode)
    joined = [Episode(*(_join(part) for part in zip(*group, strict=True))) for group in groups.values()]
    return joined[0] if len(joined) == 1 else joined


def size_of(episode: Episode) -> tuple[Any, ...]:
    """Return what tasks must have in common to run as one tensor: ways, and the shapes of a task's tensors.

    Their classes may have different numbers of support examples, as long as the sums are equal.
    """
    shapes = tuple(tensor.shape[1:] for part in episode for tensor in part)
    classes = not (episode.is_flat or episode.support.y.is_floating_point())
    return (episode.support.ways if classes else None, *shapes)


def one_of_each_size(episodes: Sequence[Episode]) -> list[Episode]:
    """Return the first episode of each size."""
    first: dict[Any, Episode] = {}
    for episode in episodes:
        first.setdefault(size_of(episode), episode)
    return list(first.values())


def mean_loss(learner: FewShotLearner, batch: MetaBatch) -> tuple[Tensor, list[Outcome]]:
    """The meta-objective over the tasks of a meta-batch, in which every task weighs the same, whatever its size.

    Its gradient is the mean of the gradients of the tasks one by one. Every part starts from the same buffers (running
    statistics, counts), which become the mean over tasks of what they would be after each, as they do within a part.

    The sum is formed first and differentiated as one, so that the graphs of all parts are in memory together, as those of
    the tasks of one tensor are.

    Returns:
        The loss, and the outcome of each of `equal_parts`.
    """
    parts, tasks = equal_parts(batch), count_tasks(batch)
    if len(parts) == 1:
        outcome = learner.loss(parts[0])
        return outcome.loss, [outcome]
    start = {name: buffer.clone() for name, buffer in learner.named_buffers()}
    moved = {name: torch.zeros_like(buffer) for name, buffer in start.items()}
    outcomes = []
    for part in parts:
        _set_buffers(learner, start)
        outcomes.append(learner.loss(part))
        for name, buffer in learner.named_buffers():
            if buffer.is_floating_point():
                moved[name] += buffer.detach() * (len(part.query.y) / tasks)
            else:
                moved[name] = buffer.clone()  # a count, which every part moves alike
    _set_buffers(learner, moved)
    shares = [len(part.query.y) / tasks for part in parts]
    return torch.stack([share * one.loss for share, one in zip(shares, outcomes, strict=True)]).sum(), outcomes


def _set_buffers(learner: FewShotLearner, values: dict[str, Tensor]) -> None:
    """Set buffers without a note to autograd: a graph that holds one holds a clone."""
    for name, buffer in learner.named_buffers():
        buffer.data.copy_(values[name])


def _join(examples: Sequence[Examples]) -> Examples:
    """Join examples along the tasks axis."""
    return Examples(torch.cat([e.x for e in examples]), torch.cat([e.y for e in examples]))
