"""An ordinary backbone over the leading `tasks` axis."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.func import functional_call

from lightning_meta.core import InputError


def embed(backbone: nn.Module, x: Shaped[Tensor, "tasks n *shape"]) -> Float[Tensor, "tasks n d"]:
    """Features [tasks, n, d] of x: [tasks, n, *shape].

    In evaluation mode tasks are folded into one batch. In training mode a backbone with buffers (batch norm) reads one
    task at a time, each normalised by its own statistics, and its buffers move once, to the mean of what the tasks
    would each have made of them. So a meta-batch gives the same theta however it is spread over processes.
    """
    buffers = dict(backbone.named_buffers())
    if not (backbone.training and buffers):
        return backbone(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    features, moved = [], []
    for task in x:
        own = {name: buffer.clone() for name, buffer in buffers.items()}
        features.append(functional_call(backbone, own, (task,)))
        moved.append(own)
    with torch.no_grad():
        for name, buffer in buffers.items():
            new = [own[name] for own in moved]
            buffer.copy_(torch.stack(new).mean(0) if buffer.is_floating_point() else new[0])
    return torch.stack(features)


def feature_width(backbone: nn.Module, features: int | None = None) -> int:
    """d, as given, or as the backbone tells by `out_features`; InputError where neither says."""
    features = features or getattr(backbone, "out_features", None)
    if not isinstance(features, int):
        raise InputError(
            f"the width of {type(backbone).__name__}'s features is unknown: it has no int out_features; set `features`"
        )
    return features
