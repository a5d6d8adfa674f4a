"""Augmentation per image: the interface, and its application to a meta-batch on the device."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from lightning_meta.core import Episode, Examples, InputError, MetaBatch, equal_parts
from lightning_meta.core.noise import uniform

Part = Literal["support", "query", "both"]


class NamedTasks(NamedTuple):
    """A meta-batch on its way to the device, with a number that names each task.

    tasks: the meta-batch.
    names: for each of `equal_parts(tasks)`, int64 [tasks], from which the augmentation of a task follows.
    """

    tasks: MetaBatch
    names: list[Tensor]


class Augmentation(ABC):
    """A random change of single images in training. To add your own, write `change`; its arguments are its configuration.

    Attributes:
        numbers: How many uniform random numbers `change` takes for an image.
        part: Which images of an episode are changed, `support`, `query` or `both`. Those of flat batches are queries.
        probability: Probability that an image is changed.
    """

    numbers: ClassVar[int]

    def __init__(self, part: Part = "both", probability: float = 1.0):
        if part not in ("support", "query", "both"):
            raise InputError(f"part is {part!r}: choose support, query or both")
        check_fraction(probability=probability)
        self.part, self.probability = part, probability

    @abstractmethod
    def change(self, images: Tensor, u: Tensor) -> Tensor:
        """Change images. The result must be a pure function of the arguments: take random numbers from `u`.

        Args:
            images: [n, channels, height, width], floats in 0..1.
            u: Uniform numbers in the open interval (0, 1), float32 [n, numbers], on the device of the images.

        Returns:
            The changed images, of the same shape.
        """

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise InputError if images of this shape, [channels, height, width], cannot be changed so."""

    def __str__(self) -> str:
        """Return the class with its arguments."""
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in vars(self).items())})"


def augment(named: NamedTasks, augmentations: Sequence[Augmentation]) -> MetaBatch:
    """Return a meta-batch with its images changed, in the order of the augmentations.

    The random numbers of an image are a function of the name of its task, of its place in the support or the query set, and of
    the place of the augmentation in the list. So they are the same on every device, in every meta-batch that holds the task,
    and for any number of processes and workers.

    Args:
        named: The meta-batch, of float images in 0..1.
        augmentations: What to do to them.
    """
    parts = zip(equal_parts(named.tasks), named.names, strict=True)
    changed = [_augmented(episode, names, augmentations) for episode, names in parts]
    return changed if isinstance(named.tasks, list) else changed[0]


def check_augmentations(augmentations: Sequence[Augmentation], shape: tuple[int, ...], is_flat: bool) -> None:
    """Raise InputError if training examples of this shape, of flat batches or of episodes, cannot be augmented so."""
    for one in augmentations:
        if len(shape) != 3:
            raise InputError(
                f"augment has {type(one).__name__}, which changes images, but an example of this set is a vector of"
                f" {shape[0]} features: leave augment out, or write features of augmented images"
            )
        if is_flat and one.part == "support":
            raise InputError(
                f"part of {type(one).__name__} is 'support', but a flat batch has no support set: give query or both"
            )
        one.check(shape)


def check_fraction(**values: float) -> None:
    """Raise InputError if one of the named values is not a probability or a part of a whole."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise InputError(f"{name} is {value}: give 0 to 1")


def check_range(name: str, value: Any, least: float, most: float) -> None:
    """Raise InputError if a range is not a pair of rising numbers between `least` and `most`."""
    if len(value) != 2 or not least <= value[0] <= value[1] <= most:
        raise InputError(f"{name} is {list(value)}: give [first, last] between {least:g} and {most:g}")


def between(low: float, high: float, u: Tensor) -> Tensor:
    """Return uniform numbers as numbers between `low` and `high`."""
    return low + (high - low) * u


def _augmented(episode: Episode, names: Tensor, augmentations: Sequence[Augmentation]) -> Episode:
    """Augment tasks of one size."""
    parts = {"support": episode.support, "query": episode.query}
    for place, one in enumerate(augmentations):
        for part, examples in parts.items():
            if one.part in (part, "both") and examples.x.shape[1]:
                parts[part] = _changed(one, examples, names, f"augment/{place}/{part}")
    return Episode(parts["support"], parts["query"])


def _changed(one: Augmentation, examples: Examples, names: Tensor, purpose: str) -> Examples:
    """Change each image with the probability of the augmentation."""
    x = examples.x
    u = uniform(names, purpose, x.shape[1], 1 + one.numbers)
    changed = one.change(x.flatten(0, 1), u[..., 1:].flatten(0, 1)).reshape(x.shape)
    if one.probability < 1:
        is_chosen = u[..., 0].reshape(*x.shape[:2], *[1] * (x.ndim - 2)) < one.probability
        changed = torch.where(is_chosen, changed, x)
    return Examples(changed, examples.y)
