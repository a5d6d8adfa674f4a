"""Which statistics batch normalisation uses inside an inner loop, as a visible choice and for any backbone."""

from typing import Any, Literal

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

    The statistics are written as `torch.var_mean` and arithmetic: vmap over torch's own batch norm gives a second-order
    gradient that is silently wrong.
    """

    def __init__(self, choice: BatchStats, support: int = 0):
        super().__init__()
        self.choice, self.support = choice, support

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.batch_norm:
            return self._normalise(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _normalise(
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
        axes = [0, *range(2, x.ndim)]
        wide = x if x.dtype == torch.float64 else x.float()
        if self.choice == "running" and running_mean is not None and running_var is not None:
            mean, var = _channels(running_mean, x), _channels(running_var, x)
        else:
            seen = wide[: self.support] if self.choice == "support" and self.support else wide
            var, mean = torch.var_mean(seen, axes, correction=0, keepdim=True)
        scale = torch.rsqrt(var + eps)
        if weight is not None:
            scale = scale * _channels(weight, x)
        y = (wide - mean) * scale
        return (y if bias is None else y + _channels(bias, x)).to(x.dtype)


def _channels(v: Tensor, x: Tensor) -> Tensor:
    """A vector over channels [c], shaped to broadcast over x: [n, c, ...]."""
    return v.reshape(1, -1, *[1] * (x.ndim - 2))
