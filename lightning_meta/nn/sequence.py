"""Sequence networks, with which a black-box learner reads a support set, and a recurrent agent its trial.

To add one, write `start` and `forward`.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lightning_meta.core import InputError
from lightning_meta.core.errors import check_at_least

Memory = tuple[Tensor, ...]  # the state after the tokens read so far, each tensor [batch, ...]


class SequenceNetwork(nn.Module, ABC):
    """A network that reads tokens [batch, t, width] in order, with an output at each, all at once or in several parts."""

    width: int  # of a token
    out_features: int  # width of an output
    length: float = math.inf  # the longest sequence that it can read

    @abstractmethod
    def start(self, like: Float[Tensor, "batch *rest"]) -> Memory:
        """The memory before the first token, for as many sequences as `like` has rows, of its type and on its device."""

    @abstractmethod
    def forward(
        self, tokens: Float[Tensor, "batch t width"], memory: Memory
    ) -> tuple[Float[Tensor, "batch t out"], Memory]:
        """Read tokens from a memory on. Returns the output at each token and the new memory; the old one stays as it was."""

    def unroll(self, tokens: Float[Tensor, "batch t width"]) -> Float[Tensor, "batch t out"]:
        """The outputs along a whole sequence."""
        return self(tokens, self.start(tokens))[0]

    def read(self, tokens: Float[Tensor, "batch t width"]) -> Memory:
        """The memory after a whole sequence."""
        return self(tokens, self.start(tokens))[1]

    def step(self, token: Float[Tensor, "batch width"], memory: Memory) -> tuple[Float[Tensor, "batch out"], Memory]:
        """Read one more token."""
        outputs, memory = self(token.unsqueeze(1), memory)
        return outputs.squeeze(1), memory

    def answer(self, memory: Memory, tokens: Float[Tensor, "batch q width"]) -> Float[Tensor, "batch q out"]:
        """The output at each of q tokens, each of which follows the memory and does not see the others."""
        q = tokens.shape[1]
        outputs, _ = self.step(tokens.flatten(0, 1), tuple(part.repeat_interleave(q, 0) for part in memory))
        return outputs.unflatten(0, (-1, q))


def shared(memory: Memory, batch: int) -> Memory:
    """Repeat each memory so that `batch` sequences continue from fewer; `batch` is a multiple of their number."""
    return tuple(part.repeat_interleave(batch // len(part), 0) if len(part) < batch else part for part in memory)


class Memoryless(SequenceNetwork):
    """Two ReLU layers over each token alone, a control that shows what a memory is worth.

    Args:
        width: Width of a token and of both layers.
    """

    def __init__(self, width: int = 128):
        super().__init__()
        check_at_least(1, width=width)
        self.width = self.out_features = width
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())

    def start(self, like: Float[Tensor, "batch *rest"]) -> Memory:  # noqa: ARG002  nothing to begin with
        return ()

    def forward(self, tokens: Float[Tensor, "batch t width"], memory: Memory) -> tuple[Tensor, Memory]:
        return self.layers(tokens), memory


class Transformer(SequenceNetwork):
    """A causal Transformer of pre-norm layers, without position encodings.

    It is an in-context learner (Kirsch et al. 2022, General-Purpose In-Context Learning by Meta-Learning Transformers,
    arXiv:2212.04458). Only the causal mask carries the order of the tokens, from the second layer on. Its memory holds the
    keys and values of each layer; queries attend to them and each to itself.

    Args:
        width: Width of a token and of every layer.
        layers: Number of layers.
        heads: Number of attention heads, of which `width` is a multiple.
        dropout: Probability of dropout.
    """

    small: ClassVar[dict[str, Any]] = {"width": 32, "layers": 2}  # arguments that make it small, for a test in seconds

    def __init__(self, width: int = 128, layers: int = 4, heads: int = 4, dropout: float = 0.0):
        super().__init__()
        check_at_least(1, layers=layers)
        check_heads(width, heads)
        self.width = self.out_features = width
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)

    def start(self, like: Float[Tensor, "batch *rest"]) -> Memory:
        return (like.new_zeros(len(like), 0, 2 * self.width),) * len(self.layers.layers)

    def forward(self, tokens: Float[Tensor, "batch t width"], memory: Memory) -> tuple[Tensor, Memory]:
        t, before = tokens.shape[1], memory[0].shape[1]
        return self.run(tokens, memory, tokens.new_ones(t, before + t, dtype=torch.bool).tril(before))

    def answer(self, memory: Memory, tokens: Float[Tensor, "batch q width"]) -> Float[Tensor, "batch q out"]:
        q, before = tokens.shape[1], memory[0].shape[1]
        itself = torch.eye(q, dtype=torch.bool, device=tokens.device)
        return self.run(tokens, memory, torch.cat([itself.new_ones(q, before), itself], 1))[0]

    def run(self, x: Tensor, memory: Memory, sees: Bool[Tensor, "t seen"]) -> tuple[Tensor, Memory]:
        """The outputs at t tokens, each of which attends to the remembered and new tokens where its row of `sees` is true."""
        after = []
        for layer, behind in zip(self.layers.layers, memory, strict=True):
            x, kept = attend(layer, x, behind, sees)  # type: ignore[arg-type]  # of a ModuleList
            after.append(kept)
        return self.layers.norm(x), tuple(after)  # type: ignore[misc]  # it has one


def attend(layer: nn.TransformerEncoderLayer, x: Tensor, behind: Tensor, sees: Tensor) -> tuple[Tensor, Tensor]:
    """Run a pre-norm layer of torch on new tokens x. Returns outputs, and keys and values of all, [batch, seen, 2 width]."""
    attention = layer.self_attn
    projected = F.linear(layer.norm1(x), attention.in_proj_weight, attention.in_proj_bias)
    query, new = projected.split([attention.embed_dim, 2 * attention.embed_dim], -1)
    kept = torch.cat([behind.to(new), new], 1)
    heads = (part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in (query, *kept.chunk(2, -1)))
    dropout = attention.dropout if layer.training else 0.0
    attended = F.scaled_dot_product_attention(*heads, attn_mask=sees, dropout_p=dropout)
    x = x + layer.dropout1(attention.out_proj(attended.transpose(1, 2).flatten(2)))
    hidden = layer.dropout(layer.activation(layer.linear1(layer.norm2(x))))
    return x + layer.dropout2(layer.linear2(hidden)), kept


def check_heads(width: int, heads: int) -> None:
    """Raise InputError where a width cannot be split among this number of heads."""
    check_at_least(1, width=width, heads=heads)
    if width % heads:
        raise InputError(f"width {width} is not a multiple of {heads} heads: choose one that is")
