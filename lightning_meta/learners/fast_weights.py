"""What the gradient-based learners share: phi is the network's own weights after a few gradient steps."""

from abc import abstractmethod
from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.func import functional_call

from lightning_meta.core import Examples, FewShotLearner, InputError, Predictor, prediction_loss
from lightning_meta.nn.batch_stats import BatchStatistics, BatchStats
from lightning_meta.nn.embed import embed
from lightning_meta.nn.inner_loop import Weights, over_tasks

Vectorize = Literal["auto", "vmap", "loop"]


class GradientLearner(FewShotLearner):
    """theta: a network, backbone and linear head, and what a subclass adds. phi: its fast weights, a set a task.

    Any module serves as backbone, unpatched. A subclass says how the weights of one task descend.
    """

    def __init__(
        self,
        backbone: nn.Module,
        outputs: int,
        inner_steps: int,
        test_steps: int | None,
        batch_stats: BatchStats,
        vectorize: Vectorize,
        features: int | None,
    ):
        super().__init__()
        features = features or getattr(backbone, "out_features", None)
        if not isinstance(features, int):
            raise InputError(
                f"the width of {type(backbone).__name__}'s features is unknown: it has no int out_features; set `features`"
            )
        test_steps = inner_steps if test_steps is None else test_steps
        if outputs < 1 or inner_steps < 0 or test_steps < 0:
            raise InputError(f"outputs {outputs} must be 1 or more, inner steps {inner_steps}, {test_steps} 0 or more")
        if batch_stats not in ("running", "support", "transductive"):
            raise InputError(f"batch_stats is {batch_stats!r}; choose running, support or transductive")
        if vectorize not in ("auto", "vmap", "loop"):
            raise InputError(f"vectorize is {vectorize!r}; choose auto, vmap or loop")
        self.network = nn.Sequential(OrderedDict(backbone=backbone, head=nn.Linear(features, outputs)))
        self.outputs, self.inner_steps, self.test_steps = outputs, inner_steps, test_steps
        self.batch_stats: BatchStats = batch_stats
        self.vectorize = vectorize
        self._normalises = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in backbone.modules())
        self.transductive = batch_stats == "transductive" and self._normalises

    @abstractmethod
    def descend(self, weights: Weights, support: Examples, steps: int) -> Weights:
        """Fast weights of ONE task (no tasks axis) after `steps` inner steps from `weights` on its support set."""

    def start(self) -> Weights:
        """The weights that the inner loop adapts, as they are in theta."""
        return dict(self.network.named_parameters())

    def adapt(self, support: Examples) -> "FastWeights":
        return self.adapt_steps(support, self.inner_steps if self.training else self.test_steps)

    def adapt_steps(self, support: Examples, steps: int) -> "FastWeights":
        if not support.y.is_floating_point() and support.ways != self.outputs:
            raise InputError(
                f"{type(self).__name__} was built with {self.outputs} outputs and adapts to exactly {self.outputs} classes;"
                f" this task has {support.ways}. Train it for {support.ways} ways, or use a learner of any ways (ProtoNet)"
            )
        with torch.inference_mode(False), torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
            x = support.x.clone() if support.x.is_inference() else support.x
            with _without_half(x):
                weights = over_tasks(
                    lambda x, y: self.descend(self.start(), Examples(x, y), steps),
                    x,
                    support.y.clone() if support.y.is_inference() else support.y,
                    vectorize=self._vectorized(x),
                )
        return FastWeights(self, weights, x)

    def support_loss(self, weights: Weights, support: Examples) -> Tensor:
        """L(phi, D^tr) of one task (no tasks axis), a scalar."""
        return prediction_loss(self.predict(weights, support.x), support.y)

    def predict(self, weights: Weights, x: Tensor, support: Tensor | None = None) -> Tensor:
        """Outputs [n, outputs] of one task for x [n, *shape]; `support` [n', *shape] is its support set, if x is not."""
        see_support = self._normalises and self.batch_stats == "support" and support is not None
        rows = torch.cat([support, x]) if see_support and support is not None else x
        buffers = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        with BatchStatistics(self.batch_stats, len(rows) - len(x)) if self._normalises else nullcontext():
            return functional_call(self.network, {**buffers, **weights}, (rows,))[len(rows) - len(x) :]

    def gather_statistics(self, x: Tensor) -> None:
        """For `batch_stats: running`: let theta's running statistics see a training batch x [tasks, n, *shape]."""
        if self.training and self._normalises and self.batch_stats == "running":
            with torch.no_grad():
                embed(self.network.backbone, x)

    def _vectorized(self, x: Tensor) -> bool:
        """auto: vmap, but on a CPU a loop for large images, where grouped convolutions lose more than the loop costs."""
        return self.vectorize == "vmap" or (self.vectorize == "auto" and (x.is_cuda or x[0, 0].numel() < 2048))


@dataclass(frozen=True)
class FastWeights(Predictor):
    """phi of a gradient-based learner: `weights` by name, each [tasks, *its shape]; what is not there is theta's."""

    learner: GradientLearner
    weights: Weights
    support: Tensor

    def __call__(self, x: Shaped[Tensor, "tasks n *shape"]) -> Float[Tensor, "tasks n out"]:
        return over_tasks(self.learner.predict, self.weights, x, self.support, vectorize=self.learner._vectorized(x))


def _without_half(x: Tensor) -> AbstractContextManager[object]:
    """float16's range is too short for inner gradients, which no loss scaler sees: there the inner loop is float32."""
    device = x.device.type
    if torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16:
        return torch.autocast(device, enabled=False)
    return nullcontext()
