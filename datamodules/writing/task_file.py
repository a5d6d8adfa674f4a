"""The task file beside a shard set: a configuration that trains on it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from datamodules.index.fixed_episodes import FixedEpisode
from datamodules.index.shard_index import Index
from datamodules.reading.preprocess import Preprocess

SPLITS = ("train", "val", "test")


def task_yaml(root: Path, index: Index, roots: Mapping[str, str] | None = None) -> str:
    """Return the YAML of a 1-shot run on a shard set, to which only a learner has to be added.

    The choices are: up to 5 ways and 15 queries, or as many as the smallest split and class allow; as backbone Conv4 for
    images of up to 84 pixels, ResNet12 for larger ones, and for a set of features the features themselves.

    Args:
        root: Folder or URL of the shards, as the configuration shall name it.
        index: The index of the set, which has the splits `train`, `val` and `test`.
        roots: For each root that the index names, the folder or URL where it is.
    """
    ways = min(5, *(len(index.splits[split]) for split in SPLITS))
    fewest = int(index.counts(np.arange(len(index.records))).min())
    backbone = image_backbone(index.preprocess)
    if index.features:
        backbone = {"class_path": "lightning_meta.nn.Features", "init_args": {"size": index.features.size}}
    config = {
        "model": {"learner": {"init_args": {"backbone": backbone}}},
        "data": {
            "class_path": "datamodules.images.ImageEpisodes",
            "init_args": {
                "root": str(root),
                **({"roots": dict(roots)} if roots else {}),
                "ways": ways,
                "shots": 1,
                "queries": max(1, min(15, fewest - 1)),
            },
        },
        "trainer": {"max_epochs": 20},
    }
    title = index.title.encode("ascii", "backslashreplace").decode()  # the name of a folder may not be UTF-8
    return f"# {title}: {ways}-way 1-shot\n" + yaml.safe_dump(config, sort_keys=False)


def fixed_task_yaml(root: Path, episodes: int, first: FixedEpisode, preprocess: Preprocess) -> str:
    """Return the YAML of a test on fixed episodes, to which only a learner and its checkpoint have to be added.

    Args:
        root: Folder or URL of the set, as the configuration shall name it.
        episodes: Number of the episodes.
        first: The first of them, which has the size of all.
        preprocess: The preprocessing of the images.
    """
    ways = len({item.label for item in first.support})
    sizes = {"ways": ways, "shots": len(first.support) // ways, "queries": len(first.query) // ways}
    config = {
        "model": {"learner": {"init_args": {"backbone": image_backbone(preprocess)}}},
        "data": {
            "class_path": "datamodules.fixed_episodes.FixedEpisodes",
            "init_args": {"root": str(root), **sizes, "test_episodes": episodes},
        },
    }
    return f"# {episodes} fixed episodes, for lightning-meta test\n" + yaml.safe_dump(config, sort_keys=False)


def image_backbone(preprocess: Preprocess) -> dict[str, Any]:
    """Return the backbone for images of this size: Conv4 up to 84 pixels, ResNet12 above."""
    channels, size, _ = preprocess.shape
    return {
        "class_path": f"lightning_meta.nn.{'Conv4' if size <= 84 else 'ResNet12'}",
        "init_args": {"in_channels": channels, "image_size": size},
    }


def write_task_file(folder: Path, root: Path, index: Index, roots: Mapping[str, str] | None = None) -> None:
    """Write `task.yaml` into a folder, for the set that will be at `root`, if it has all splits of a run."""
    if all(split in index.splits and len(index.split(split)) for split in SPLITS):
        (folder / "task.yaml").write_text(task_yaml(root, index, roots))
