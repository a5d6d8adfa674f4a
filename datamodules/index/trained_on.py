"""Facts in a checkpoint about its training data, and the comparison of other data with them."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_warn

from datamodules.index.header import FeatureInfo
from datamodules.index.verification import check_features
from datamodules.reading.joined_set import JoinedSet
from datamodules.reading.preprocess import Preprocess
from datamodules.reading.shard_set import ShardSet
from lightning_meta.core import InputError
from lightning_meta.training.trust import brief


def images_of(path: str | Path, checkpoint: dict[str, Any]) -> Preprocess | FeatureInfo | None:
    """Return how the training images of a checkpoint were preprocessed, or which backbone made its training features.

    Args:
        path: The checkpoint file, for messages.
        checkpoint: Its content.

    Returns:
        The preprocessing or the description of the features; None if it was trained on neither.

    Raises:
        InputError: If the checkpoint holds an entry about them that is not valid.
    """
    for state in checkpoint.values():
        for name, kind in (("preprocess", Preprocess), ("features", FeatureInfo)):
            if isinstance(state, dict) and isinstance(state.get(name), dict):
                try:
                    return (
                        check_features(FeatureInfo(**state[name]))
                        if kind is FeatureInfo
                        else Preprocess(**state[name]).check()
                    )
                except (TypeError, ValueError) as error:
                    raise InputError(f"{path} describes its training data as {brief(state[name])}: {error}") from error
    return None


def classes_of(checkpoint: dict[str, Any]) -> torch.Tensor | None:
    """Return fingerprints of the training classes of a checkpoint, int64 [classes], or None if it holds none."""
    for state in checkpoint.values():
        classes = state.get("classes") if isinstance(state, dict) else None
        if isinstance(classes, torch.Tensor) and classes.dtype is torch.int64 and classes.ndim == 1:
            return classes
    return None


def check_shape(path: str | Path, trained: Preprocess | FeatureInfo, shards: ShardSet | JoinedSet) -> None:
    """Raise InputError if a set has images of another shape than in training, or features of another backbone."""
    index = shards.index
    if isinstance(trained, FeatureInfo):
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
    if not index.features and index.preprocess.scaled != trained.scaled:
        first, second = ("" if scaled else "not " for scaled in (trained.scaled, index.preprocess.scaled))
        rank_zero_warn(
            f"the training images of {path} were {first}scaled while they were decoded, and those of {shards.root} are"
            f" {second}scaled: their pixels differ slightly"
        )


def times(shape: tuple[int, ...]) -> str:
    """Return a shape as text, such as 3x84x84."""
    return "x".join(map(str, shape))
