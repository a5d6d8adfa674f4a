"""Matching Networks, with and without full context embeddings.

Oriol Vinyals, Charles Blundell, Timothy Lillicrap, Koray Kavukcuoglu and Daan Wierstra. Matching Networks for One Shot
Learning. NeurIPS 2016, arXiv:1606.04080.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from lightning_meta.core import Examples, InputError, Predictor
from lightning_meta.learners._embedding import EmbeddingLearner, membership, squared_distance
from lightning_meta.nn.embed import feature_width

Attention = Literal["cosine", "euclidean"]


class MatchingNet(EmbeddingLearner):
    """Matching Networks, a soft nearest neighbour in a learned embedding.

    theta: an embedding network. phi: the embedded support set itself.

    A query's class probabilities are the labels of the support examples, weighted by a softmax over its similarity to each
    (eq. 1). The similarity is the cosine times `temperature` (the paper's softmax has none, and learns little from cosines,
    which are all between -1 and 1), or the negative squared Euclidean distance. Tasks may have any number of ways and shots;
    a class with more examples than another sums more weights, and so is likelier before anything is seen of a query.

    `context_steps` = K > 0 turns on full context embeddings: each support example is embedded in the light of the others
    by a bidirectional LSTM g, each query in the light of the support set by K steps of an attention LSTM f (appendix A).
    They read the support set in its order.

    Args:
        backbone: Any module from [n, *shape] to features [n, d].
        attention: Similarity of a query to a support example, cosine or euclidean (the negative squared distance).
        temperature: Factor of the cosine similarities.
        context_steps: Number K of steps of the attention LSTM of full context embeddings; 0 turns these off.
        features: Width d of the features, where the backbone has no `out_features` that says it.
    """

    regression = False

    def __init__(
        self,
        backbone: nn.Module,
        attention: Attention = "cosine",
        temperature: float = 10.0,
        context_steps: int = 0,
        features: int | None = None,
    ):
        super().__init__(backbone)
        if attention not in ("cosine", "euclidean"):
            raise InputError(f"attention is {attention!r}; choose cosine or euclidean")
        if temperature <= 0:
            raise InputError(f"temperature is {temperature}; it must be positive")
        if context_steps < 0:
            raise InputError(f"context_steps is {context_steps}; give K >= 1, or 0 for no full context embeddings")
        self.attention, self.temperature = attention, temperature
        d = feature_width(backbone, features) if context_steps else 0
        self.g = SupportContext(d) if context_steps else None
        self.f = QueryContext(d, context_steps) if context_steps else None

    def condition(self, support: Examples) -> "Neighbours":
        member = membership(support, "MatchingNet")
        return Neighbours(self, self.g(support.x) if self.g else support.x, member)

    def similarity(self, z: Float[Tensor, "tasks q d"], support: Float[Tensor, "tasks n d"]) -> Tensor:
        """The exponent of the attention kernel, [tasks, q, n]."""
        if self.attention == "cosine":
            return self.temperature * F.normalize(z, dim=-1) @ F.normalize(support, dim=-1).mT
        return -squared_distance(z, support)


class SupportContext(nn.Module):
    """g(x_i, S) = h_i(forward) + h_i(backward) + g'(x_i), from an LSTM each way over the support set (appendix A.2)."""

    def __init__(self, d: int):
        super().__init__()
        self.lstm = nn.LSTM(d, d, bidirectional=True, batch_first=True)

    def forward(self, z: Float[Tensor, "tasks n d"]) -> Float[Tensor, "tasks n d"]:
        forward, backward = self.lstm(z)[0].chunk(2, dim=-1)
        return forward + backward + z


class QueryContext(nn.Module):
    """f(x, S) = attLSTM(f'(x), g(S), K) (appendix A.1).

    Step k = 1..K: r_{k-1} = sum_i a_i g(x_i) is read from the support set with a = softmax(h_{k-1} . g(x_i)), first
    from h_0 = 0, all examples alike; h'_k, c_k = LSTM(f'(x), [h_{k-1}, r_{k-1}], c_{k-1});  h_k = h'_k + f'(x). The
    result is h_K. The gates are linear, so reading [h, r] as hidden state is reading r beside the input, as the cell
    here does.
    """

    def __init__(self, d: int, steps: int):
        super().__init__()
        self.cell, self.steps = nn.LSTMCell(2 * d, d), steps

    def forward(self, z: Float[Tensor, "tasks q d"], support: Float[Tensor, "tasks n d"]) -> Float[Tensor, "tasks q d"]:
        h, c = torch.zeros_like(z), torch.zeros_like(z)
        for _ in range(self.steps):
            read = (h @ support.mT).softmax(-1) @ support
            new = self.cell(torch.cat([z, read], -1).flatten(0, 1), (h.flatten(0, 1), c.flatten(0, 1)))
            h, c = (state.view_as(z) for state in new)
            h = h + z
        return h


@dataclass(frozen=True, eq=False)
class Neighbours(Predictor):
    """phi of a MatchingNet: the embedded support set [tasks, n, d] and which of it is of each class [tasks, ways, n]."""

    learner: MatchingNet
    support: Float[Tensor, "tasks n d"]
    member: Int[Tensor, "tasks ways n"]

    def __call__(self, x: Float[Tensor, "tasks q d"]) -> Float[Tensor, "tasks q ways"]:
        f = self.learner.f
        weight = self.learner.similarity(f(x, self.support) if f else x, self.support).log_softmax(-1)
        # log sum_i a(x, x_i) [y_i = c], so that a softmax of these logits gives the probabilities of eq. 1
        return (weight.unsqueeze(2) + self.member.log().unsqueeze(1)).logsumexp(-1)
