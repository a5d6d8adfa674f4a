"""The body of SNAIL: dense temporal convolutions, interleaved with causal attention.

Nikhil Mishra, Mostafa Rohaninejad, Xi Chen and Pieter Abbeel. A Simple Neural Attentive Meta-Learner. ICLR 2018,
arXiv:1707.03141, section 3 and figure 2.
"""

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core import InputError
from lightning_meta.nn.sequence import Memory, SequenceNetwork, check_at_least


class SNAIL(SequenceNetwork):
    """The body of SNAIL, dense temporal convolutions interleaved with causal attention.

    By default it is the paper's Omniglot network: Attention(64, 32), TC(T, 128), Attention(256, 128), TC(T, 128),
    Attention(512, 256). Its memory of the tokens holds keys and values, and what the convolutions reach back to. A sequence
    longer than `length` raises InputError.

    Args:
        length: Length T of the longest sequence that the convolutions span: ways * shots + 1 for a few-shot task, the steps
            of a trial for an agent.
        width: Width of a token.
        filters: Filters of every temporal convolution.
        values: Width of the first attention's values, to which keys and values of all three attentions are in proportion.
    """

    small: ClassVar[dict[str, Any]] = {"filters": 16}  # arguments that make it small, for a test in seconds

    def __init__(self, length: int = 26, width: int = 69, filters: int = 128, values: int = 32):
        super().__init__()
        check_at_least(1, length=length, width=width, filters=filters, values=values)
        self.width, self.length = width, length
        grown = filters * dense_blocks(length)
        second = width + values + grown
        third = second + 4 * values + grown
        self.blocks = nn.Sequential(
            CausalAttention(width, 2 * values, values),
            TemporalConvolutions(width + values, length, filters),
            CausalAttention(second, 8 * values, 4 * values),
            TemporalConvolutions(second + 4 * values, length, filters),
            CausalAttention(third, 16 * values, 8 * values),
        )
        self.out_features = third + 8 * values

    def start(self, like: Float[Tensor, "batch *rest"]) -> Memory:
        return tuple(part for block in self.blocks for part in block.start(like))  # type: ignore[operator]  # of a Sequential

    def forward(self, tokens: Float[Tensor, "batch t width"], memory: Memory) -> tuple[Tensor, Memory]:
        if (steps := memory[0].shape[1] + tokens.shape[1]) > self.length:
            raise InputError(
                f"SNAIL was built for sequences of {self.length} steps, this one has {steps}: set `length` to that, for a"
                " few-shot task to ways * shots + 1, for an agent to the steps of a trial and of what follows it"
            )
        x, after = tokens, ()
        for block in self.blocks:
            x, kept = block(x, memory[: block.parts])  # type: ignore[index]  # a number
            memory, after = memory[block.parts :], after + kept  # type: ignore[index]
        return x, after


class TemporalConvolutions(nn.Module):
    """TC(T, filters): ceil(log2 T) dense blocks, each x -> [x, tanh(conv x) * sigmoid(conv x)].

    Their dilations are 1, 2, 4, ..., so that every step is seen once; the paper's pseudo-code counts from 2. The memory is
    the output at each of the steps that the widest convolution reaches back to, the oldest first, [batch, out] each; 0
    before the first step. A further step drops one and copies none.
    """

    def __init__(self, d: int, length: int, filters: int):
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(d + i * filters, 2 * filters, kernel_size=2, dilation=2**i) for i in range(dense_blocks(length))
        )
        self.out, self.parts = d + len(self.convolutions) * filters, 2 ** (len(self.convolutions) - 1)

    def start(self, like: Float[Tensor, "batch *rest"]) -> Memory:
        return (like.new_zeros(len(like), self.out),) * self.parts

    def forward(self, x: Float[Tensor, "batch t d"], memory: Memory) -> tuple[Float[Tensor, "batch t out"], Memory]:
        t = x.shape[1]
        for i, convolution in enumerate(self.convolutions):
            behind = torch.stack(memory[self.parts - 2**i :][:t], 1)[..., : x.shape[2]].to(x)
            behind = torch.cat([behind, x[:, : max(t - 2**i, 0)]], 1)  # what was 2^i steps before each
            # Two products, because the convolution itself needs all of the memory in one tensor.
            then, now = convolution.weight.unbind(2)  # type: ignore[operator]  # a tensor
            convolved = F.linear(x, now, convolution.bias) + F.linear(behind, then)  # type: ignore[arg-type]
            value, gate = convolved.chunk(2, dim=2)
            x = torch.cat([x, value.tanh() * gate.sigmoid()], dim=2)
        return x, (*memory, *x.unbind(1))[-self.parts :]


def dense_blocks(length: int) -> int:
    return max(1, math.ceil(math.log2(length)))


class CausalAttention(nn.Module):
    """Attention(keys, values): x -> [x, attention of each step over itself and the steps before it].

    The memory holds the keys and values of the steps before, [batch, seen, keys + values].
    """

    parts = 1  # of the memory

    def __init__(self, d: int, keys: int, values: int):
        super().__init__()
        self.query, self.value = nn.Linear(d, keys), nn.Linear(d, values)
        self.key = nn.Linear(d, keys, bias=False)  # which a softmax over keys would cancel

    def start(self, like: Float[Tensor, "batch *rest"]) -> Memory:
        return (like.new_zeros(len(like), 0, self.key.out_features + self.value.out_features),)

    def forward(self, x: Float[Tensor, "batch t d"], memory: Memory) -> tuple[Float[Tensor, "batch t out"], Memory]:
        (before,) = memory
        t, seen = x.shape[1], before.shape[1]
        new = torch.cat([self.key(x), self.value(x)], dim=-1)
        kept = torch.cat([before.to(new), new], dim=1)
        key, value = kept.split([self.key.out_features, self.value.out_features], dim=-1)
        sees = x.new_ones(t, seen + t, dtype=torch.bool).tril(seen)
        read = F.scaled_dot_product_attention(self.query(x), key, value, attn_mask=sees)
        return torch.cat([x, read], dim=-1), (kept,)
