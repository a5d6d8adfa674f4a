"""The task file beside a shard set that was just written."""

from pathlib import Path
from typing import Any

import yaml

from datamodules.index.shard_index import Index
from lightning_meta.core.files import whole


def task_yaml(root: Path, index: Index) -> str:
    """The YAML of a run on this set: as many ways and queries as its smallest split and class allow, up to 5 and 15."""
    ways = min(5, *(len(index.splits[split]) for split in ("train", "val", "test")))
    fewest = min(record.count for record in index.records)
    channels, size, _ = index.preprocess.shape
    backbone: dict[str, Any] = {
        "class_path": f"lightning_meta.nn.{'Conv4' if size <= 84 else 'ResNet12'}",
        "init_args": {"in_channels": channels, "image_size": size},
    }
    if index.features:
        backbone = {"class_path": "lightning_meta.nn.Features", "init_args": {"size": index.features.size}}
    config = {
        "model": {"learner": {"init_args": {"backbone": backbone}}},
        "data": {
            "class_path": "datamodules.images.ImageEpisodes",
            "init_args": {"root": str(root), "ways": ways, "shots": 1, "queries": max(1, min(15, fewest - 1))},
        },
        "trainer": {"max_epochs": 20},
    }
    title = index.title.encode("ascii", "backslashreplace").decode()  # a folder's name may be no UTF-8
    return f"# {title}: {ways}-way 1-shot\n" + yaml.safe_dump(config, sort_keys=False)


def finish(out: Path, index: Index) -> None:
    """Put a task file beside the shards, so that `fit` needs no further settings, and say what was written."""
    with whole(out / "task.yaml") as aside:
        aside.write_text(task_yaml(out, index))
    sizes = ", ".join(f"{name} {len(records)}" for name, records in index.splits.items())
    megabytes = sum(shard.bytes for shard in index.shards) / 1e6
    print(f"{out}: {len(index.records)} classes ({sizes}), {len(index.shards)} shards, {megabytes:.1f} MB")
    learner = "baseline" if index.features else "protonet"  # a ProtoNet on features as they are has nothing to learn
    print(f"next: lightning-meta fit --config {out}/task.yaml --config {learner}.yaml")
