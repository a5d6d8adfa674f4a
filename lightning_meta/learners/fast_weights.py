"""What the gradient-based learners share: phi is the network's own weights after a few gradient steps."""

import copy
import logging
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from lightning_meta.core import Episode, Examples, FewShotLearner, InputError, Outcome, Predictor, prediction_loss
from lightning_meta.learners.embedding import check_outputs
from lightning_meta.nn.batch_stats import BatchStatistics, BatchStats
from lightning_meta.nn.embed import check_backbone, check_features, embed, feature_width
from lightning_meta.nn.frozen import Frozen
from lightning_meta.nn.inner_loop import Weights, over_tasks
from lightning_meta.nn.torch_corrections import NOT_LIFTED, power_iterated
from lightning_meta.nn.undisturbed import held, unwritten

Vectorize = Literal["auto", "vmap", "loop"]
LOG = logging.getLogger(__name__)
KEEPS_NONE = "batch_stats is running, but this backbone keeps none: choose support or transductive"


class Network(nn.Module):
    """A backbone, and the head on its features where theta has one."""

    def __init__(self, backbone: nn.Module, head: nn.Linear | None):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, x: Shaped[Tensor, "n *shape"]) -> Float[Tensor, "n out"]:
        z = check_features(self.backbone, self.backbone(x), len(x))
        return z if self.head is None else self.head(z)


class GradientLearner(FewShotLearner):
    """theta: a network and what a subclass adds. phi: its fast weights, a set a task.

    The network is a backbone and a linear head of `outputs`, or, where each task makes its own head (`outputs` None), the
    backbone alone. Any module serves as backbone, unpatched. A subclass says how the weights of one task
    descend.
    """

    def __init__(
        self,
        backbone: nn.Module,
        outputs: int | None,
        inner_steps: int,
        test_steps: int | None,
        batch_stats: BatchStats,
        vectorize: Vectorize,
        features: int | None,
    ):
        super().__init__()
        check_backbone(backbone)
        test_steps = inner_steps if test_steps is None else test_steps
        if inner_steps < 0 or test_steps < 0:
            raise InputError(f"inner_steps is {inner_steps} and test_steps {test_steps}; both must be 0 or more")
        if batch_stats not in ("running", "support", "transductive"):
            raise InputError(f"batch_stats is {batch_stats!r}; choose running, support or transductive")
        frozen = {m for part in backbone.modules() if isinstance(part, Frozen) for m in part.modules()}
        norms = [m for m in backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m not in frozen]
        if batch_stats == "running" and not all(m.track_running_stats for m in norms):
            raise InputError(KEEPS_NONE)
        if vectorize not in ("auto", "vmap", "loop"):
            raise InputError(f"vectorize is {vectorize!r}; choose auto, vmap or loop")
        self.network = Network(backbone, None if outputs is None else _head(backbone, features, outputs))
        self.outputs, self.inner_steps, self.test_steps = outputs, inner_steps, test_steps
        self.vectorize: Vectorize = vectorize
        self.batch_stats: BatchStats = batch_stats
        self.normalises = True if norms else None  # by a batch; None: not known before the first pass
        self._iterated = power_iterated(backbone)
        self._lifted = not any(isinstance(m, NOT_LIFTED) for m in backbone.modules())

    def judged_by(self, batch_stats: BatchStats) -> "GradientLearner":
        """This learner with the same theta, normalised by another choice."""
        other = copy.copy(self)
        other.batch_stats, other.transductive = batch_stats, None
        return other

    @abstractmethod
    def descend(self, weights: Weights, support: Examples, steps: int) -> Weights:
        """Fast weights of ONE task (no tasks axis) after `steps` inner steps from `weights` on its support set."""

    def start(self) -> Weights:
        """The weights that the inner loop adapts, as they are in theta; frozen ones stay."""
        return {name: w for name, w in self.network.named_parameters() if w.requires_grad}

    def adapt(self, support: Examples) -> "FastWeights":
        """phi after `inner_steps` in training mode; in evaluation mode after `test_steps`, and without its graph."""
        return self.adapt_steps(support, self.inner_steps if self.training else self.test_steps)

    def adapt_steps(self, support: Examples, steps: int) -> "FastWeights":
        graph = self.training and torch.is_grad_enabled()
        with torch.inference_mode(False), torch.set_grad_enabled(graph), without_half(support.x.device.type):
            support = Examples(*(part.clone() if part.is_inference() else part for part in support))
            weights = self.descend_all(support, steps)
            return FastWeights(self, weights, self.seen(support))

    @property
    def sees_support(self) -> bool:
        return self.batch_stats == "support" and self.normalises is not False

    def seen(self, support: Examples) -> Tensor:
        """What queries are normalised by, besides themselves, [tasks, n', *shape]; n' is 0 where it is nothing."""
        return support.x if self.sees_support else torch.empty_like(support.x[:, :0])

    def descend_all(self, support: Examples, steps: int) -> Weights:
        """Fast weights of every task, each [tasks, *its shape]; InputError where the tasks are of another width."""
        self._check_outputs(support)
        return self.over_tasks(lambda one: self.descend(self.start(), one, steps), support, like=support.x)

    def over_tasks(self, function: Callable[..., Any], *args: Any, like: Tensor) -> Any:
        """Lift a function of one task over the leading axis of every tensor in `args`, as `vectorize` says; `like` are
        examples of the tasks. Where vmap fails and a loop does not, `auto` goes over to the loop, for good."""
        if not self.vectorized(like):
            return over_tasks(function, *args, vectorize=False)
        luck = torch.cuda.get_rng_state(like.device) if like.is_cuda else torch.get_rng_state()
        try:
            return over_tasks(function, *args, vectorize=True)
        except InputError:
            raise
        except Exception as error:  # of many kinds: a missing rule, a shape, a branch on data
            torch.cuda.set_rng_state(luck, like.device) if like.is_cuda else torch.set_rng_state(luck)
            found = over_tasks(function, *args, vectorize=False)
            said = f"vmap cannot lift {type(self.network.backbone).__name__} over the tasks ({first_line(error)})"
            if self.vectorize == "vmap":
                raise InputError(f"{said}: set vectorize to loop") from error
            LOG.warning("%s: a loop takes them one by one", said)
            self.vectorize = "loop"
            return found

    def predict(self, weights: Weights, x: Tensor, seen: Tensor) -> Tensor:
        """Outputs [n, outputs] of one task for x [n, *shape], by `weights` and, what is not there, by theta's."""
        return self.run(self.network, weights, x, seen)

    def run(self, module: nn.Module, weights: Weights, x: Tensor, seen: Tensor) -> Tensor:
        """The network, or a part of it, on x; for `batch_stats: support` normalised by `seen` [n', *shape]."""
        rows = torch.cat([seen, x]) if len(seen) else x
        if not len(rows):  # few layers take an empty batch
            rows = x.new_zeros(1, *x.shape[1:])
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        statistics = BatchStatistics(self.batch_stats, len(seen))
        # Of torch's attention kernels the plain one alone has a second derivative.
        with unwritten(module), held(self._iterated), statistics, sdpa_kernel(SDPBackend.MATH):
            found = functional_call(module, {**buffers, **weights}, (rows,))
        self.normalises = bool(self.normalises) or statistics.met
        if statistics.without and self.batch_stats == "running":
            raise InputError(KEEPS_NONE)
        return check_features(module, found, len(rows))[len(seen) :][: len(x)]

    def support_loss(self, weights: Weights, support: Examples) -> Tensor:
        """L(phi, D^tr) of one task, a scalar."""
        return prediction_loss(self.predict(weights, support.x, seen=support.x[:0]), support.y)

    def loss(self, episode: Episode) -> Outcome:
        """The meta-objective; theta's running statistics, for `batch_stats: running`, and the singular vectors of
        spectral_norm follow by a pass over the support set."""
        outcome = self.meta_loss(episode)
        if self.training and (self._iterated or (self.normalises and self.batch_stats == "running")):
            with torch.no_grad():
                embed(self.network.get_submodule("backbone"), episode.support.x)
        return outcome

    def meta_loss(self, episode: Episode) -> Outcome:
        """The query loss of phi, where a subclass has no other objective."""
        return super().loss(episode)

    def vectorized(self, x: Tensor) -> bool:
        """auto: vmap, but a loop for what vmap cannot lift, and on a CPU for large images, where grouped convolutions lose
        more than the loop costs."""
        faster = (x.is_cuda or x.shape[2:].numel() < 2048) and self._lifted
        return self.vectorize == "vmap" or (self.vectorize == "auto" and faster)

    def _check_outputs(self, support: Examples) -> None:
        if self.outputs is not None:  # None: each task makes its own head
            check_outputs(self, support, self.outputs)


@dataclass(frozen=True, eq=False)
class FastWeights(Predictor):
    """phi of a gradient-based learner: `weights` by name, each [tasks, *its shape]; what is not there is theta's.

    `seen` [tasks, n', *shape] is what queries are normalised by, besides themselves: with `batch_stats: support` the
    support images, else nothing, n' = 0.
    """

    learner: GradientLearner
    weights: Weights
    seen: Tensor

    def __call__(self, x: Shaped[Tensor, "tasks n *shape"]) -> Float[Tensor, "tasks n out"]:
        return self.learner.over_tasks(self.learner.predict, self.weights, x, self.seen, like=x)


def without_half(device: str) -> AbstractContextManager[object]:
    """float16's range is too short for inner gradients, which no loss scaler sees: there the inner loop is float32."""
    half = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16
    return torch.autocast(device, enabled=False) if half else nullcontext()


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _head(backbone: nn.Module, features: int | None, outputs: int) -> nn.Linear:
    if outputs < 1:
        raise InputError(f"outputs is {outputs}; it must be 1 or more")
    return nn.Linear(feature_width(backbone, features), outputs)
