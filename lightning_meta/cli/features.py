"""lightning-meta shards features: a frozen backbone's features of a shard set, computed once."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress

from datamodules.index.header import FeatureInfo
from datamodules.reading.named_set import set_place
from datamodules.reading.shard_set import Images, ShardSet
from datamodules.writing.features import write_features
from datamodules.writing.shards import check_out
from datamodules.writing.written_set import WrittenSet
from lightning_meta.config.names import importable
from lightning_meta.core import InputError
from lightning_meta.core.errors import check_at_least
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
) -> WrittenSet:
    """Write a shard set of features, float32 vectors in place of images, computed once by a frozen backbone.

    Every learner can train and test on it; a learner without weights of its own beside its backbone, such as ProtoNet, has
    nothing to train. `adapt` reads images, so it cannot use a checkpoint that was trained on features: train on the images
    with `lightning_meta.nn.Frozen` around the backbone instead. If the command is killed, the same command continues after
    the last whole shard.

    Args:
        root: Folder or URL of the set of images, or its task file if the index names roots.
        backbone: Dotted path of a class, or of a function annotated to return a module, such as
            torchvision.models.resnet18.
        out: Folder to write.
        arguments: Arguments of the backbone, as {name: value}.
        drop: Name of the part of the backbone to leave out, usually its classifier (fc in torchvision's ResNets).
        weights: File with the state_dict of the backbone; by default the backbone keeps the weights it is built with.
        size: Side of the square that images are resized to, in pixels.
        mean: Mean of each channel of the backbone's training images, in 0..1; by default that of ImageNet.
        std: Standard deviation of each channel of the backbone's training images, in 0..1; by default that of ImageNet.
        batch: Number of images per forward pass.

    Returns:
        The written set.
    """
    check_at_least(1, batch=batch)
    check_out(out)
    place, roots = set_place(root)
    source = ShardSet(place, roots=roots)
    norm = {name: value for name, value in {"mean": mean, "std": std}.items() if value is not None}
    spec = {"class_path": backbone, "init_args": arguments or {}}
    _, problem = importable(backbone)
    if problem:
        raise InputError(f"backbone: {problem}")
    torch.manual_seed(0)  # so that a backbone with random weights is the same each time
    try:
        frozen = Frozen(build(spec), drop, weights and str(weights), size, **norm)
    except (TypeError, RuntimeError) as error:  # from its constructor, or because shapes do not match
        raise InputError(
            f"{backbone} cannot be built with these arguments, or cannot read images of --size {size}: {error}"
        ) from error
    if not weights:
        print(
            f"no --weights: {backbone} keeps the weights it is built with, which are random unless it loads some itself"
        )
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights else None
    about = spec | {"drop": drop, "weights_sha256": digest, "size": size} | norm
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    frozen.to(device)
    with Progress() as progress:
        task = progress.add_task("images", total=source.index.images)

        def extract(images: Images) -> NDArray[np.float32]:
            parts = torch.from_numpy(images).split(batch)
            z = torch.cat([frozen(part.to(device).float() / 255).float().cpu() for part in parts])
            progress.advance(task, len(images))
            return z.numpy()

        index = write_features(source, out, extract, FeatureInfo(frozen.out_features, json.dumps(about)))
    note = (
        "`adapt` cannot use a checkpoint trained on features: to classify images, train with lightning_meta.nn.Frozen"
    )
    return WrittenSet(out, index, (note,))
