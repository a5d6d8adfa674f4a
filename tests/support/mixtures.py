"""Two small sets of images that tell the set, the class and the number of each image."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from datamodules.reading.image_source import ImageSource
from datamodules.reading.preprocess import Preprocess
from datamodules.writing.shards import ClassImages, write_shards
from lightning_meta.core import Episode, MetaBatch, equal_parts

SPLITS = {"train": 12, "val": 6, "test": 8}  # classes of the first set; of the second, as many less one


def write_numbered(folder: Path, number: int, size: int = 6) -> Path:
    """Write set number `number`, whose classes have 10 images. Pixels: the set, the class in the split, the image."""

    def classes() -> Iterator[ClassImages]:
        for split, count in SPLITS.items():
            for i in range(count - number):
                images = np.full((10, 1, size, size), 40 * number, np.uint8)
                images[:, 0, 0, 0], images[:, 0, 0, 1], images[:, 0, 0, 2] = number, i, np.arange(10)
                yield ClassImages(f"{split}{i}", split, images, group=f"group {i % 2}")

    out = folder / f"numbered{number}"
    write_shards(out, out.name, Preprocess(size, 1), classes())
    return out


def sources(*roots: Path, weights: tuple[float, ...] = (2, 1)) -> dict[str, ImageSource]:
    """The sources a, b, ... of these sets."""
    return {name: ImageSource(str(root), weight) for name, root, weight in zip("abc", roots, weights, strict=False)}


def tasks_of(batch: MetaBatch) -> list[Episode]:
    """The tasks of a meta-batch one by one, those of one size after another."""
    return [
        Episode(*(type(half)(half.x[i : i + 1], half.y[i : i + 1]) for half in part))
        for part in equal_parts(batch)
        for i in range(len(part.query.y))
    ]


def contents(batches: list[MetaBatch]) -> list[bytes]:
    """All that a learner sees of the tasks, in an order of their own."""
    return sorted(b"".join(t.numpy().tobytes() for half in one for t in half) for b in batches for one in tasks_of(b))


def pixels(x: torch.Tensor) -> list[tuple[int, int, int]]:
    """The set, class and number of each image of a task."""
    numbers = (x[0] * 255).round().int() if x.is_floating_point() else x[0]
    return [(number, label, image) for number, label, image in numbers[:, 0, 0, :3].tolist()]
