"""The statistics of batch normalisation inside an inner loop, as a visible choice and for any backbone."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lightning_meta.nn.torch_corrections import CORRECTIONS, affine, channels, wide

BatchStats = Literal["running", "support", "transductive"]


class BatchStatistics(TorchFunctionMode):
    """A context in which every `F.batch_norm`, and so every nn.BatchNorm of any backbone, uses the chosen statistics.

    running: The running statistics that it is given, in training as at test; where it is given none, those of the batch.
    support: The statistics of the first `support` rows of the batch, the support set. Predictions are inductive.
    transductive: Those of the whole batch, so a query sees the other queries (Finn et al. 2017 and most after).

    Afterwards `met` says whether there was any batch norm, and `without` whether one was given no running statistics. Other
    operations of torch that have a wrong second derivative or vmap rule are replaced as well
    (`lightning_meta.nn.torch_corrections`). These statistics too are written as `torch.var_mean` and arithmetic, because a
    second-order gradient over vmap of torch's own is silently wrong.

    Args:
        choice: The statistics: running, support or transductive.
        support: Number of leading rows of a batch that are the support set.
    """

    def __init__(self, choice: BatchStats, support: int = 0):
        super().__init__()
        self.choice, self.support = choice, support
        self.met, self.without = False, False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        own = {F.batch_norm: self._batch_norm, torch.batch_norm: self._plain_batch_norm} | CORRECTIONS
        return own.get(func, func)(*args, **(kwargs or {}))

    def _plain_batch_norm(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        training: bool,
        momentum: float,
        eps: float,
        cudnn_enabled: bool,  # noqa: ARG002
    ) -> Tensor:
        """`torch.batch_norm`, whose arguments come in another order."""
        return self._batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)

    def _batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,  # noqa: ARG002  the context decides, not the module's mode
        momentum: float = 0.1,  # noqa: ARG002  running statistics move in nn.embed
        eps: float = 1e-5,
    ) -> Tensor:
        long, self.met = wide(x), True
        self.without |= running_mean is None or running_var is None
        if self.choice == "running" and running_mean is not None and running_var is not None:
            mean, var = channels(running_mean, x), channels(running_var, x)
        else:
            seen = long[: self.support] if self.choice == "support" and self.support else long
            var, mean = torch.var_mean(seen, [0, *range(2, x.ndim)], correction=0, keepdim=True)
        y = (long - mean) * torch.rsqrt(var + eps)
        return affine(y, channels(weight, x), channels(bias, x)).to(x.dtype)
