"""Recurrent networks as sequence networks, whose memory of the tokens is their state.

How well they learn to remember depends on where they start: with orthogonal recurrent weights a signal neither dies out
nor explodes (Saxe et al. 2014, arXiv:1312.6120), and a gate that is open at first keeps what was read (Jozefowicz et al.,
ICML 2015).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.nn.sequence import Memory, SequenceNetwork, check_at_least


class LSTM(SequenceNetwork):
    """Long short-term memory (Hochreiter and Schmidhuber 1997).

    Args:
        width: Width of a token and of the state.
        layers: Number of layers.
        orthogonal: Start the recurrent weights of each gate orthogonal, and not as torch does.
        keep: Number added at the start to the bias of the forget gate, so that it keeps the state.
    """

    def __init__(self, width: int = 128, layers: int = 1, orthogonal: bool = False, keep: float = 0.0):
        super().__init__()
        check_at_least(1, width=width, layers=layers)
        self.width = self.out_features = width
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)
        begin(self.lstm, orthogonal, keep)

    def start(self, like: Float[Tensor, "batch *rest"]) -> Memory:
        return (like.new_zeros(len(like), self.lstm.num_layers, self.width),) * 2

    def forward(self, tokens: Float[Tensor, "batch t width"], memory: Memory) -> tuple[Tensor, Memory]:
        h, c = (part.movedim(1, 0).contiguous() for part in memory)
        outputs, (h, c) = self.lstm(tokens, (h, c))
        return outputs, (h.movedim(0, 1), c.movedim(0, 1))


class GRU(SequenceNetwork):
    """Gated recurrent units (Cho et al. 2014, arXiv:1406.1078).

    Args:
        width: Width of a token and of the state.
        layers: Number of layers.
        orthogonal: Start the recurrent weights of each gate orthogonal, and not as torch does.
        keep: Number added at the start to the bias of the update gate, which keeps the state where it is open.
    """

    def __init__(self, width: int = 128, layers: int = 1, orthogonal: bool = True, keep: float = 1.0):
        super().__init__()
        check_at_least(1, width=width, layers=layers)
        self.width = self.out_features = width
        self.gru = nn.GRU(width, width, layers, batch_first=True)
        begin(self.gru, orthogonal, keep)

    def start(self, like: Float[Tensor, "batch *rest"]) -> Memory:
        return (like.new_zeros(len(like), self.gru.num_layers, self.width),)

    def forward(self, tokens: Float[Tensor, "batch t width"], memory: Memory) -> tuple[Tensor, Memory]:
        outputs, h = self.gru(tokens, memory[0].movedim(1, 0).contiguous())
        return outputs, (h.movedim(0, 1),)


@torch.no_grad()
def begin(network: nn.RNNBase, orthogonal: bool, keep: float) -> None:
    """Set the first weights of torch's GRU or LSTM; the gate that keeps the state is the second of each."""
    width = network.hidden_size
    for name, weight in network.named_parameters():
        if orthogonal and name.startswith("weight_hh"):
            for gate in weight.split(width):
                nn.init.orthogonal_(gate)
        elif name.startswith("bias_ih"):
            weight[width : 2 * width] += keep
