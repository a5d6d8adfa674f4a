"""A learned optimiser for few-shot learning.

Marcin Andrychowicz et al. Learning to learn by gradient descent by gradient descent. NIPS 2016, arXiv:1606.04474.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core import Episode, Examples, InputError, Outcome, prediction_loss
from lightning_meta.learners.fast_weights import GradientLearner, Vectorize, without_half
from lightning_meta.nn.batch_stats import BatchStats
from lightning_meta.nn.coordinatewise import (
    ColumnLinear,
    CoordinateLSTM,
    Memory,
    feedback,
    flatten,
    preprocess,
    unflatten,
)
from lightning_meta.nn.inner_loop import Weights


class LearnedRule(nn.Module):
    """m, the optimiser itself: a two-layer LSTM that reads the gradient of a weight and gives its update, for each alone.

        memory = rule.start(weights)
        update, memory = rule(gradient, memory)     # g_t, h_{t+1} = m(gradient_t, h_t)
        weights = weights + update

    Tensors may have any shape, [*coordinates]: every element is a coordinate of its own. `scale` makes updates small at
    first.
    """

    def __init__(self, hidden: int = 20, layers: int = 2, scale: float = 0.1):
        super().__init__()
        if hidden < 1 or layers < 1 or scale <= 0:
            raise InputError(f"hidden {hidden} and layers {layers} must be 1 or more, scale {scale} positive")
        self.lstm = CoordinateLSTM(2, hidden, layers)
        self.output = ColumnLinear(hidden, 1)
        self.scale = scale

    def start(self, weights: Float[Tensor, "*coordinates"]) -> Memory:
        """h_0, for as many coordinates as `weights` has."""
        return self.lstm.start(weights.flatten())

    def forward(
        self, gradient: Float[Tensor, "*coordinates"], memory: Memory
    ) -> tuple[Float[Tensor, "*coordinates"], Memory]:
        h, memory = self.lstm(preprocess(gradient.flatten()), memory)
        return self.scale * self.output(h).view_as(gradient), memory


class LearnedOptimizer(GradientLearner):
    """theta: the optimiser m, a `LearnedRule`, and with `learn_start` the initial weights. phi: the weights after T =
    `inner_steps` of its updates on the support loss, phi_{t+1} = phi_t + m(gradient_t, h_t).

    The meta-objective is the sum of the query losses on the way, eq. 3 with all w_t = 1: sum_t L(phi_t, D^ts) for
    t = 1..T. The gradients that m reads count as constant, as in the paper: no second derivative is built.

    Args:
        backbone: any module [n, *shape] -> [n, d].
        outputs: ways of the tasks, or dimensions of a regression target.
        inner_steps: T in training; `test_steps`, at test (the same if not given).
        learn_start: learn the initial weights with m; if not, they stay as they were drawn, once (the paper draws anew for
            each task, as `tools/compare_optimizers.py` does).
        hidden, layers, scale: of the LearnedRule.
        batch_stats, vectorize, features: as for MAML.
    """

    def __init__(
        self,
        backbone: nn.Module,
        outputs: int,
        inner_steps: int = 5,
        test_steps: int | None = None,
        learn_start: bool = False,
        hidden: int = 20,
        layers: int = 2,
        scale: float = 0.1,
        batch_stats: BatchStats = "transductive",
        vectorize: Vectorize = "auto",
        features: int | None = None,
    ):
        super().__init__(backbone, outputs, inner_steps, test_steps, batch_stats, vectorize, features)
        if inner_steps < 1:
            raise InputError("inner_steps is 0; the losses after each of them are what is minimised: give 1 or more")
        self.rule = LearnedRule(hidden, layers, scale)
        self.adapted = list(super().start())
        if not learn_start:
            self.network.requires_grad_(False)

    def start(self) -> Weights:
        """The weights that m updates, whether or not they are learned too."""
        return {name: self.network.get_parameter(name) for name in self.adapted}

    def descend(self, weights: Weights, support: Examples, steps: int) -> Weights:
        return self.trajectory(weights, support, steps)[-1]

    def trajectory(self, weights: Weights, support: Examples, steps: int) -> list[Weights]:
        """phi_0, ..., phi_steps of one task."""
        path, memory = [weights], self.rule.start(flatten(weights))
        for _ in range(steps):
            gradient, _ = feedback(lambda w: self.support_loss(w, support), path[-1], first_order=True)
            update, memory = self.rule(gradient, memory)
            path.append(unflatten(flatten(path[-1]) + update, weights))
        return path

    def meta_loss(self, episode: Episode) -> Outcome:
        self._check_outputs(episode.support)
        x = episode.support.x
        with without_half(x.device.type):
            path = self.over_tasks(self.predictions, *episode, like=x)
        losses = torch.stack([prediction_loss(prediction, episode.query.y) for prediction in path])
        return Outcome(losses.sum(), path[-1])

    def predictions(self, support: Examples, query: Examples) -> list[Tensor]:
        """The query predictions [n, outputs] of one task after each inner step."""
        seen = support.x if self.sees_support else support.x[:0]
        path = self.trajectory(self.start(), support, self.inner_steps)
        return [self.predict(weights, query.x, seen) for weights in path[1:]]
