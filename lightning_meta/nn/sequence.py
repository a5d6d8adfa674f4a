"""Sequence networks: what a black-box learner reads a support set with. To add one, write `read` and `answer`."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core import InputError


class SequenceNetwork(nn.Module, ABC):
    """Reads tokens [batch, t, width] in order; answers each of further tokens as if it alone came next."""

    width: int  # of a token
    out_features: int

    @abstractmethod
    def read(self, tokens: Float[Tensor, "batch t width"]) -> Any:
        """What remains of the tokens: a tensor or a tuple of tensors, each [batch, ...]."""

    @abstractmethod
    def answer(self, context: Any, tokens: Float[Tensor, "batch q width"]) -> Float[Tensor, "batch q out"]:
        """The output at each of q tokens, each following what was read, and not one another."""


class LSTM(SequenceNetwork):
    """Long short-term memory of `layers` layers: what remains is its state."""

    def __init__(self, width: int = 128, layers: int = 1):
        super().__init__()
        check_positive(width=width, layers=layers)
        self.width = self.out_features = width
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)

    def read(self, tokens: Float[Tensor, "batch t width"]) -> tuple[Tensor, Tensor]:
        h, c = self.lstm(tokens)[1]
        return h.movedim(0, 1), c.movedim(0, 1)

    def answer(self, context: tuple[Tensor, Tensor], tokens: Float[Tensor, "batch q width"]) -> Tensor:
        q = tokens.shape[1]
        h, c = (state.repeat_interleave(q, 0).movedim(0, 1).contiguous() for state in context)
        return self.lstm(tokens.flatten(0, 1).unsqueeze(1), (h, c))[0].unflatten(0, (-1, q)).squeeze(2)


class Transformer(SequenceNetwork):
    """A causal Transformer of pre-norm layers, without positions: only the causal mask tells the order, from the second
    layer on.

    An in-context learner (Kirsch et al. 2022, General-Purpose In-Context Learning by Meta-Learning Transformers,
    arXiv:2212.04458). What remains is the context; queries attend to it and each to itself.
    """

    def __init__(self, width: int = 128, layers: int = 4, heads: int = 4, dropout: float = 0.0):
        super().__init__()
        check_positive(width=width, layers=layers, heads=heads)
        if width % heads:
            raise InputError(f"width {width} is not a multiple of {heads} heads: choose one that is")
        self.width = self.out_features = width
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)

    def read(self, tokens: Float[Tensor, "batch t width"]) -> Tensor:
        return tokens

    def answer(self, context: Tensor, tokens: Float[Tensor, "batch q width"]) -> Tensor:
        t, q = context.shape[1], tokens.shape[1]
        step = torch.arange(t + q, device=tokens.device)
        sees = (step < t) & (step <= step.unsqueeze(1)) | (step == step.unsqueeze(1))  # [t + q, t + q], row sees column
        return self.layers(torch.cat([context, tokens], dim=1), mask=~sees)[:, t:]


def check_positive(**values: int) -> None:
    """InputError where one of the sizes is not 1 or more."""
    for name, value in values.items():
        if value < 1:
            raise InputError(f"{name} is {value}; give 1 or more")
