"""Meta-LSTM.

Sachin Ravi and Hugo Larochelle. Optimization as a Model for Few-Shot Learning. ICLR 2017, OpenReview:rJY0-Kcll.
"""

import math
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core import InputError
from lightning_meta.learners._gradient import UnrolledLearner
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


class GateState(NamedTuple):
    """The state of every coordinate between two steps: the LSTM's memory and both gates [coordinates]."""

    memory: Memory
    input_gate: Tensor
    forget_gate: Tensor


class MetaCell(nn.Module):
    """A gradient step read as the cell of an LSTM: the weights are its cell state, its gates a learned rate and decay.

    An ordinary LSTM reads gradient and loss. From its output h, the weight c and the last gates it computes
        i_t = sigmoid(W_I [h, c_{t-1}, i_{t-1}] + b_I),    f_t = sigmoid(W_F [h, c_{t-1}, f_{t-1}] + b_F),
        c_t = f_t c_{t-1} - i_t gradient
    for each coordinate by the same W and b. At first it is close to gradient descent of rate `inner_lr`, each step of which
    scales the weights by about `forget_gate`.

    Args:
        hidden: Units of the LSTM.
        inner_lr: Approximate value of the input gate at first, between 0 and 1.
        forget_gate: Approximate value of the forget gate at first, between 0 and 1.
    """

    def __init__(self, hidden: int, inner_lr: float, forget_gate: float):
        super().__init__()
        self.lstm = CoordinateLSTM(inputs=4, hidden=hidden)
        self.input_gate, self.forget_gate = (_gate(hidden + 2, start) for start in (inner_lr, forget_gate))

    def start(self, c: Float[Tensor, " coordinates"]) -> GateState:
        return GateState(self.lstm.start(c), torch.zeros_like(c), torch.zeros_like(c))

    def forward(
        self,
        c: Float[Tensor, " coordinates"],
        gradient: Float[Tensor, " coordinates"],
        loss: Float[Tensor, ""],
        state: GateState,
    ) -> tuple[Float[Tensor, " coordinates"], GateState]:
        h, memory = self.lstm(torch.cat([preprocess(gradient), preprocess(loss.expand(len(c)))]), state.memory)
        i = self.input_gate(torch.cat([h, torch.stack([c, state.input_gate])]))[0].sigmoid()
        f = self.forget_gate(torch.cat([h, torch.stack([c, state.forget_gate])]))[0].sigmoid()
        return f * c - i * gradient, GateState(memory, i, f)


class MetaLSTM(UnrolledLearner):
    """Meta-LSTM, an LSTM that sets the learning rate and the decay of every weight in every inner step.

    theta: the initial weights c_0 and an LSTM that turns gradients into updates of any weight. phi: the weights after
    `inner_steps` of its updates on the support loss.

    What the cell reads, gradients and losses, counts as constant in the meta-gradient, as in the paper, so that no second
    derivative is built; `first_order: false` keeps it whole. (A first-order gradient misleads c_0 where the learned rates
    grow large: outer steps must be small.)

    Args:
        backbone: Any module from [n, *shape] to features [n, d].
        outputs: Ways of the tasks, or dimensions of a regression target.
        inner_steps: Number of inner steps in training.
        test_steps: Number of inner steps in evaluation; as many as in training where it is not given.
        inner_batch: Number of support examples that an update sees, the next ones each time, going round the set in its
            (random) order; 0 for all of them.
        inner_lr: Approximate value of the input gate, that is of the learning rate, at first; between 0 and 1.
        forget_gate: Approximate value of the forget gate at first; between 0 and 1, and high.
        first_order: Treat the gradients and losses that the LSTM reads as constants in the meta-gradient.
        hidden: Units of the LSTM.
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
        inner_batch: int = 0,
        inner_lr: float = 0.01,
        forget_gate: float = 0.99,
        first_order: bool = True,
        hidden: int = 20,
        batch_stats: BatchStats = "transductive",
        vectorize: Vectorize = "auto",
        features: int | None = None,
    ):
        super().__init__(TaskNetwork(backbone, outputs, batch_stats, vectorize, features), inner_steps, test_steps)
        if not (0 < inner_lr < 1 and 0 < forget_gate < 1):
            raise InputError(
                f"inner_lr {inner_lr} and forget_gate {forget_gate} are where gates start: both must lie between 0 and 1"
            )
        if inner_batch < 0 or hidden < 1:
            raise InputError(
                f"inner_batch {inner_batch} must be 0 (the whole support set) or more, hidden {hidden} 1 or more"
            )
        self.first_order, self.inner_batch = first_order, inner_batch
        self.cell = MetaCell(hidden, inner_lr, forget_gate)

    def descend(self, task: Task, steps: int) -> Iterator[Weights]:
        weights = self.network.start()
        state = self.cell.start(flatten(weights))
        yield weights
        for step in range(steps):
            batch = task.minibatch(self.inner_batch, step)
            gradient, loss = feedback(lambda w, batch=batch: self.network.loss(w, batch), weights, self.first_order)
            c, state = self.cell(flatten(weights), gradient, loss, state)
            weights = unflatten(c, weights)
            yield weights

    def diagnostics(self) -> dict[str, float]:
        """Both gates as their biases alone would have them."""
        gates = {"input_gate": self.cell.input_gate, "forget_gate": self.cell.forget_gate}
        return {name: gate.bias.sigmoid().item() for name, gate in gates.items()}


def _gate(inputs: int, start: float) -> ColumnLinear:
    """W and b of a gate that is about `start` for any input: small weights, and the bias that gives this value."""
    gate = ColumnLinear(inputs, 1)
    nn.init.uniform_(gate.weight, -0.01, 0.01)
    nn.init.constant_(gate.bias, math.log(start / (1 - start)))
    return gate
