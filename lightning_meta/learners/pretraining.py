"""Pretraining as meta-learning: ordinary supervised training, then a new head. Baseline and Baseline++.

Wei-Yu Chen, Yen-Cheng Liu, Zsolt Kira, Yu-Chiang Frank Wang and Jia-Bin Huang. A Closer Look at Few-shot
Classification. ICLR 2019, arXiv:1904.04232.
For regression: the pretrained network that Finn et al. 2017 (arXiv:1703.03400), section 5.1, compare MAML with.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import grad

from lightning_meta.core import Episode, Examples, InputError, Outcome, check_examples, prediction_loss
from lightning_meta.learners.fast_weights import GradientLearner, Vectorize
from lightning_meta.nn.batch_stats import BatchStats
from lightning_meta.nn.embed import embed
from lightning_meta.nn.inner_loop import Weights, over_tasks


class Pretraining(GradientLearner):
    """theta: a backbone and a head over all training classes, trained on flat batches. phi: a head fitted to the support
    set from scratch by gradient descent, for any number of ways, and with `finetune: all` the backbone adapted with it.

    A linear head (Baseline) has logits W z + b; a cosine head (Baseline++) `scale` cos(w_c, z), section 3.2. The paper
    refits by 100 steps of SGD with momentum on random batches of 4; here a step takes the whole support set and starts
    where no class is preferred (linear: zero; cosine: every w_c at the mean feature), so phi is a pure function of the
    support set and permuting its labels permutes the logits. In regression the head starts as it is in theta.

    Args:
        backbone: any module [n, *shape] -> [n, d].
        classes: of the training split, or dimensions of a regression target.
        head: `linear`, or `cosine` for classes.
        scale: factor of the cosines in training; `test_scale`, in phi.
        finetune: the `head` alone, its features taken once, or `all` weights.
        inner_lr: step size of the refit, with `momentum` and `weight_decay`; `test_steps`, how many steps.
        batch_stats: what batch norm normalises by in phi; see `lightning_meta.nn.batch_stats`.
        vectorize: tasks by `vmap` or in a `loop`; a head alone is always refitted for all tasks at once.
        features: d, where the backbone has no `out_features` to tell it.
    """

    flat = True

    def __init__(
        self,
        backbone: nn.Module,
        classes: int,
        head: Literal["linear", "cosine"] = "linear",
        scale: float = 10.0,
        test_scale: float = 10.0,
        finetune: Literal["head", "all"] = "head",
        inner_lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.001,
        test_steps: int = 100,
        batch_stats: BatchStats = "running",
        vectorize: Vectorize = "auto",
        features: int | None = None,
    ):
        super().__init__(backbone, classes, test_steps, test_steps, batch_stats, vectorize, features)
        if head not in ("linear", "cosine"):
            raise InputError(f"head is {head!r}; choose linear or cosine")
        if finetune not in ("head", "all"):
            raise InputError(f"finetune is {finetune!r}; choose head or all")
        if min(inner_lr, scale, test_scale) <= 0:
            raise InputError(f"inner_lr {inner_lr}, scale {scale} and test_scale {test_scale} must be positive")
        if not 0 <= momentum < 1 or weight_decay < 0:
            raise InputError(f"momentum {momentum} must be in [0, 1), weight_decay {weight_decay} 0 or more")
        self.classes, self.cosine, self.finetune = classes, head == "cosine", finetune
        self.scale, self.test_scale = scale, test_scale
        self.inner_lr, self.momentum, self.weight_decay = inner_lr, momentum, weight_decay
        if self.cosine:
            width = self.network.get_parameter("head.weight").shape[1]
            self.network.add_module("head", nn.Linear(width, classes, bias=False))

    def loss(self, episode: Episode) -> Outcome:
        """The ordinary supervised loss of a flat batch, x [rows, n, *shape], y [rows, n] or [rows, n, d]; each row is
        normalised by its own statistics, as a task is."""
        self.check_batch(episode)
        examples = episode.query
        self._check_outputs(examples)
        if not examples.y.is_floating_point() and examples.ways > self.classes:
            raise InputError(
                f"a label is {examples.ways - 1}, but the head is over {self.classes} classes: train on the split it was"
                " built for"
            )
        z = embed(self.network.get_submodule("backbone"), examples.x)
        prediction = self.head(dict(self.network.named_parameters()), z, self.scale)
        return Outcome(prediction_loss(prediction, examples.y), prediction)

    def head(self, weights: Weights, z: Tensor, scale: float) -> Tensor:
        """Logits [..., ways], or regression outputs [..., d'], of features z [..., d]."""
        if self.cosine:
            return scale * F.normalize(z, dim=-1) @ F.normalize(weights["head.weight"], dim=-1).mT
        return F.linear(z, weights["head.weight"], weights["head.bias"])

    def predict(self, weights: Weights, x: Tensor, seen: Tensor) -> Tensor:
        return self.head(weights, self.embedded(weights, x, seen), self.test_scale)

    def embedded(self, weights: Weights, x: Tensor, seen: Tensor) -> Tensor:
        """Features [n, d] of one task, by the backbone in `weights`, if it is there, or else theta's."""
        prefix = "backbone."
        body = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
        return self.run(self.network.get_submodule("backbone"), body, x, seen)

    @torch.no_grad()  # phi's own gradients apart, there are none: theta does not learn by adapting
    def descend_all(self, support: Examples, steps: int) -> Weights:
        self._check_outputs(support)
        z = self.over_tasks(lambda x: self.embedded({}, x, x[:0]), support.x, like=support.x)
        start = self.new_head(z, support)
        if self.finetune == "head":
            return over_tasks(lambda one, w: self.descend(w, one, steps), Examples(z, support.y), start, vectorize=True)
        return self.over_tasks(
            lambda one, w: self.descend({**self.start(), **w}, one, steps), support, start, like=support.x
        )

    def new_head(self, z: Tensor, support: Examples) -> Weights:
        """Where the refit starts, for every task: weights [tasks, ways, d] and bias [tasks, ways]."""
        theta = {name: w for name, w in self.network.named_parameters() if name.startswith("head.")}
        if support.y.is_floating_point():
            return {name: w.expand(len(z), *w.shape) for name, w in theta.items()}
        if self.cosine:
            return {"head.weight": z.mean(1, keepdim=True).expand(-1, support.ways, -1)}
        shapes = {"head.weight": (support.ways, z.shape[-1]), "head.bias": (support.ways,)}
        return {name: z.new_zeros(len(z), *shape) for name, shape in shapes.items()}

    def descend(self, weights: Weights, support: Examples, steps: int) -> Weights:
        """SGD with momentum m and weight decay: v <- m v + dL/dphi + decay phi, phi <- phi - inner_lr v."""
        velocity = {name: torch.zeros_like(w) for name, w in weights.items()}
        for _ in range(steps):
            gradient = grad(lambda w: self.support_loss(w, support))(weights)
            for name, w in weights.items():
                velocity[name] = self.momentum * velocity[name] + gradient[name] + self.weight_decay * w
            weights = {name: w - self.inner_lr * velocity[name] for name, w in weights.items()}
        return weights

    def support_loss(self, weights: Weights, support: Examples) -> Tensor:
        """L(phi, D^tr) of one task; for `finetune: head` its support.x are features."""
        if self.finetune == "all":
            return super().support_loss(weights, support)
        return prediction_loss(self.head(weights, support.x, self.test_scale), support.y)

    def _check_outputs(self, support: Examples) -> None:
        """Regression targets have theta's dimensions; classes of a task may be any, those of training `classes`."""
        check_examples(support)
        found = support.y.shape[-1] if support.y.is_floating_point() else None
        if found and self.cosine:
            raise InputError(
                "a cosine head classifies, but the targets are real numbers: for regression set head to linear"
            )
        if found and found != self.classes:
            raise InputError(f"Pretraining was built for {self.classes} target dimensions; these are {found}")
