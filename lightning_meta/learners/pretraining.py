"""Pretraining as meta-learning: ordinary supervised training, then a new head. Baseline and Baseline++.

Wei-Yu Chen, Yen-Cheng Liu, Zsolt Kira, Yu-Chiang Frank Wang and Jia-Bin Huang. A Closer Look at Few-shot
Classification. ICLR 2019, arXiv:1904.04232.
For regression: the pretrained network that Finn et al. 2017 (arXiv:1703.03400), section 5.1, compare MAML with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.func import grad

from lightning_meta.core import (
    Episode,
    Examples,
    FewShotLearner,
    InputError,
    Outcome,
    Predictor,
    check_examples,
    prediction_loss,
)
from lightning_meta.learners._gradient import both_protocols, taking_gradients
from lightning_meta.nn.batch_stats import BatchStats
from lightning_meta.nn.embed import embed
from lightning_meta.nn.inner_loop import Weights, over_tasks
from lightning_meta.nn.task_network import TaskNetwork, Vectorize


class Pretraining(FewShotLearner):
    """Ordinary supervised pretraining, after which every task fits a new head.

    theta: a backbone and a head over all training classes, trained on flat batches. phi: a head fitted to the support
    set from scratch by gradient descent, for any number of ways, and with `finetune: all` the backbone adapted with it.

    A linear head (Baseline) has logits W z + b; a cosine head (Baseline++) `scale` cos(w_c, z), section 3.2. The paper
    refits by 100 steps of SGD with momentum on random batches of 4; here a step takes the whole support set and starts
    where no class is preferred (linear: zero; cosine: every w_c at the mean feature), so phi is a pure function of the
    support set and permuting its labels permutes the logits. In regression the head starts as it is in theta.

    Args:
        backbone: Any module from [n, *shape] to features [n, d].
        classes: Number of classes of the training split, or dimensions of a regression target.
        head: Kind of head, linear or, for classes, cosine.
        scale: Factor of the cosines in training.
        test_scale: Factor of the cosines in phi.
        finetune: Weights that a task adapts: its head alone, whose features are computed once, or all.
        inner_lr: Step size with which a task's head is fitted.
        momentum: Momentum with which a task's head is fitted, in [0, 1).
        weight_decay: Weight decay with which a task's head is fitted.
        test_steps: Number of steps with which a task's head is fitted.
        batch_stats: Statistics that batch normalisation uses in phi: running averages, those of the support set, or
            transductive, those of the batch itself (see `lightning_meta.nn.batch_stats`).
        vectorize: Run the tasks of a meta-batch together by vmap, one by one in a loop, or as is faster (auto); heads alone
            are always fitted for all tasks at once.
        features: Width d of the features, where the backbone has no `out_features` that says it.
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
        super().__init__()
        if head not in ("linear", "cosine"):
            raise InputError(f"head is {head!r}; choose linear or cosine")
        if finetune not in ("head", "all"):
            raise InputError(f"finetune is {finetune!r}; choose head or all")
        if min(inner_lr, scale, test_scale) <= 0:
            raise InputError(f"inner_lr {inner_lr}, scale {scale} and test_scale {test_scale} must be positive")
        if not 0 <= momentum < 1 or weight_decay < 0 or test_steps < 0:
            raise InputError(
                f"momentum {momentum} must be in [0, 1), weight_decay {weight_decay} and test_steps {test_steps} 0 or more"
            )
        self.network = TaskNetwork(backbone, classes, batch_stats, vectorize, features)
        self.classes, self.cosine, self.finetune = classes, head == "cosine", finetune
        self.regression = not self.cosine
        self.scale, self.test_scale, self.test_steps = scale, test_scale, test_steps
        self.inner_lr, self.momentum, self.weight_decay = inner_lr, momentum, weight_decay
        if self.cosine:
            width = self.network.get_parameter("head.weight").shape[1]
            self.network.head = nn.Linear(width, classes, bias=False)

    def loss(self, episode: Episode) -> Outcome:
        """The ordinary supervised loss on the queries of a flat batch, x [rows, n, *shape], y [rows, n] or [rows, n, d];
        each row is normalised by its own statistics, as a task is."""
        self.check_batch(episode)
        x, y = episode.query
        self.check_targets(episode.query)
        if not y.is_floating_point() and episode.query.ways > self.classes:
            raise InputError(
                f"a label is {episode.query.ways - 1}, but the head is over {self.classes} classes: train on the split it was"
                " built for"
            )
        z = embed(self.network.backbone, x)
        prediction = self.outputs(dict(self.network.named_parameters()), z, self.scale)
        return Outcome(prediction_loss(prediction, y), prediction)

    def outputs(self, weights: Weights, z: Tensor, scale: float) -> Tensor:
        """Logits [..., ways], or regression outputs [..., d'], of features z [..., d] by the head among `weights`."""
        if self.cosine:
            return scale * F.normalize(z, dim=-1) @ F.normalize(weights["head.weight"], dim=-1).mT
        return F.linear(z, weights["head.weight"], weights["head.bias"])

    def adapt(self, support: Examples) -> "FittedHead":
        return self.adapt_steps(support, self.test_steps)

    def adapt_steps(self, support: Examples, steps: int) -> "FittedHead":
        self.check_targets(support)
        with taking_gradients(support, graph=False) as support:  # theta does not learn by adapting
            z = self.network.over_tasks(lambda x: self.network.features({}, x), support.x)
            start = self.new_head(z, support)
            if self.finetune == "head":

                def fit_head(z: Tensor, y: Tensor, head: Weights) -> Weights:
                    return self.fit(lambda w: self.outputs(w, z, self.test_scale), y, head, steps)

                weights = over_tasks(fit_head, z, support.y, start, vectorize=True)
            else:

                def fit_all(x: Tensor, y: Tensor, head: Weights) -> Weights:
                    return self.fit(lambda w: self.predict(w, x), y, {**self.network.start(), **head}, steps)

                weights = self.network.over_tasks(fit_all, support.x, support.y, start)
            return FittedHead(self, weights, self.network.context(support.x))

    def predict(self, weights: Weights, x: Tensor, support: Tensor | None = None) -> Tensor:
        """Outputs [n, ways] of one task for x [n, *shape], by weights of a head and, where they are there, of the body."""
        return self.outputs(weights, self.network.features(weights, x, support), self.test_scale)

    def new_head(self, z: Tensor, support: Examples) -> Weights:
        """The head of every task before the first step: weights [tasks, ways, d] and bias [tasks, ways]."""
        theta = {name: w for name, w in self.network.named_parameters() if name.startswith("head.")}
        if support.y.is_floating_point():
            return {name: w.expand(len(z), *w.shape) for name, w in theta.items()}
        if self.cosine:
            return {"head.weight": z.mean(1, keepdim=True).expand(-1, support.ways, -1)}
        shapes = {"head.weight": (support.ways, z.shape[-1]), "head.bias": (support.ways,)}
        return {name: z.new_zeros(len(z), *shape) for name, shape in shapes.items()}

    def fit(self, predict: Callable[[Weights], Tensor], y: Tensor, weights: Weights, steps: int) -> Weights:
        """SGD on one task with momentum m and weight decay: v <- m v + dL/dphi + decay phi, phi <- phi - inner_lr v."""
        velocity = {name: torch.zeros_like(w) for name, w in weights.items()}
        for _ in range(steps):
            gradient = grad(lambda w: prediction_loss(predict(w), y))(weights)
            for name, w in weights.items():
                velocity[name] = self.momentum * velocity[name] + gradient[name] + self.weight_decay * w
            weights = {name: w - self.inner_lr * velocity[name] for name, w in weights.items()}
        return weights

    def check_targets(self, examples: Examples) -> None:
        """Raise InputError where regression targets have other dimensions than theta's. Tasks may have any classes."""
        check_examples(examples)
        if not examples.y.is_floating_point():
            return
        if self.cosine:
            raise InputError(
                "a cosine head classifies, but the targets are real numbers: for regression set head to linear"
            )
        if examples.y.shape[-1] != self.classes:
            raise InputError(
                f"Pretraining was built for {self.classes} target dimensions; these are {examples.y.shape[-1]}"
            )

    def protocols(self) -> list[FewShotLearner]:
        return both_protocols(self, self.network)

    def batch_statistics(self) -> str | None:
        return self.network.batch_stats if self.network.normalises else super().batch_statistics()


@dataclass(frozen=True, eq=False)
class FittedHead(Predictor):
    """phi of Pretraining.

    weights: Weights of each task's head and, with `finetune: all`, of its backbone, each [tasks, *its shape].
    support: What queries are normalised by besides themselves, [tasks, n', *shape]; n' is 0 where it is nothing.
    """

    learner: Pretraining
    weights: Weights
    support: Tensor

    def __call__(self, x: Shaped[Tensor, "tasks n *shape"]) -> Float[Tensor, "tasks n out"]:
        def predict(x: Tensor, weights: Weights, support: Tensor) -> Tensor:
            return self.learner.predict(weights, x, support)

        return self.learner.network.over_tasks(predict, x, self.weights, self.support)
