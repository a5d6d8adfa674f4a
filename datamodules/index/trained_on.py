"""What a checkpoint says of the data that it was trained on, and whether other data are like them."""

from pathlib import Path
from typing import Any

import torch

from datamodules.index.shard_index import Features
from datamodules.index.verification import check_features
from datamodules.reading.preprocess import Preprocess
from datamodules.reading.shard_set import ShardSet
from lightning_meta.core import InputError
from lightning_meta.training.trust import brief


def images_of(path: str | Path, checkpoint: dict[str, Any]) -> Preprocess | Features | None:
    """Return how the images that a checkpoint was trained on were made, or what made the features; None where it was trained
    on neither. Raises InputError where it does not say that properly."""
    for state in checkpoint.values():
        for name, kind in (("preprocess", Preprocess), ("features", Features)):
            if isinstance(state, dict) and isinstance(state.get(name), dict):
                try:
                    return (
                        check_features(Features(**state[name]))
                        if kind is Features
                        else Preprocess(**state[name]).check()
                    )
                except (TypeError, ValueError) as error:
                    raise InputError(f"{path} says of its training data {brief(state[name])}: {error}") from error
    return None


def classes_of(checkpoint: dict[str, Any]) -> torch.Tensor | None:
    """Return fingerprints of the classes that a checkpoint was trained on, int64 [classes]; None where it holds none."""
    for state in checkpoint.values():
        classes = state.get("classes") if isinstance(state, dict) else None
        if isinstance(classes, torch.Tensor) and classes.dtype is torch.int64 and classes.ndim == 1:
            return classes
    return None


def check_shape(path: str | Path, trained: Preprocess | Features, shards: ShardSet) -> None:
    """Raise InputError where a set's images have another shape than those trained on, or its features another maker."""
    index = shards.index
    if isinstance(trained, Features):
        if index.features != trained:
            raise InputError(
                f"{path} was trained on features of {trained.backbone}; {shards.root} holds"
                f" {f'those of {index.features.backbone}' if index.features else 'images'}: write its features with the same"
                " `lightning-meta shards features`"
            )
        return
    shape = (index.features.size,) if index.features else index.preprocess.shape
    if shape != trained.shape:
        raise InputError(
            f"{path} was trained on images of {times(trained.shape)} (channels x height x width), those of"
            f" {shards.root} are {times(shape)}: write that set again with --size {trained.size}"
            f"{' --channels 1' if trained.channels == 1 else ''}"
        )


def times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
