"""Classes of a split without images, and compositions of episodes that a sampler draws from them."""

from pathlib import Path

import numpy as np

from datamodules.sampling.composition import Composition, Sampler, SplitClasses
from datamodules.sampling.episode_size import EpisodeSize
from datamodules.sampling.meta_batches import Key

SIZE = EpisodeSize(5, 2, 3)


def split(counts: list[int], groups: list[int] | None = None) -> SplitClasses:
    return SplitClasses(
        "split 'train' of SET",
        np.array(counts),
        None if groups is None else np.array(groups),
        lambda number: f"c{number}",
    )


def draw(sampler: Sampler, classes: SplitClasses, n: int, size: EpisodeSize = SIZE) -> list[Composition]:
    composer = sampler.composer(classes, size)
    return [composer.compose(Key(0, "train", 0, index)) for index in range(n)]


def share(values: list, value: object) -> float:
    return sum(one == value for one in values) / len(values)


def write_hierarchy(folder: Path) -> str:
    """Write a hierarchy in which animal has dog and cat, and thing has animal and tool.

    dog is below pet as well, which has no other child.
    """
    below = {"dog": range(5), "cat": range(5, 12), "tool": range(12, 18), "small": range(18, 20)}
    lines = [
        ("dog", "animal"),
        ("cat", "animal"),
        ("animal", "thing"),
        ("tool", "thing"),
        ("dog", "pet"),
        ("pet", "thing"),
    ]
    lines += [("small", "thing"), *((f"c{number}", node) for node, own in below.items() for number in own)]
    path = folder / "tree.csv"
    path.write_text("child,parent\n" + "".join(f"{child},{parent}\n" for child, parent in lines))
    return str(path)
