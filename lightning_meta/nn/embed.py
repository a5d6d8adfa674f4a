"""Features of a batch of tasks by an ordinary backbone, which knows no `tasks` axis."""

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

# By backbone and training mode: the most rows that were measured, and whether the backbone mixed them.
_mixing: WeakKeyDictionary[nn.Module, dict[bool, tuple[int, bool]]] = WeakKeyDictionary()


def embed(backbone: nn.Module, x: Shaped[Tensor, "tasks n *shape"]) -> Float[Tensor, "tasks n d"]:
    """Features [tasks, n, d] of x: [tasks, n, *shape].

    In evaluation mode the tasks are folded into one batch. In training mode a backbone with buffers (batch norm) reads one
    task at a time, each normalised by its own statistics, and its buffers move once, to the mean of the values that the
    tasks would each have given them. So a meta-batch gives the same theta however it is spread over processes. A backbone
    whose features of an example depend on the other examples of its batch, in whatever way, always reads one task at a time;
    its first call, and any with more rows than before, measures whether they do.

    Raises:
        InputError: The backbone returns anything but features [n, d].
    """
    if not x.shape[1]:  # no query: few layers take an empty batch
        z, _ = read(backbone, x.new_zeros(2, *x.shape[2:]))
        return z.new_zeros(len(x), 0, z.shape[1])
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
    """Features of one batch, and the buffers as the backbone would change them; its own stay as they were."""
    buffers = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    z = functional_call(backbone, buffers, (rows,)) if buffers else backbone(rows)
    return check_features(backbone, z, len(rows)), buffers


def mixes(backbone: nn.Module, x: Shaped[Tensor, "tasks n *shape"]) -> bool:
    """Measure whether the backbone's features of an example depend on the other examples of its batch.

    The answer is that of the backbone's present mode, and of a batch as large as x.
    """
    known = _mixing.setdefault(backbone, {})
    measured, mixed = known.get(backbone.training, (0, False))
    rows = x.detach().flatten(0, 1)
    if not mixed and len(rows) > measured:
        with torch.no_grad(), unwritten(backbone):
            mixed = measure_rows(lambda some: read(backbone, some)[0], rows).mixed
        known[backbone.training] = len(rows), mixed
    return mixed


def check_features(backbone: nn.Module, output: Any, n: int) -> Float[Tensor, "n d"]:
    """Return the output of a backbone for n examples. Raises InputError where it is anything but features [n, d]."""
    name = type(backbone).__name__
    if not isinstance(output, Tensor):
        keys = f" of {', '.join(map(str, output))}" if isinstance(output, dict) else ""
        raise InputError(
            f"{name} returns a {type(output).__name__}{keys}, but a backbone maps [n, *shape] to one tensor of features"
            " [n, d]: wrap it in a module that returns that"
        )
    if output.ndim != 2 or len(output) != n:
        raise InputError(
            f"{name} maps {n} examples to {list(output.shape)}, but a backbone maps [n, *shape] to features [n, d]: flatten"
            " or average the output for each example"
        )
    return output


def check_backbone(backbone: nn.Module) -> None:
    """Raise InputError where a backbone is not a module, or has layers that do not know their shapes yet."""
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
    """The width d of the features, as given or as the backbone's `out_features` says. Raises InputError where neither is."""
    features = features or getattr(backbone, "out_features", None)
    if not isinstance(features, int):
        raise InputError(
            f"the width of {type(backbone).__name__}'s features is unknown: it has no int out_features; set `features`"
        )
    return features
