"""R2-D2: ridge regression as the last layer, in closed form.

Luca Bertinetto, Joao F. Henriques, Philip H. S. Torr and Andrea Vedaldi. Meta-learning with differentiable closed-form
solvers. ICLR 2019, arXiv:1805.08136.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core import Examples, InputError, Predictor, check_examples
from lightning_meta.learners._embedding import EmbeddingLearner, membership


class R2D2(EmbeddingLearner):
    """R2-D2, whose head is the ridge regression of the task's labels, in closed form.

    theta: an embedding network, lambda > 0, and a factor of the outputs. phi: the ridge regression W from embedded support
    examples X, [n, d], to their labels Y, one-hot, or regression targets:

        W = X^T (X X^T + lambda I)^-1 Y        an n x n system, small where shots are few
        logits = scale * factor * x W          the paper's shift, one number for all classes, cancels in a softmax

    Tasks may have any number of ways and shots. A column of ones in X gives the regression a bias, which is penalised like
    the other weights. lambda does not grow with n; the authors' code divides X and Y by sqrt(n), so theirs is n lambda here.
    Their backbone, four blocks of which the last two maps are taken together, is not Conv4.

    x W lies about between 0 and 1, and a softmax of that is nearly flat, so logits have a factor. It is learned by its
    logarithm: steps of an outer rate of 1e-3 change it by the same percentage whatever its size. In regression the factor
    starts at 1.

    Args:
        backbone: Any module from [n, *shape] to features [n, d].
        ridge: Value of lambda at first. It is learned by its logarithm, so that it stays positive.
        scale: Factor of the logits at first. It is learned by its logarithm; regression does without it.
    """

    def __init__(self, backbone: nn.Module, ridge: float = 1.0, scale: float = 10.0):
        super().__init__(backbone)
        if ridge <= 0 or scale <= 0:
            raise InputError(
                f"ridge, the lambda of ridge regression, is {ridge} and scale {scale}: both must be positive"
            )
        self.log_ridge = nn.Parameter(torch.tensor(ridge).log())
        self.log_factor = nn.Parameter(torch.tensor(0.0))
        self.scale = scale

    def condition(self, support: Examples) -> "Ridge":
        check_examples(support)
        y = support.y if support.y.is_floating_point() else membership(support, "R2D2").mT
        with torch.autocast(support.x.device.type, enabled=False):  # no solver in half precision
            x = with_ones(support.x)
            kernel = x @ x.mT + self.log_ridge.exp() * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
            scale = self.log_factor.exp() * (1.0 if support.y.is_floating_point() else self.scale)
            return Ridge(scale * x.mT @ torch.linalg.solve(kernel, y.to(x.dtype)))

    def diagnostics(self) -> dict[str, float]:
        return {"ridge": self.log_ridge.exp().item(), "scale": self.scale * self.log_factor.exp().item()}


@dataclass(frozen=True, eq=False)
class Ridge(Predictor):
    """phi of an R2D2: `weights`, W times what the answers are scaled by [tasks, d + 1, outputs]."""

    weights: Float[Tensor, "tasks d1 outputs"]

    def __call__(self, x: Float[Tensor, "tasks n d"]) -> Float[Tensor, "tasks n outputs"]:
        with torch.autocast(x.device.type, enabled=False):
            return with_ones(x) @ self.weights


def with_ones(x: Float[Tensor, "tasks n d"]) -> Float[Tensor, "tasks n d1"]:
    x = x if x.dtype == torch.float64 else x.float()
    return torch.cat([x, torch.ones_like(x[..., :1])], -1)
