"""A learned optimiser for few-shot learning.

Marcin Andrychowicz et al. Learning to learn by gradient descent by gradient descent. NIPS 2016, arXiv:1606.04474.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core import Episode, InputError, Outcome
from lightning_meta.learners._gradient import GradientLearner
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
from lightning_meta.nn.inner_loop import Task, Weights
from lightning_meta.nn.task_network import TaskNetwork, Vectorize


class LearnedRule(nn.Module):
    """The optimiser m itself: an LSTM that reads the gradient of a weight and gives its update, for each weight alone.

        memory = rule.start(weights)
        update, memory = rule(gradient, memory)     # g_t, h_{t+1} = m(gradient_t, h_t)
        weights = weights + update

    Tensors may have any shape, [*coordinates]: every element is a coordinate of its own.

    Args:
        hidden: Units of each layer of the LSTM.
        layers: Number of layers of the LSTM.
        scale: Factor of the updates, which makes them small at first.
    """

    def __init__(self, hidden: int = 20, layers: int = 2, scale: float = 0.1):
        super().__init__()
        if hidden < 1 or layers < 1 or scale <= 0:
            raise InputError(f"hidden {hidden} and layers {layers} must be 1 or more, scale {scale} positive")
        self.lstm = CoordinateLSTM(2, hidden, layers)
        self.output = ColumnLinear(hidden, 1)
        self.scale = scale

    def start(self, weights: Float[Tensor, "*coordinates"]) -> Memory:
        """The memory h_0, for as many coordinates as `weights` has."""
        return self.lstm.start(weights.flatten())

    def forward(
        self, gradient: Float[Tensor, "*coordinates"], memory: Memory
    ) -> tuple[Float[Tensor, "*coordinates"], Memory]:
        h, memory = self.lstm(preprocess(gradient.flatten()), memory)
        return self.scale * self.output(h).view_as(gradient), memory


class LearnedOptimizer(GradientLearner):
    """A learned optimiser, an LSTM that turns the gradient of every weight into its update.

    theta: the optimiser m, a `LearnedRule`, and with `learn_start` the initial weights. phi: the weights after T =
    `inner_steps` of its updates on the support loss, phi_{t+1} = phi_t + m(gradient_t, h_t).

    The meta-objective is the sum of the query losses on the way, eq. 3 with all w_t = 1: sum_t L(phi_t, D^ts) for
    t = 1..T. The gradients that m reads count as constant, as in the paper: no second derivative is built.

    Args:
        backbone: Any module from [n, *shape] to features [n, d].
        outputs: Ways of the tasks, or dimensions of a regression target.
        inner_steps: Number of inner steps in training.
        test_steps: Number of inner steps in evaluation; as many as in training where it is not given.
        learn_start: Learn the initial weights with the optimiser. Otherwise they stay as they were drawn, once (the paper
            draws anew for each task, as `tools/compare_optimizers.py` does).
        hidden: Units of each layer of the LSTM.
        layers: Number of layers of the LSTM.
        scale: Factor of the updates, which makes them small at first.
        batch_stats: Statistics that batch normalisation uses in the inner loop: running averages, those of the support set,
            or transductive, those of the batch itself (see `lightning_meta.nn.batch_stats`).
        vectorize: Run the tasks of a meta-batch together by vmap, one by one in a loop, or as is faster (auto).
        features: Width d of the features, where the backbone has no `out_features` that says it.
    """

    small: ClassVar[dict[str, Any]] = {"hidden": 8, "inner_steps": 2}

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
        super().__init__(TaskNetwork(backbone, outputs, batch_stats, vectorize, features), inner_steps, test_steps)
        if inner_steps < 1:
            raise InputError("inner_steps is 0; the losses after each of them are what is minimised: give 1 or more")
        self.rule = LearnedRule(hidden, layers, scale)
        self.adapted = list(self.network.start())
        if not learn_start:
            self.network.requires_grad_(False)

    def descend(self, task: Task, steps: int) -> Iterator[Weights]:
        weights: Weights = {name: self.network.get_parameter(name) for name in self.adapted}  # learned or not
        memory = self.rule.start(flatten(weights))
        yield weights
        for _ in range(steps):
            gradient, _ = feedback(lambda w: self.network.loss(w, task), weights, first_order=True)
            update, memory = self.rule(gradient, memory)
            weights = unflatten(flatten(weights) + update, weights)
            yield weights

    def loss(self, episode: Episode) -> Outcome:
        """The sum of the query losses after each inner step."""
        losses, prediction = self.query_losses(episode)
        self.network.track(episode.support.x)
        return Outcome(losses.sum(), prediction)
