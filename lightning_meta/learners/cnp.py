"""Conditional Neural Processes.

Marta Garnelo, Dan Rosenbaum, Chris J. Maddison, Tiago Ramalho, David Saxton, Murray Shanahan, Yee Whye Teh, Danilo J. Rezende
and S. M. Ali Eslami. Conditional Neural Processes. ICML 2018, arXiv:1807.01613.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core import Episode, Examples, Outcome, Predictor
from lightning_meta.learners._embedding import LABELS_ARE_INPUTS, EmbeddingLearner, check_outputs, label_codes
from lightning_meta.nn.embed import feature_width
from lightning_meta.nn.sequence import check_at_least


class CNP(EmbeddingLearner):
    """Conditional Neural Processes, which summarise a support set by the mean of its encoded examples.

    theta: an embedding network, an encoder h and a decoder g. phi: one vector per task, the mean r over its support examples
    of r_i = h(x_i, y_i) (eq. 1 and 2).

    The prediction for a query is g(x, r) (eq. 3). In regression g gives a mean and a standard deviation, and the loss is the
    negative log-likelihood; predictions are the mean. In classification g gives logits, and r is the means of the classes,
    side by side (section 4.3). The order of the support set does not matter.

    Args:
        backbone: Any module from [n, *shape] to features [n, d], whose features both h and g see.
        outputs: Exact ways of the tasks, or dimensions of a regression target.
        width: Units of each layer of h and g, and of r per output.
        features: Width d of the features, where the backbone has no `out_features` that says it.
    """

    label_dependence = LABELS_ARE_INPUTS

    def __init__(self, backbone: nn.Module, outputs: int, width: int = 128, features: int | None = None):
        super().__init__(backbone)
        check_at_least(1, outputs=outputs, width=width)
        d = feature_width(backbone, features)
        self.outputs = outputs
        self.h = _layers(d + outputs, width, width * outputs)
        self.g = _layers(d + width * outputs, width, 2 * outputs)

    def check(self, support: Examples) -> None:
        check_outputs(self, support, self.outputs)

    def condition(self, support: Examples) -> "Representation":
        code = label_codes(support, self.outputs)
        r = self.h(torch.cat([support.x, code], -1))
        if support.y.is_floating_point():
            return Representation(self, r.mean(1))
        share = code / code.sum(1, keepdim=True).clamp(min=1)  # of each example in the mean of its class
        return Representation(
            self, torch.einsum("tnc,tncw->tcw", share, r.unflatten(-1, (self.outputs, -1))).flatten(1)
        )

    def embedded_loss(self, episode: Episode) -> Outcome:
        if not episode.query.y.is_floating_point():
            return super().embedded_loss(episode)
        phi = self.condition(episode.support)
        mean, spread = phi.distribution(episode.query.x)
        return Outcome(F.gaussian_nll_loss(mean, episode.query.y, spread.square()), mean)


@dataclass(frozen=True, eq=False)
class Representation(Predictor):
    """phi of a CNP: `r` [tasks, outputs * width]."""

    learner: CNP
    r: Float[Tensor, "tasks r"]

    def __call__(self, x: Float[Tensor, "tasks n d"]) -> Float[Tensor, "tasks n outputs"]:
        return self.distribution(x)[0]

    def distribution(self, x: Float[Tensor, "tasks n d"]) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the targets of embedded queries, each [tasks, n, outputs]; the paper bounds the
        latter from below by 0.1."""
        r = self.r.unsqueeze(1).expand(-1, x.shape[1], -1)
        mean, spread = self.learner.g(torch.cat([x, r], -1)).chunk(2, dim=-1)
        return mean, 0.1 + 0.9 * F.softplus(spread)


def _layers(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )
