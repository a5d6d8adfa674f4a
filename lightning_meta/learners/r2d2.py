"""R2-D2: ridge regression as the last layer, in closed form.

Luca Bertinetto, Joao F. Henriques, Philip H. S. Torr and Andrea Vedaldi. Meta-learning with differentiable closed-form
solvers. ICLR 2019, arXiv:1805.08136.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core import Examples, InputError, Predictor
from lightning_meta.learners.embedding import EmbeddingLearner, membership


class R2D2(EmbeddingLearner):
    """theta: an embedding network, lambda > 0, and a scale of the answers. phi: the ridge regression W from
    embedded support examples X, [n, d], to their labels Y, one-hot, or regression targets:

        W = X^T (X X^T + lambda I)^-1 Y        an n x n system, small where shots are few
        logits = scale * x W                   the paper's shift, one number for all classes, cancels in a softmax

    A column of ones in X gives the regression a bias. Any ways and shots.
    """

    def __init__(self, backbone: nn.Module, ridge: float = 1.0, scale: float = 1.0):
        super().__init__(backbone)
        if ridge <= 0:
            raise InputError(f"ridge, the lambda of ridge regression, is {ridge}; it must be positive")
        self.log_ridge = nn.Parameter(torch.tensor(ridge).log())
        self.scale = nn.Parameter(torch.tensor(scale))

    def condition(self, support: Examples) -> "Ridge":
        y = support.y if support.y.is_floating_point() else membership(support, "R2D2").mT
        with torch.autocast(support.x.device.type, enabled=False):  # no solver in half precision
            x = with_ones(support.x)
            kernel = x @ x.mT + self.log_ridge.exp() * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
            return Ridge(self, x.mT @ torch.linalg.solve(kernel, y.to(x.dtype)))


@dataclass(frozen=True, eq=False)
class Ridge(Predictor):
    """phi of an R2D2: `weights` W [tasks, d + 1, outputs]."""

    learner: R2D2
    weights: Float[Tensor, "tasks d1 outputs"]

    def __call__(self, x: Float[Tensor, "tasks n d"]) -> Float[Tensor, "tasks n outputs"]:
        with torch.autocast(x.device.type, enabled=False):
            return self.learner.scale * (with_ones(x) @ self.weights)


def with_ones(x: Float[Tensor, "tasks n d"]) -> Float[Tensor, "tasks n d1"]:
    x = x if x.dtype == torch.float64 else x.float()
    return torch.cat([x, torch.ones_like(x[..., :1])], -1)
