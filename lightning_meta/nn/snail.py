"""The body of SNAIL: dense temporal convolutions, interleaved with causal attention.

Nikhil Mishra, Mostafa Rohaninejad, Xi Chen and Pieter Abbeel. A Simple Neural Attentive Meta-Learner. ICLR 2018,
arXiv:1707.03141, section 3 and figure 2.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core import InputError
from lightning_meta.nn.sequence import SequenceNetwork, check_positive


class SNAIL(SequenceNetwork):
    """Attention(64, 32), TC(T, 128), Attention(256, 128), TC(T, 128), Attention(512, 256): the paper's Omniglot network.

    `length` is T, the longest sequence that its convolutions span, ways * shots + 1; a longer one raises InputError. What
    remains of the tokens is the tokens; every query runs through the network behind them.
    """

    def __init__(self, length: int = 26, width: int = 69, filters: int = 128):
        super().__init__()
        check_positive(length=length, width=width, filters=filters)
        self.width, self.length = width, length
        grown = filters * dense_blocks(length)
        second = width + 32 + grown
        third = second + 128 + grown
        self.blocks = nn.Sequential(
            CausalAttention(width, 64, 32),
            TemporalConvolutions(width + 32, length, filters),
            CausalAttention(second, 256, 128),
            TemporalConvolutions(second + 128, length, filters),
            CausalAttention(third, 512, 256),
        )
        self.out_features = third + 256

    def read(self, tokens: Float[Tensor, "batch t width"]) -> Tensor:
        return tokens

    def answer(self, context: Tensor, tokens: Float[Tensor, "batch q width"]) -> Tensor:
        q, steps = tokens.shape[1], context.shape[1] + 1
        if steps > self.length:
            raise InputError(
                f"SNAIL was built for sequences of {self.length} steps, this task's have {steps} (the support set and a query):"
                " set `length` to ways * shots + 1"
            )
        behind = torch.cat([context.repeat_interleave(q, 0), tokens.flatten(0, 1).unsqueeze(1)], dim=1)
        return self.blocks(behind)[:, -1].unflatten(0, (-1, q))


class TemporalConvolutions(nn.Module):
    """TC(T, filters): ceil(log2 T) dense blocks, each x -> [x, tanh(conv x) * sigmoid(conv x)].

    Their dilations are 1, 2, 4, ..., so that every step is seen once; the paper's pseudo-code counts from 2.
    """

    def __init__(self, d: int, length: int, filters: int):
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(d + i * filters, 2 * filters, kernel_size=2, dilation=2**i) for i in range(dense_blocks(length))
        )

    def forward(self, x: Float[Tensor, "batch t d"]) -> Float[Tensor, "batch t out"]:
        x = x.mT
        for i, convolution in enumerate(self.convolutions):
            value, gate = convolution(F.pad(x, (2**i, 0))).chunk(2, dim=1)
            x = torch.cat([x, value.tanh() * gate.sigmoid()], dim=1)
        return x.mT


def dense_blocks(length: int) -> int:
    return max(1, math.ceil(math.log2(length)))


class CausalAttention(nn.Module):
    """Attention(keys, values): x -> [x, attention of each step over itself and those before it]."""

    def __init__(self, d: int, keys: int, values: int):
        super().__init__()
        self.query, self.value = nn.Linear(d, keys), nn.Linear(d, values)
        self.key = nn.Linear(d, keys, bias=False)  # which a softmax over keys would cancel

    def forward(self, x: Float[Tensor, "batch t d"]) -> Float[Tensor, "batch t out"]:
        read = F.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x), is_causal=True)
        return torch.cat([x, read], dim=-1)
