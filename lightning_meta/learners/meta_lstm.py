"""Meta-LSTM.

Sachin Ravi and Hugo Larochelle. Optimization as a Model for Few-Shot Learning. ICLR 2017, OpenReview:rJY0-Kcll.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core import Examples, InputError
from lightning_meta.learners.fast_weights import GradientLearner, Vectorize
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
from lightning_meta.nn.inner_loop import Weights, minibatch


class GateState(NamedTuple):
    """What a coordinate remembers of the last step: the LSTM's memory, and both gates [coordinates]."""

    memory: Memory
    input_gate: Tensor
    forget_gate: Tensor


class MetaCell(nn.Module):
    """A gradient step read as the cell of an LSTM: the weights are its cell state, its gates a learned rate and decay.

    An ordinary LSTM reads gradient and loss; of its output h, the weight c and the last gates it is made that
        i_t = sigmoid(W_I [h, c_{t-1}, i_{t-1}] + b_I),    f_t = sigmoid(W_F [h, c_{t-1}, f_{t-1}] + b_F),
        c_t = f_t c_{t-1} - i_t gradient
    for each coordinate by the same W and b. It starts near gradient descent of rate `inner_lr`, each step scaling the
    weights by about `forget_gate`.
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


class MetaLSTM(GradientLearner):
    """theta: the initial weights c_0 and an LSTM that turns gradients into updates of any weight. phi: the weights after
    `inner_steps` of its updates on the support loss.

    What the cell reads, gradients and losses, counts as constant in the meta-gradient, as in the paper, so that no second
    derivative is built; `first_order: false` keeps it whole. (A first-order gradient misleads c_0 where the learned rates
    grow large: outer steps must be small.)

    Args:
        backbone: any module [n, *shape] -> [n, d].
        outputs: ways of the tasks, or dimensions of a regression target.
        inner_steps: updates in training; `test_steps`, at test (the same if not given).
        inner_batch: support examples that an update sees, going round the set in its (random) order; 0 for all.
        inner_lr: about where the input gate starts, that is the learning rate; between 0 and 1.
        forget_gate: about where the forget gate starts; between 0 and 1, high.
        first_order: see above.
        hidden: size of the LSTM.
        batch_stats, vectorize, features: as for MAML.
    """

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
        super().__init__(backbone, outputs, inner_steps, test_steps, batch_stats, vectorize, features)
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

    def descend(self, weights: Weights, support: Examples, steps: int) -> Weights:
        state = self.cell.start(flatten(weights))
        for step in range(steps):
            batch = minibatch(support, self.inner_batch, step)
            gradient, loss = feedback(lambda w, batch=batch: self.support_loss(w, batch), weights, self.first_order)
            c, state = self.cell(flatten(weights), gradient, loss, state)
            weights = unflatten(c, weights)
        return weights

    def diagnostics(self) -> dict[str, float]:
        """Both gates as their biases alone would have them."""
        gates = {"input_gate": self.cell.input_gate, "forget_gate": self.cell.forget_gate}
        return {name: gate.bias.sigmoid().item() for name, gate in gates.items()}


def _gate(inputs: int, start: float) -> ColumnLinear:
    """W and b of a gate that is about `start` for any input: small weights, and the bias that says so."""
    gate = ColumnLinear(inputs, 1)
    nn.init.uniform_(gate.weight, -0.01, 0.01)
    nn.init.constant_(gate.bias, math.log(start / (1 - start)))
    return gate
