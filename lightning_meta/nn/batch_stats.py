"""Which statistics batch normalisation uses inside an inner loop, as a visible choice and for any backbone."""

from collections.abc import Iterable
from typing import Any, Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

BatchStats = Literal["running", "support", "transductive"]


class BatchStatistics(TorchFunctionMode):
    """Within this context every `F.batch_norm`, and so every nn.BatchNorm of any backbone, normalises as told.

    running: by the layer's running statistics, in training as at test. Inductive.
    support: by the statistics of the first `support` rows of the batch, the support set. Inductive.
    transductive: by those of the whole batch, so a query sees the other queries (Finn et al. 2017 and most after).

    Layer and instance norm, which need no choice, are taken over as well: they and these statistics are written as
    `torch.var_mean` and arithmetic, for vmap over torch's own functions gives a second-order gradient that is silently
    wrong. (An instance is normalised by itself always, running statistics or not.)
    """

    def __init__(self, choice: BatchStats, support: int = 0):
        super().__init__()
        self.choice, self.support = choice, support

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        own = {F.batch_norm: self._batch_norm, F.layer_norm: _layer_norm, F.instance_norm: _instance_norm}
        return own.get(func, func)(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,  # noqa: ARG002  the context decides, not the module's mode
        momentum: float = 0.1,  # noqa: ARG002  running statistics are theta's affair, see nn.embed
        eps: float = 1e-5,
    ) -> Tensor:
        wide = _wide(x)
        if self.choice == "running" and running_mean is not None and running_var is not None:
            mean, var = _channels(running_mean, x), _channels(running_var, x)
        else:
            seen = wide[: self.support] if self.choice == "support" and self.support else wide
            var, mean = torch.var_mean(seen, [0, *range(2, x.ndim)], correction=0, keepdim=True)
        y = (wide - mean) * torch.rsqrt(var + eps)
        return _affine(y, _channels(weight, x), _channels(bias, x)).to(x.dtype)


def _layer_norm(
    x: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    return _affine(_standard(x, range(-len(normalized_shape), 0), eps), weight, bias).to(x.dtype)


def _instance_norm(
    x: Tensor,
    running_mean: Tensor | None = None,  # noqa: ARG001
    running_var: Tensor | None = None,  # noqa: ARG001
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,  # noqa: ARG001
    momentum: float = 0.1,  # noqa: ARG001
    eps: float = 1e-5,
) -> Tensor:
    return _affine(_standard(x, range(2, x.ndim), eps), _channels(weight, x), _channels(bias, x)).to(x.dtype)


def _standard(x: Tensor, axes: Iterable[int], eps: float) -> Tensor:
    """x with mean 0 and variance 1 over `axes`."""
    wide = _wide(x)
    var, mean = torch.var_mean(wide, list(axes), correction=0, keepdim=True)
    return (wide - mean) * torch.rsqrt(var + eps)


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _wide(x: Tensor) -> Tensor:
    """Statistics of half precision are taken in float32."""
    return x if x.dtype == torch.float64 else x.float()


@overload
def _channels(v: Tensor, x: Tensor) -> Tensor: ...
@overload
def _channels(v: Tensor | None, x: Tensor) -> Tensor | None: ...
def _channels(v: Tensor | None, x: Tensor) -> Tensor | None:
    """A vector over channels [c], shaped to broadcast over x: [n, c, ...]."""
    return None if v is None else v.reshape(1, -1, *[1] * (x.ndim - 2))
