"""lightning-meta shards features: a frozen backbone's features of a shard set, computed once."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress

from datamodules.index.shard_index import Features
from datamodules.reading.shard_set import Images, ShardSet
from datamodules.writing.features import write_features
from datamodules.writing.shards import check_out
from lightning_meta.cli.task_file import finish
from lightning_meta.config.names import importable
from lightning_meta.core import InputError
from lightning_meta.nn.build import build
from lightning_meta.nn.frozen import Frozen


def features(
    root: str,
    backbone: str,
    out: Path = Path("shards/features"),
    arguments: dict[str, Any] | None = None,
    drop: str | None = None,
    weights: Path | None = None,
    size: int = 224,
    mean: list[float] | None = None,
    std: list[float] | None = None,
    batch: int = 64,
) -> None:
    """Write a shard set of features, float32 vectors in the place of images, by a frozen backbone.

    Every learner trains and tests on it; one that is its backbone's features alone, such as ProtoNet, has nothing to
    train. `adapt` reads images: it takes no checkpoint that was trained on features, but one of
    `lightning_meta.nn.Frozen`. After a kill the same command goes on after the last whole shard.

    Args:
        root: folder or URL of the images' shards.
        backbone: class, or function annotated to return a module: torchvision.models.resnet18, say.
        out: folder to write.
        arguments: the backbone's arguments, as {name: value}.
        drop: name of the part to leave out, its classifier (fc in torchvision's ResNets).
        weights: file with the backbone's state_dict; without one it stays as it was built.
        size: side of the square that images are resized to.
        mean: mean of each channel of its training images, in 0..1; by default ImageNet's.
        std: standard deviation of each channel of its training images, in 0..1; by default ImageNet's.
        batch: images at a time.
    """
    if batch < 1:
        raise InputError(f"--batch is {batch}: give 1 or more")
    check_out(out)
    source = ShardSet(root)
    norm = {name: value for name, value in {"mean": mean, "std": std}.items() if value is not None}
    spec = {"class_path": backbone, "init_args": arguments or {}}
    _, problem = importable(backbone)
    if problem:
        raise InputError(f"backbone: {problem}")
    torch.manual_seed(0)  # a backbone without weights of its own is the same each time, too
    try:
        frozen = Frozen(build(spec), drop, weights and str(weights), size, **norm)
    except (TypeError, RuntimeError) as error:  # of its constructor, or shapes that do not go together
        raise InputError(f"{backbone} cannot be built as told, or reads no images of --size {size}: {error}") from error
    if not weights:
        print(f"no --weights: {backbone} is as it was built; unless it loads weights itself, they are random")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights else None
    about = spec | {"drop": drop, "weights_sha256": digest, "size": size} | norm
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    frozen.to(device)
    with Progress() as progress:
        task = progress.add_task("classes", total=len(source.index.records))

        def extract(images: Images) -> NDArray[np.float32]:
            parts = torch.from_numpy(images).split(batch)
            z = torch.cat([frozen(part.to(device).float() / 255).float().cpu() for part in parts])
            progress.advance(task)
            return z.numpy()

        index = write_features(source, out, extract, Features(frozen.out_features, json.dumps(about)))
    finish(out, index)
    print("`adapt` takes no checkpoint trained on features: to classify images, train with lightning_meta.nn.Frozen")
