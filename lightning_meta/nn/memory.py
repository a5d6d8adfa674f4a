"""Cells that read a sequence step by step: an LSTM alone, and an LSTM that controls an external memory.

Adam Santoro, Sergey Bartunov, Matthew Botvinick, Daan Wierstra and Timothy Lillicrap. Meta-Learning with Memory-Augmented
Neural Networks. ICML 2016, arXiv:1605.06065, section 3.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class MemoryState(NamedTuple):
    """The state of every sequence."""

    h: Float[Tensor, "batch hidden"]  # of the controller
    c: Float[Tensor, "batch hidden"]  # its cell
    read: Float[Tensor, "batch reads*columns"]  # from the memory in the last step
    memory: Float[Tensor, "batch rows columns"]
    read_weights: Float[Tensor, "batch reads rows"]  # of each head, in the last step
    usage: Float[Tensor, "batch rows"]


class LeastRecentlyUsedAccess(nn.Module):
    """An LSTM controller with a memory of `rows` x `columns` that it reads by content, with `reads` heads, and writes by
    least recently used access: each head writes its key where it read last, or to rows long unused,

        w_r = softmax(cosine(key, M))                                         read weights, section 3.1
        w_w = sigmoid(alpha) w_r' + (1 - sigmoid(alpha)) w_lu'                write weights, from the step before
        M   = M', wiped at the least used row, + w_w key
        w_u = decay w_u' + w_r + w_w                                          usage

    with w_lu 1 at the `reads` rows of least usage, for every head, and 0 elsewhere (section 3.2). With rows = 0 it is the
    LSTM alone, on the same inputs. The output is [h, what was read].

    Args:
        inputs: Width of an input.
        hidden: Units of the LSTM.
        rows: Rows of the memory; 0 for none.
        columns: Width of a row of the memory.
        reads: Number of read heads.
        decay: Factor by which the usage of a row fades at each step.
    """

    def __init__(self, inputs: int, hidden: int, rows: int, columns: int, reads: int, decay: float):
        super().__init__()
        self.hidden, self.rows, self.columns, self.decay = hidden, rows, columns, decay
        self.reads = reads if rows else 0
        self.out_features = hidden + self.reads * columns
        self.controller = nn.LSTMCell(inputs + self.reads * columns, hidden)
        self.keys = nn.Linear(hidden, self.reads * columns) if rows else None
        self.gates = nn.Linear(hidden, self.reads) if rows else None

    def start(self, like: Float[Tensor, "batch inputs"]) -> MemoryState:
        """The state before the first step: a wiped memory, whose unused rows rank in their order."""
        batch, zeros = len(like), like.new_zeros
        usage = torch.linspace(0, 1e-3, self.rows, dtype=like.dtype, device=like.device).expand(batch, -1)
        return MemoryState(
            h=zeros(batch, self.hidden),
            c=zeros(batch, self.hidden),
            read=zeros(batch, self.reads * self.columns),
            memory=zeros(batch, self.rows, self.columns) + 1e-6,
            read_weights=zeros(batch, self.reads, self.rows),
            usage=usage,
        )

    def forward(self, x: Float[Tensor, "batch inputs"], state: MemoryState) -> tuple[Tensor, MemoryState]:
        """Take one step of every sequence. Returns the output [batch, out_features] and the state after it."""
        h, c = self.controller(torch.cat([x, state.read], -1), (state.h, state.c))
        if self.keys is None or self.gates is None:
            return h, state._replace(h=h, c=c)
        key = self.keys(h).tanh().unflatten(-1, (self.reads, self.columns))
        gate = self.gates(h).sigmoid().unsqueeze(-1)
        least_used = F.one_hot(state.usage.topk(self.reads, largest=False).indices, self.rows).to(key.dtype)
        write = gate * state.read_weights + (1 - gate) * least_used.sum(1, keepdim=True)
        memory = state.memory * (1 - least_used[:, 0]).unsqueeze(-1) + write.mT @ key
        weights = (F.normalize(key, dim=-1) @ F.normalize(memory, dim=-1).mT).softmax(-1)
        usage = self.decay * state.usage + weights.sum(1) + write.sum(1)
        read = (weights @ memory).flatten(1)
        return torch.cat([h, read], -1), MemoryState(h, c, read, memory, weights, usage)
