"""Objectives of a policy gradient: advantages, A2C and PPO, by hand."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_meta.core import InputError
from lightning_meta.rl import A2C, PPO
from lightning_meta.rl.parts.advantages import generalised_advantages
from lightning_meta.rl.parts.ppo import clipped_surrogate, masked_mean


def row(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


def test_advantages_by_hand():
    """delta = 1 + .5 * 4 - 2, 0 + .5 * 6 - 4, 3 - 6, and each adds a quarter (.5 * .5) of what follows."""
    found = generalised_advantages(row(1, 0, 3), row(2, 4, 6), row(1, 1, 1), gamma=0.5, gae_lambda=0.5)
    assert_close(found, row(1 + 0.25 * (-1 - 0.75), -1 - 0.75, -3))


def test_advantages_are_returns_minus_values_for_lambda_1_and_td_errors_for_lambda_0():
    reward, value = torch.randn(4, 6), torch.randn(4, 6)
    ones = torch.ones_like(reward)
    returns = torch.stack([sum(0.9 ** (u - t) * reward[:, u] for u in range(t, 6)) for t in range(6)], 1)
    assert_close(generalised_advantages(reward, value, ones, 0.9, 1.0), returns - value)
    following = torch.cat([value[:, 1:], torch.zeros(4, 1)], 1)
    assert_close(generalised_advantages(reward, value, ones, 0.9, 0.0), reward + 0.9 * following - value)


def test_nothing_follows_the_last_valid_step():
    reward, value, valid = torch.randn(2, 5), torch.randn(2, 5), torch.tensor([[1.0, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    both = generalised_advantages(reward, value, valid, 0.9, 0.8)
    assert_close(both[:1, :3], generalised_advantages(reward[:1, :3], value[:1, :3], valid[:1, :3], 0.9, 0.8))
    assert not both[0, 3:].any()


def test_the_surrogate_gives_nothing_for_going_further_than_the_clip():
    """r = 1.5, 1.5, .5, .5, 1.1 with clip .2, and the gradient in log pi is r A inside and 0 beyond."""
    log_ratio = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1]).log().unsqueeze(0).requires_grad_()
    found = clipped_surrogate(log_ratio, torch.tensor([[1.0, -1, 1, -1, 2]]), 0.2)
    assert_close(found, torch.tensor([[1.2, -1.5, 0.5, -0.8, 2.2]]))
    (slope,) = torch.autograd.grad(found.sum(), log_ratio)
    assert_close(slope, torch.tensor([[0, -1.5, 0.5, 0, 2.2]]))


def test_ppo_standardises_its_advantages_and_counts_only_valid_steps():
    """Advantages 1 and 3 become -1 and 1; ratios are 1 and 1.1."""
    now, before, valid = row(-1, math.log(1.1) - 2, 5), row(-1, -2, -9), row(1, 1, 0)
    assert_close(PPO().loss(now, before, row(1, 3, 100), valid), -row(0.05).squeeze(), rtol=1e-6, atol=0)


def test_a2c_by_hand_and_as_ppo_used_once():
    """-(log pi A) in the mean; its gradient is that of PPO's surrogate where nothing has moved (Huang et al. 2022)."""
    log_prob, advantage, valid = row(-1, -2, -7).requires_grad_(), row(3, -5, 100), row(1, 1, 0)
    loss = A2C().loss(log_prob, log_prob.detach(), advantage, valid)
    assert loss.item() == -(-3 + 10) / 2
    (ours,) = torch.autograd.grad(loss, log_prob)
    assert_close(ours, row(-1.5, 2.5, 0))
    once = -masked_mean(clipped_surrogate(log_prob - log_prob.detach(), advantage, 0.2), valid)
    assert_close(torch.autograd.grad(once, log_prob)[0], ours)


@pytest.mark.parametrize("wrong", [{"clip": 0.0}, {"clip": 1.0}, {"epochs": 0}, {"minibatches": 0}])
def test_an_impossible_ppo_is_refused(wrong: dict[str, float]):
    with pytest.raises(InputError):
        PPO(**wrong)  # type: ignore[arg-type]
