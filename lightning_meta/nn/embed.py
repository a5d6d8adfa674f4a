"""An ordinary backbone over the leading `tasks` axis."""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy

from lightning_meta.core import InputError
from lightning_meta.nn.rows import measure_rows
from lightning_meta.nn.undisturbed import unwritten

_mixing: WeakKeyDictionary[nn.Module, dict[bool, tuple[int, bool]]] = WeakKeyDictionary()
# By backbone and its mode, as measured: the most rows that were, and whether these were mixed.


def embed(backbone: nn.Module, x: Shaped[Tensor, "tasks n *shape"]) -> Float[Tensor, "tasks n d"]:
    """Features [tasks, n, d] of x: [tasks, n, *shape].

    In evaluation mode tasks are folded into one batch. In training mode a backbone with buffers (batch norm) reads one
    task at a time, each normalised by its own statistics, and its buffers move once, to the mean of what the tasks
    would each have made of them. So a meta-batch gives the same theta however it is spread over processes. A backbone
    whose features of an example depend on the others of its batch, in whatever way, always reads one task at a time; its
    first call, and any with more rows than before, measures whether they do. InputError where it gives anything but
    features [n, d].
    """
    if not x.shape[1]:  # no query: few layers take an empty batch
        found, _ = read(backbone, x.new_zeros(2, *x.shape[2:]))
        return found.new_zeros(len(x), 0, found.shape[1])
    if not (backbone.training and any(True for _ in backbone.buffers())):
        if len(x) > 1 and mixes(backbone, x):
            return torch.stack([read(backbone, task)[0] for task in x])
        return read(backbone, x.flatten(0, 1))[0].unflatten(0, x.shape[:2])
    features, moved = zip(*(read(backbone, task) for task in x), strict=True)
    with torch.no_grad():
        for name, buffer in backbone.named_buffers():
            new = [own[name] for own in moved]
            buffer.copy_(torch.stack(new).mean(0) if buffer.is_floating_point() else new[0])
    return torch.stack(features)


def read(backbone: nn.Module, rows: Shaped[Tensor, "n *shape"]) -> tuple[Float[Tensor, "n d"], dict[str, Tensor]]:
    """Features of one batch, and what the backbone makes of its buffers, which stay as they were."""
    buffers = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    found = functional_call(backbone, buffers, (rows,)) if buffers else backbone(rows)
    return check_features(backbone, found, len(rows)), buffers


def mixes(backbone: nn.Module, x: Shaped[Tensor, "tasks n *shape"]) -> bool:
    """Whether the backbone's features of an example depend on the others of its batch, in the mode that it is in
    and in a batch as large as this."""
    known = _mixing.setdefault(backbone, {})
    measured, mixed = known.get(backbone.training, (0, False))
    rows = x.detach().flatten(0, 1)
    if not mixed and len(rows) > measured:
        with torch.no_grad(), unwritten(backbone):
            mixed = measure_rows(lambda some: read(backbone, some)[0], rows).mixed
        known[backbone.training] = len(rows), mixed
    return mixed


def check_features(backbone: nn.Module, found: Any, n: int) -> Float[Tensor, "n d"]:
    """What a backbone gave for n examples; InputError where these are no features [n, d]."""
    name = type(backbone).__name__
    if not isinstance(found, Tensor):
        held = f" of {', '.join(map(str, found))}" if isinstance(found, dict) else ""
        raise InputError(
            f"{name} returns a {type(found).__name__}{held}, but a backbone maps [n, *shape] to one tensor of features"
            " [n, d]: wrap it in a module that returns that"
        )
    if found.ndim != 2 or len(found) != n:
        raise InputError(
            f"{name} maps {n} examples to {list(found.shape)}, but a backbone maps [n, *shape] to features [n, d]: flatten"
            " or average what is left of each"
        )
    return found


def check_backbone(backbone: nn.Module) -> None:
    """InputError where a backbone is no module, or has layers that do not know their shapes yet."""
    if not isinstance(backbone, nn.Module):
        raise InputError(
            f"the backbone is {repr(backbone)[:100]}, of type {type(backbone).__name__}: a backbone is a torch Module from"
            " [n, *shape] to features [n, d]; give one, or a function that returns one"
        )
    own = dict(backbone.named_modules())
    lazy = [name for name, tensor in (*backbone.named_parameters(), *backbone.named_buffers()) if is_lazy(tensor)]
    if lazy:
        part = lazy[0].rpartition(".")[0]
        raise InputError(
            f"{type(backbone).__name__} has a lazy layer, {part or 'itself'} ({type(own[part]).__name__}), which has no"
            " weights before it sees a batch: give it its sizes, or call the backbone on one before the learner is built"
        )


def feature_width(backbone: nn.Module, features: int | None = None) -> int:
    """d, as given, or as the backbone tells by `out_features`; InputError where neither says."""
    features = features or getattr(backbone, "out_features", None)
    if not isinstance(features, int):
        raise InputError(
            f"the width of {type(backbone).__name__}'s features is unknown: it has no int out_features; set `features`"
        )
    return features
