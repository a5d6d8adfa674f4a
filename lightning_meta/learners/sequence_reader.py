"""Black-box meta-learners: a sequence network reads the support set, then a query, and answers.

Sepp Hochreiter, A. Steven Younger and Peter R. Conwell. Learning to Learn Using Gradient Descent. ICANN 2001 (LSTM).
Nikhil Mishra et al. A Simple Neural Attentive Meta-Learner. ICLR 2018, arXiv:1707.03141 (SNAIL).
Louis Kirsch et al. General-Purpose In-Context Learning by Meta-Learning Transformers. 2022, arXiv:2212.04458.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core import Examples, Predictor
from lightning_meta.learners._embedding import LABELS_ARE_INPUTS, EmbeddingLearner, check_outputs, label_codes
from lightning_meta.nn.embed import feature_width
from lightning_meta.nn.sequence import Memory, SequenceNetwork


class SequenceReader(EmbeddingLearner):
    """A sequence network that reads the support set and then predicts a query.

    theta: an embedding network and a sequence network. phi: what the sequence network retains of the support set, read as
    tokens (x_i, y_i) one after another.

    A query is a further token, (x, 0), and its logits are a linear map of the output there. Each query is answered alone.
    Examples are read in the order given. The streams draw it anew for each task, and number its classes anew, so that neither
    carries information. The tokens pass a linear layer to the width of the sequence network.

    Args:
        backbone: Any module from [n, *shape] to features [n, d].
        sequence: Network that reads the tokens: LSTM, GRU, Transformer, SNAIL or DeltaNet of `lightning_meta.nn`, or a
            SequenceNetwork of your own.
        outputs: Exact ways of the tasks, or dimensions of a regression target.
        features: Width d of the features, where the backbone has no `out_features` that says it.
    """

    label_dependence = LABELS_ARE_INPUTS

    def __init__(self, backbone: nn.Module, sequence: SequenceNetwork, outputs: int, features: int | None = None):
        super().__init__(backbone)
        self.token = nn.Linear(feature_width(backbone, features) + outputs, sequence.width)
        self.sequence, self.outputs = sequence, outputs
        self.head = nn.Linear(sequence.out_features, outputs)

    def check(self, support: Examples) -> None:
        check_outputs(self, support, self.outputs)

    def condition(self, support: Examples) -> "Context":
        tokens = self.token(torch.cat([support.x, label_codes(support, self.outputs)], -1))
        return Context(self, self.sequence.read(tokens))


@dataclass(frozen=True, eq=False)
class Context(Predictor):
    """phi of a SequenceReader: what its sequence network retained, tensors [tasks, ...]."""

    learner: SequenceReader
    context: Memory

    def __call__(self, x: Float[Tensor, "tasks n d"]) -> Float[Tensor, "tasks n outputs"]:
        reader = self.learner
        unknown = x.new_zeros(*x.shape[:2], reader.outputs)
        return reader.head(reader.sequence.answer(self.context, reader.token(torch.cat([x, unknown], -1))))
