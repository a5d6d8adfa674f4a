"""The parts of a policy gradient against numbers worked out by hand."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_meta.core import TimeStep, Trajectory
from lightning_meta.nn.inner_loop import Weights
from lightning_meta.rl.parts.advantages import (
    discounted_sums,
    episode_advantages,
    linear_baseline,
    standardise_per_task,
)
from lightning_meta.rl.parts.score_terms import score_factor
from lightning_meta.rl.parts.trust_region import trust_region_step


def trajectory(reward: Tensor, valid: Tensor | None = None, observation: Tensor | None = None) -> Trajectory:
    """Of rewards [tasks, envs, time] what advantages are made of."""
    valid = torch.ones_like(reward, dtype=torch.bool) if valid is None else valid
    observation = torch.zeros(*reward.shape, 1) if observation is None else observation
    time_step = TimeStep(observation, torch.zeros(*reward.shape, 1), reward, reward)
    return Trajectory(time_step, reward, reward, reward, observation, ~valid, ~valid, valid)


def test_discounted_sums() -> None:
    x = torch.tensor([1.0, 2.0, 4.0]).reshape(1, 1, 3)
    assert discounted_sums(x, 0.5).flatten().tolist() == [1 + 0.5 * 2 + 0.25 * 4, 2 + 0.5 * 4, 4]


def test_without_a_baseline_an_advantage_is_the_rewards_to_go_and_zero_where_not_valid() -> None:
    reward = torch.tensor([[[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]]])
    valid = torch.tensor([[[True, True, True], [True, True, False]]])
    found = episode_advantages(trajectory(reward, valid), 0.5, 1.0, baseline=False)
    assert found.tolist() == [[[3, 4, 4], [2, 2, 0]]]
    scaled = standardise_per_task(found, valid, found)
    assert scaled[valid].mean() == pytest.approx(0, abs=1e-6)
    assert scaled[valid].std(correction=0) == pytest.approx(1, abs=1e-6)
    assert scaled[0, 1, 2] == 0


def test_a_baseline_knows_what_is_a_function_of_the_state_and_time_of_its_own_task() -> None:
    """Returns that are linear in the features are foretold from many episodes, each task's own; noise is not."""
    torch.manual_seed(0)
    observation, t = torch.rand(3, 200, 80, 2) * 4 - 2, torch.arange(80) / 100
    slope = torch.tensor([1.0, -3.0, 10.0]).reshape(3, 1, 1)
    known = slope * observation[..., 0] + observation[..., 1].square() - slope * t**3 + 2
    valid, noise = torch.rand(3, 200, 80) < 0.9, torch.randn(3, 200, 80)
    off = (known * valid - linear_baseline(observation, known * valid, valid))[valid]
    assert off.std() < 0.02 * known[valid].std()
    left = ((known + noise) * valid - linear_baseline(observation, (known + noise) * valid, valid))[valid]
    assert 0.9 < left.std() < 1.1


def test_a_baseline_without_observations_goes_by_the_time() -> None:
    reward = torch.randn(2, 200, 3)
    found = linear_baseline(torch.zeros(2, 200, 3, 0), reward, torch.ones_like(reward, dtype=torch.bool))
    assert_close(found[:, 0], reward.mean(1), atol=0.02, rtol=0)


def test_generalised_advantages_are_sums_of_surprises() -> None:
    """lambda 1: whole returns over the baseline; lambda 0: r_t + discount v_(t+1) - v_t, and 0 behind the end."""
    reward, observation = torch.randn(2, 6, 4), torch.randn(2, 6, 4, 1)
    record = trajectory(reward, observation=observation)
    to_go = discounted_sums(reward, 0.9)
    steady = reward.mean((1, 2)).reshape(2, 1, 1) * torch.tensor([1 + 0.9 + 0.81 + 0.729, 1 + 0.9 + 0.81, 1 + 0.9, 1])
    value = steady + linear_baseline(observation, to_go - steady, record.valid)
    assert_close(episode_advantages(record, 0.9, 1.0, baseline=True), to_go - value)
    following = torch.cat([value[..., 1:], torch.zeros(2, 6, 1)], -1)
    assert_close(episode_advantages(record, 0.9, 0.0, baseline=True), reward + 0.9 * following - value)


def standardised(record: Trajectory) -> Tensor:
    to_go = discounted_sums(record.reward * record.valid, 0.99)
    return standardise_per_task(episode_advantages(record, 0.99, 1.0, baseline=True), record.valid, to_go)


def test_a_baseline_with_as_many_features_as_steps_leaves_what_is_to_be_learned() -> None:
    """The return of an episode beside the others of its task, which no observation foretells, stays in its advantages."""
    torch.manual_seed(0)
    for envs in (1, 2, 20):
        earned = torch.randn(30, envs, 40)
        record = trajectory(earned, observation=torch.randn(30, envs, 40, 18))
        to_go = discounted_sums(earned, 0.99)
        left = episode_advantages(record, 0.99, 1.0, baseline=True)
        alike = torch.nn.functional.cosine_similarity(left.flatten(1), (to_go - to_go.mean((1, 2), True)).flatten(1))
        assert alike.mean() > 0.6, "0.2 where 40 features are fitted to 40 steps exactly"


@pytest.mark.parametrize("value", [0.0, 5.0, -0.1, 1e4])
@pytest.mark.parametrize("envs", [1, 20])
def test_where_every_step_pays_the_same_nothing_is_magnified(value: float, envs: int) -> None:
    torch.manual_seed(0)
    observation = torch.randn(3, envs, 40, 18)
    exact = standardised(trajectory(torch.full((3, envs, 40), value), observation=observation))
    assert exact.abs().max() < 1e-3
    rounded = torch.full((3, envs, 40), value) * (1 + 1e-7 * torch.randn(3, envs, 40))
    assert standardised(trajectory(rounded, observation=observation)).abs().max() < 0.1


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 5.0), (1.0, -50.0), (0.01, 0.0), (100.0, 1000.0)])
def test_advantages_are_the_same_whatever_every_step_pays_and_in_any_unit(scale: float, offset: float) -> None:
    torch.manual_seed(0)
    reward, observation = torch.randn(3, 5, 30, dtype=torch.float64), torch.randn(3, 5, 30, 4)
    found = standardised(trajectory(reward, observation=observation))
    assert_close(
        standardised(trajectory(scale * reward + offset, observation=observation)), found, rtol=1e-8, atol=1e-8
    )


def test_second_derivatives_of_credits() -> None:
    """Log-probabilities t x^2 / 2 at x = 1: scores g_t = t x = t, their derivatives t; of steps 1, 2 the sum of g is 3."""
    x = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    valid = torch.tensor([[[True, True, False]]])
    expected = {"none": [1, 2], "step": [1 + 1, 2 + 4], "all": [1 + 1, 2 + 3 * 3 - 1 * 1]}
    for terms, second in expected.items():
        log_prob = torch.tensor([[[1.0, 2.0, 7.0]]]).double() * x**2 / 2
        found = score_factor(log_prob, valid, terms)[0, 0]
        for step in (0, 1):
            (slope,) = torch.autograd.grad(found[step], x, create_graph=True)
            assert found[step] == 1
            assert slope == step + 1
            assert torch.autograd.grad(slope, x, retain_graph=True)[0] == second[step], terms


def bowl(curve: Tensor, slope: Tensor) -> tuple[Weights, object]:
    """L = slope . x, divergence = (x - x0) curve (x - x0) / 2, from x0 = (1, 2), in two parts."""
    start = torch.tensor([1.0, 2.0]).double()
    theta = {"a": start[:1].clone().requires_grad_(), "b": start[1:].clone().requires_grad_()}

    def judge(theta: Weights) -> tuple[Tensor, Tensor]:
        x = torch.cat([theta["a"], theta["b"]])
        return slope @ x, (x - start) @ curve @ (x - start) / 2

    return theta, judge


def test_a_trust_region_step_is_the_natural_gradient_as_far_as_the_divergence_goes() -> None:
    curve, slope = torch.tensor([[2.0, 0.5], [0.5, 0.04]]).double() + torch.eye(2), torch.tensor([3.0, -1.0]).double()
    theta, judge = bowl(curve, slope)
    step, curves = trust_region_step(judge, theta, max_kl=0.02, cg_steps=10, damping=1e-5)
    natural = torch.linalg.solve(curve, slope)
    expected = -math.sqrt(2 * 0.02 / (slope @ natural)) * natural
    assert_close(torch.cat([step["a"], step["b"]]), expected, rtol=1e-4, atol=0)
    assert curves["kl"].item() == pytest.approx(0.02, rel=1e-4)
    assert curves["kl"] <= 0.02
    assert curves["gain"].item() == pytest.approx(-(slope @ expected).item(), rel=1e-4)


def test_a_step_is_shortened_until_it_holds_the_bound_and_gains_and_given_up_where_it_cannot() -> None:
    theta = {"x": torch.zeros(1, dtype=torch.float64, requires_grad=True)}
    steep = lambda w: (-w["x"].sum(), (w["x"] ** 2 / 2 + 500 * w["x"] ** 4).sum())  # noqa: E731
    step, curves = trust_region_step(steep, theta, max_kl=0.02, cg_steps=10, damping=1e-5)
    assert 0.01 < curves["kl"].item() <= 0.02
    assert 0 < step["x"].item() < 0.2 * 0.8
    narrow = lambda w: (-w["x"].sum() + 1e6 * (w["x"] ** 2).sum(), (w["x"] ** 2 / 2).sum())  # noqa: E731
    step, curves = trust_region_step(narrow, theta, max_kl=0.02, cg_steps=10, damping=1e-5)
    assert step["x"].item() == curves["kl"].item() == curves["gain"].item() == 0
    nothing = lambda w: (0 * w["x"].sum(), (w["x"] ** 2 / 2).sum())  # noqa: E731
    assert trust_region_step(nothing, theta, max_kl=0.02, cg_steps=10, damping=1e-5)[0]["x"].item() == 0
