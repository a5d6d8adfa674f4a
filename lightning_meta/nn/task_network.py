"""A network that runs with the weights of one task at a time, and is lifted over the `tasks` axis of a meta-batch."""

import copy
import logging
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from lightning_meta.core import InputError, prediction_loss
from lightning_meta.nn.batch_stats import BatchStatistics, BatchStats
from lightning_meta.nn.embed import check_backbone, check_features, embed, feature_width
from lightning_meta.nn.frozen import Frozen
from lightning_meta.nn.inner_loop import Task, Weights, over_tasks
from lightning_meta.nn.torch_corrections import NOT_LIFTED, power_iterated
from lightning_meta.nn.undisturbed import held, unwritten

Vectorize = Literal["auto", "vmap", "loop"]
LOG = logging.getLogger(__name__)
KEEPS_NONE = "batch_stats is running, but this backbone keeps none: choose support or transductive"


class TaskNetwork(nn.Module):
    """A backbone and a linear head whose weights may be replaced by those of a task, without changing the module.

    Args:
        backbone: Any module from [n, *shape] to features [n, d], unpatched.
        outputs: Width of the head: ways of the tasks, or dimensions of a regression target. None for a network without
            a head, to whose features each task's weights bring a head of their own (`head.weight` and `head.bias`).
        batch_stats: Statistics that batch normalisation uses in the inner loop: running, support or transductive (see
            `lightning_meta.nn.batch_stats`).
        vectorize: How several tasks run: all at once by vmap, one after the other in a loop, or auto, which chooses.
        features: Width d of the features, where the backbone has no `out_features` that says it.
    """

    def __init__(
        self,
        backbone: nn.Module,
        outputs: int | None,
        batch_stats: BatchStats,
        vectorize: Vectorize,
        features: int | None = None,
    ):
        super().__init__()
        check_backbone(backbone)
        if batch_stats not in ("running", "support", "transductive"):
            raise InputError(f"batch_stats is {batch_stats!r}; choose running, support or transductive")
        frozen = {m for part in backbone.modules() if isinstance(part, Frozen) for m in part.modules()}
        norms = [m for m in backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m not in frozen]
        if batch_stats == "running" and not all(m.track_running_stats for m in norms):
            raise InputError(KEEPS_NONE)
        if vectorize not in ("auto", "vmap", "loop"):
            raise InputError(f"vectorize is {vectorize!r}; choose auto, vmap or loop")
        if outputs is not None and outputs < 1:
            raise InputError(f"outputs is {outputs}; it must be 1 or more")
        self.backbone = backbone
        self.head = None if outputs is None else nn.Linear(feature_width(backbone, features), outputs)
        self.outputs = outputs
        self.batch_stats: BatchStats = batch_stats
        self.vectorize: Vectorize = vectorize
        self.normalises = True if norms else None  # by the batch; None: not known before the first pass
        self._iterated = power_iterated(backbone)
        self._lifted = not any(isinstance(m, NOT_LIFTED) for m in backbone.modules())

    def forward(self, x: Shaped[Tensor, "n *shape"]) -> Float[Tensor, "n out"]:
        """Outputs, or without a head features, by the module's own weights."""
        z = check_features(self.backbone, self.backbone(x), len(x))
        return z if self.head is None else self.head(z)

    def start(self) -> Weights:
        """The weights from which an inner loop starts: all that are trained, by name. Frozen ones are left out."""
        return {name: w for name, w in self.named_parameters() if w.requires_grad}

    def predict(self, weights: Weights, x: Tensor, support: Tensor | None = None) -> Float[Tensor, "n out"]:
        """Outputs for x [n, *shape] of one task, by its `weights` and, for names that these lack, by the module's own.

        Args:
            support: Inputs [n', *shape] of the task's support set, for queries; `batch_stats: support` normalises by them.
        """
        if self.head is not None:
            return self._call(self, weights, x, support)
        return F.linear(self.features(weights, x, support), weights["head.weight"], weights["head.bias"])

    def features(self, weights: Weights, x: Tensor, support: Tensor | None = None) -> Float[Tensor, "n d"]:
        """Features of x [n, *shape] of one task, by the backbone weights among `weights`; otherwise as `predict`."""
        prefix = "backbone."
        body = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
        return self._call(self.backbone, body, x, support)

    def loss(self, weights: Weights, task: Task) -> Float[Tensor, ""]:
        """L(phi, D^tr) of one task: the loss on its support set."""
        return prediction_loss(self.predict(weights, task.x), task.y)

    def _call(self, module: nn.Module, weights: Weights, x: Tensor, support: Tensor | None) -> Tensor:
        n = 0 if support is None or not self.sees_support else len(support)
        rows = torch.cat([support, x]) if support is not None and n else x
        if not len(rows):  # few layers take an empty batch
            rows = x.new_zeros(1, *x.shape[1:])
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        statistics = BatchStatistics(self.batch_stats, n)
        # Of torch's attention kernels only the plain one has a second derivative.
        with unwritten(module), held(self._iterated), statistics, sdpa_kernel(SDPBackend.MATH):
            outputs = functional_call(module, {**buffers, **weights}, (rows,))
        self.normalises = bool(self.normalises) or statistics.met
        if statistics.without and self.batch_stats == "running":
            raise InputError(KEEPS_NONE)
        return check_features(module, outputs, len(rows))[n:][: len(x)]

    @property
    def sees_support(self) -> bool:
        """Return whether queries are normalised by the support set, as far as that is known before the first pass."""
        return self.batch_stats == "support" and self.normalises is not False

    def context(self, support: Shaped[Tensor, "tasks n *shape"]) -> Tensor:
        """Return the support inputs that phi keeps to normalise queries by; empty if they are not used."""
        return support if self.sees_support else torch.empty_like(support[:, :0])

    def over_tasks(self, function: Callable[..., Any], x: Shaped[Tensor, "tasks n *shape"], *args: Any) -> Any:
        """Lift a function of one task over the leading axis of x and of every tensor in `args`, as `vectorize` says.

        Where vmap fails and a loop does not, `auto` changes to the loop, for good. Raises InputError where `vmap` fails.
        """
        small = x.is_cuda or x.shape[2:].numel() < 2048  # large images lose more by grouped convolutions on a CPU
        if self.vectorize == "loop" or (self.vectorize == "auto" and not (small and self._lifted)):
            return over_tasks(function, x, *args, vectorize=False)
        noise = torch.cuda.get_rng_state(x.device) if x.is_cuda else torch.get_rng_state()
        try:
            return over_tasks(function, x, *args, vectorize=True)
        except InputError:
            raise
        except Exception as error:  # of many kinds: a missing rule, a shape, a branch on data
            torch.cuda.set_rng_state(noise, x.device) if x.is_cuda else torch.set_rng_state(noise)
            results = over_tasks(function, x, *args, vectorize=False)
            message = f"vmap cannot lift {type(self.backbone).__name__} over the tasks ({first_line(error)})"
            if self.vectorize == "vmap":
                raise InputError(f"{message}: set vectorize to loop") from error
            LOG.warning("%s: a loop takes them one by one", message)
            self.vectorize = "loop"
            return results

    @torch.no_grad()
    def track(self, x: Shaped[Tensor, "tasks n *shape"]) -> None:
        """Move what passes in training mode move: running statistics, where they are used, and spectral_norm's vectors."""
        if self.training and (self._iterated or (self.normalises and self.batch_stats == "running")):
            embed(self.backbone, x)

    def normalised_by(self, batch_stats: BatchStats) -> "TaskNetwork":
        """This network with the same weights, normalised by another choice of statistics."""
        other = copy.copy(self)  # shares its parts
        other.batch_stats = batch_stats
        return other


def first_line(error: Exception) -> str:
    """The kind of an error and the first line of its message."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
