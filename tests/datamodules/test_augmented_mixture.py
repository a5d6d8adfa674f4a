"""New classes among those of several sets: each is of one set, turned as a whole, and drawn as any other."""

from pathlib import Path

import numpy as np
import pytest

from datamodules.augmentation.new_classes import RotateClasses
from datamodules.reading.shard_set import ShardSet
from datamodules.sampling.composition import Sampler
from datamodules.sampling.configured_size import ConfiguredSize
from datamodules.sampling.episode_size import EpisodeSize
from datamodules.sampling.episodes import EpisodeStream
from datamodules.sampling.meta_dataset import MetaDataset
from datamodules.sampling.mixture import Mix, MixedTasks
from lightning_meta.core import Episode
from support.mixtures import tasks_of, write_numbered


def turned(images: np.ndarray) -> tuple[int, int, int]:
    """Return the set, the class and the half turns of images of one class, whose background tells the set."""
    found = set[tuple[int, int, int]]()
    for turns in (0, 1):
        rows = np.rot90(images, 2 * turns, axes=(-2, -1)).reshape(len(images), -1)
        number, label = (set(rows[:, place].tolist()) for place in (0, 1))
        if len(number) == len(label) == 1 and (rows[:, 3:] == 40 * min(number)).all():
            found.add((*number, *label, turns))
    (one,) = found
    return one


def classes_of(task: Episode) -> list[tuple[int, int, int]]:
    support, query = task
    x, y = (np.concatenate([getattr(half, name)[0].numpy() for half in (support, query)]) for name in "xy")
    return [turned(x[y == label]) for label in np.unique(y)]


@pytest.mark.parametrize(
    ("mix", "sampler"),
    [
        ("episodes", None),
        ("classes", None),
        ("episodes", ConfiguredSize("near")),
        ("episodes", MetaDataset(min_ways=3, max_ways=6)),
    ],
)
def test_new_classes_of_a_mixture_are_of_one_set_and_drawn_like_the_others(
    mix: Mix, sampler: Sampler | None, tmp_path: Path
) -> None:
    sets = {name: ShardSet(str(write_numbered(tmp_path, i))) for i, name in enumerate("ab")}
    tasks = MixedTasks(sets, [1, 1], mix).augmented(RotateClasses([180]))
    stream = EpisodeStream(tasks, "train", EpisodeSize(4, 2, 2), episodes=200, meta_batch=8, sampler=sampler)
    episodes = [classes_of(task) for batch in stream for task in tasks_of(batch)]
    drawn = {one for classes in episodes for one in classes}
    assert drawn == {(i, label, turns) for i in (0, 1) for label in range(12 - i) for turns in (0, 1)}
    for classes in episodes:
        assert len(set(classes)) == len(classes)
        if mix == "episodes":
            assert len({one[0] for one in classes}) == 1
        if isinstance(sampler, ConfiguredSize):
            assert len({one[1] % 2 for one in classes}) == 1, "one group"
