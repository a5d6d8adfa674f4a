"""R2-D2 against ordinary least squares, and the Woodbury identity it rests on."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lightning_meta.core import Examples, InputError
from lightning_meta.learners import R2D2


def normal_equations(x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    """(X^T X + lambda I)^-1 X^T Y, the other side of the Woodbury identity."""
    x = np.hstack([x, np.ones((len(x), 1))])
    return np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ y)


@pytest.mark.parametrize("n", [3, 40], ids=["fewer examples than features", "more"])
def test_phi_solves_the_ridge_regression_of_each_task(n: int):
    x, y = torch.randn(2, n, 6).double(), torch.randint(0, 3, (2, n))
    y[:, :3] = torch.arange(3)
    learner = R2D2(nn.Identity(), ridge=0.7, scale=2.0).double()
    query = torch.randn(2, 5, 6).double()
    logits = learner.adapt(Examples(x, y))(query)
    for task in range(2):
        w = torch.from_numpy(normal_equations(x[task].numpy(), np.eye(3)[y[task].numpy()], 0.7))
        with_bias = torch.cat([query[task], torch.ones(5, 1).double()], 1)
        assert_close(logits[task], 2.0 * with_bias @ w)


def test_with_little_ridge_it_is_a_straight_line_through_the_points():
    x = torch.linspace(-1, 1, 5).double().reshape(1, 5, 1)
    learner = R2D2(nn.Identity(), ridge=1e-9).double()
    assert_close(learner.adapt(Examples(x, 3 * x - 2))(torch.tensor([[[10.0]]]).double())[0, 0, 0].item(), 28.0)


def test_the_ridge_stays_positive_however_far_training_goes():
    learner = R2D2(nn.Identity(), ridge=1.0)
    with torch.no_grad():
        learner.log_ridge -= 20.0
    x = torch.randn(1, 8, 2)  # more examples than dimensions: without a ridge the system is singular
    assert learner.adapt(Examples(x, torch.arange(8).reshape(1, 8) % 4))(x).isfinite().all()


def test_a_ridge_of_nothing_is_refused():
    with pytest.raises(InputError, match="positive"):
        R2D2(nn.Identity(), ridge=0.0)
