"""Fast weights, a memory that is a linear map and is taught by the delta rule while the sequence is read.

Imanol Schlag, Kazuki Irie and Juergen Schmidhuber. Linear Transformers Are Secretly Fast Weight Programmers. ICML 2021,
arXiv:2102.11174. Songlin Yang, Bailin Wang, Yu Zhang, Yikang Shen and Yoon Kim. Parallelizing Linear Transformers with the
Delta Rule over Sequence Length. NeurIPS 2024, arXiv:2406.06484. As a reinforcement learner's memory: Kazuki Irie, Imanol
Schlag, Robert Csordas and Juergen Schmidhuber. Going Beyond Linear Transformers with Recurrent Fast Weight Programmers.
NeurIPS 2021, arXiv:2106.06295.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.nn.sequence import Memory, SequenceNetwork, check_at_least, check_heads

CHUNK = 32  # tokens that are read at once; more of them cost more multiplications, fewer cost more steps


class DeltaNet(SequenceNetwork):
    """Layers whose memory is a linear map from keys to values, taught as they read.

    Each head learns a map W by the delta rule and reads it at its queries:

        W_t = W_(t-1) - beta_t (W_(t-1) k_t - v_t) k_t',    y_t = W_t q_t

    This is an inner loop of one gradient step per token, on the squared error of its value, with a learning rate beta_t
    between 0 and 1 that the network chooses. Queries, keys, values and rates are computed from a token and the one before it,
    because what an agent observes belongs to the action of the step before. The memory has one size however long the sequence.

    Args:
        width: Width of a token and of every layer.
        layers: Number of layers.
        heads: Number of linear maps per layer, of which `width` is a multiple.
    """

    def __init__(self, width: int = 64, layers: int = 2, heads: int = 4):
        super().__init__()
        check_at_least(1, layers=layers)
        check_heads(width, heads)
        self.width = self.out_features = width
        self.layers = nn.ModuleList(DeltaLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def start(self, like: Float[Tensor, "batch *rest"]) -> Memory:
        return tuple(part for layer in self.layers for part in layer.start(like))  # type: ignore[operator]  # of a ModuleList

    def forward(self, tokens: Float[Tensor, "batch t width"], memory: Memory) -> tuple[Tensor, Memory]:
        x, after = tokens, ()
        for layer, before, weights in zip(self.layers, memory[::2], memory[1::2], strict=True):
            x, kept = layer(x, before, weights)
            after += kept
        return self.norm(x), after


class DeltaLayer(nn.Module):
    """A layer x -> x + fast weights at its queries, then x -> x + perceptron(x), each on normalised x."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, width)
        self.ask, self.rate = nn.Linear(2 * width, 3 * width), nn.Linear(2 * width, heads)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def start(self, like: Float[Tensor, "batch *rest"]) -> Memory:
        batch, width = len(like), self.out.in_features
        return like.new_zeros(batch, width), like.new_zeros(batch, self.heads, self.size, self.size)

    def forward(self, x: Tensor, before: Tensor, weights: Tensor) -> tuple[Tensor, Memory]:
        now = self.norm(x)
        seen = torch.cat([before.to(now).unsqueeze(1), now], 1)
        pairs = torch.cat([seen[:, :-1], now], -1)
        parts = self.ask(pairs).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [3, batch, heads, t, size]
        query, key = F.normalize(F.silu(parts[:2]), dim=-1)
        rate = self.rate(pairs).sigmoid().transpose(1, 2).unsqueeze(-1)
        outputs = []
        for q, k, v, r in zip(*(part.split(CHUNK, 2) for part in (query, key, parts[2], rate)), strict=True):
            read, weights = delta_rule(q, k, v, r, weights)
            outputs.append(read)
        x = x + self.out(torch.cat(outputs, 2).transpose(1, 2).flatten(2))
        return x + self.perceptron(x), (seen[:, -1], weights)


def delta_rule(
    query: Float[Tensor, "*batch t size"],
    key: Float[Tensor, "*batch t size"],
    value: Float[Tensor, "*batch t size"],
    rate: Float[Tensor, "*batch t 1"],
    weights: Float[Tensor, "*batch size size"],
) -> tuple[Float[Tensor, "*batch t size"], Float[Tensor, "*batch size size"]]:
    """All steps of the delta rule at once.

    The t-th step adds k_t u_t', u_t = rate_t (v_t - the map before it at k_t). Written out, a triangular system for u (Yang
    et al., section 3). The map is kept, and the system solved, in float32 at least.

    Returns:
        The output of the linear map, [keys, values], at each query after the steps up to it; and the map at the end.
    """
    kind = query.dtype
    with torch.autocast(query.device.type, enabled=False):
        exact = torch.promote_types(kind, torch.float32)
        query, key, value, rate, weights = (part.to(exact) for part in (query, key, value, rate, weights))
        taught = rate * (value - key @ weights)
        if query.shape[-2] > 1:
            system = (rate * key @ key.mT).tril(-1)
            taught = torch.linalg.solve_triangular(system, taught, upper=False, unitriangular=True)
        read = query @ weights + (query @ key.mT).tril() @ taught
        return read.to(kind), weights + key.mT @ taught
