"""Augmentation per class: new classes for training, made of those that there are by a change of all their images."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_meta.core import InputError


class ClassAugmentation(ABC):
    """A rule that makes new classes of every class, by the same change of all its images.

    To add your own, write the methods; its arguments are its configuration.
    """

    @property
    @abstractmethod
    def versions(self) -> int:
        """The number of classes that each class becomes, itself included."""

    @abstractmethod
    def change(self, images: NDArray[Any], version: int) -> NDArray[Any]:
        """Return images [..., channels, size, size] as the class number `version` of 1 to `versions` - 1 has them."""

    @abstractmethod
    def name(self, version: int) -> str:
        """Return what distinguishes class number `version`, such as `turned by 90`, for the names of classes."""


class RotateClasses(ClassAugmentation):
    """Rotations of a class as new classes, as in the usual protocol of Omniglot (Santoro et al. 2016; Vinyals et al. 2016).

    Args:
        degrees: Rotations that make new classes, counter-clockwise: some of 90, 180 and 270.
    """

    def __init__(self, degrees: Sequence[int] = (90, 180, 270)):
        if not degrees or len(set(degrees)) < len(degrees) or not set(degrees) <= {90, 180, 270}:
            raise InputError(f"degrees is {list(degrees)}: give different ones of 90, 180 and 270")
        self.degrees = list(degrees)

    @property
    def versions(self) -> int:
        return 1 + len(self.degrees)

    def change(self, images: NDArray[Any], version: int) -> NDArray[Any]:
        return np.rot90(images, self.degrees[version - 1] // 90, axes=(-2, -1))

    def name(self, version: int) -> str:
        return f"turned by {self.degrees[version - 1]}"


class Versions:
    """The classes of a set and those made of them, by number: class `record` in version v is record + v * classes.

    Args:
        classes: The number of classes of the set.
        augmentation: The rule that makes new classes; None for none.
    """

    def __init__(self, classes: int, augmentation: ClassAugmentation | None):
        self.classes, self.augmentation = classes, augmentation
        self.count = augmentation.versions if augmentation else 1

    def of(self, records: NDArray[np.integer]) -> NDArray[np.integer]:
        """Return the numbers of some classes of the set and of all that are made of them, version by version."""
        return np.concatenate([records + v * self.classes for v in range(self.count)]) if self.count > 1 else records

    def record(self, number: int) -> int:
        """Return the class of the set that a class is made of."""
        return number % self.classes

    def records(self, numbers: NDArray[np.integer]) -> NDArray[np.integer]:
        """Return the classes of the set that some classes are made of."""
        return numbers % self.classes if self.count > 1 else numbers

    def change(self, number: int, images: Sequence[NDArray[Any]]) -> None:
        """Change images of a class of the set, each in place, to those of class `number`."""
        if self.augmentation and (version := number // self.classes):
            for image in images:
                image[...] = self.augmentation.change(image, version).copy()

    def named(self, number: int, name: str) -> str:
        """Return the name of class `number`, for that of its class of the set."""
        version = number // self.classes
        return f"{name}, {self.augmentation.name(version)}" if self.augmentation and version else name
