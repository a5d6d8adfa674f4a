"""Rollouts of policies in worlds: the record, its random numbers, and the ends of episodes and trials."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Normal

from lightning_meta.core import InputError, MDPs, Policy, TimeStep, Transition, World, sample_action, uniform
from lightning_meta.envs import Bandits, TabularMDPs
from lightning_meta.rl.strategies import bandits, tabular


class Corridor(World):
    """A corridor of cells 0 .. task that ends in the last one. A step to the right has reward 1; action 0 stays."""

    def __init__(self, horizon: int):
        self.observations, self.actions, self.discrete, self.horizon, self.noise = 1, 2, True, horizon, 1

    def task(self, seeds: Tensor) -> Tensor:
        return seeds.float()

    def reset(self, task: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return torch.zeros_like(u), torch.zeros_like(u)

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Transition:  # noqa: ARG002
        state = state + action.unsqueeze(-1)
        return Transition(state, state, action.float(), state[..., 0] >= task.unsqueeze(1))


@dataclass(frozen=True)
class Counting(Policy):
    """A policy that always goes right and counts its steps."""

    steps: int = 0

    def act(self, time_step: TimeStep) -> tuple[Distribution, Policy]:
        logits = torch.tensor([-1e9, 0.0]).expand(*time_step.previous_reward.shape, 2)
        return Categorical(logits=logits), Counting(self.steps + 1)


def mdps(world: World, *seeds: int, draw: int = 0) -> MDPs:
    return MDPs(world, torch.tensor(seeds), torch.tensor(seeds) + draw)


def test_random_numbers_are_uniform_independent_and_each_tasks_own() -> None:
    seeds = torch.arange(-500, 500)
    u = uniform(seeds, "arms", 20, 10)
    assert ((u > 0) & (u < 1)).all()
    counts = torch.histc(u, 16, 0, 1)
    assert ((counts - u.numel() / 16).square() / (u.numel() / 16)).sum() < 50, "chi-square, 15 degrees of freedom"
    rows = torch.stack([u[:-1].flatten(), u[1:].flatten(), uniform(seeds, "legs", 20, 10)[1:].flatten()])
    assert torch.corrcoef(rows).fill_diagonal_(0).abs().max() < 0.02
    lag = u.flatten(1)
    assert torch.corrcoef(torch.stack([lag[:, 1:].flatten(), lag[:, :-1].flatten()]))[0, 1].abs() < 0.02
    assert torch.equal(uniform(seeds[7:9], "arms", 20, 10), u[7:9])
    assert uniform(seeds, "arms").shape == (1000,)


def test_episodes_terminate_or_are_truncated_and_a_trial_continues_with_the_next() -> None:
    trajectory, policy = mdps(Corridor(3), 2, 9).rollout(Counting(), envs=2, episodes=2)
    assert trajectory.terminated[0, 0, :4].tolist() == [False, True, False, True]
    assert not trajectory.truncated[0, 0].any(), "an episode that ended is not cut off"
    assert trajectory.valid[0, 0].tolist() == [True] * 4 + [False] * 2
    assert trajectory.truncated[1, 0].tolist() == [False, False, True] * 2
    assert not trajectory.terminated[1].any()
    assert trajectory.time_steps.observation[1, 0, :, 0].tolist() == [0, 1, 2, 0, 1, 2]
    assert trajectory.next_observation[1, 0, :, 0].tolist() == [1, 2, 3, 1, 2, 3], "that of before the next begins"
    assert trajectory.time_steps.previous_done[1, 0].tolist() == [0, 0, 0, 1, 0, 0]
    assert trajectory.time_steps.previous_reward[1, 0].tolist() == [0, 1, 1, 1, 1, 1], (
        "carried over the end of an episode"
    )
    assert trajectory.time_steps.previous_action[1, 0].tolist() == [[0, 0], *[[0, 1]] * 5]
    assert trajectory.returns(2).tolist() == [[[2, 2]] * 2, [[3, 3]] * 2]
    assert policy == Counting(6), "the policy that was carried along"


def test_a_rollout_of_a_task_is_the_same_in_any_batch_and_another_with_another_noise_seed() -> None:
    world = Bandits(arms=5, horizon=20)
    fair = Uniform(5)
    both, _ = mdps(world, 3, 8).rollout(fair, envs=3)
    alone, _ = mdps(world, 8).rollout(fair, envs=3)
    again, _ = mdps(world, 8, draw=1).rollout(fair, envs=3)
    assert torch.equal(both.reward[1], alone.reward[0])
    assert torch.equal(both.action[1], alone.action[0])
    assert not torch.equal(alone.reward, again.reward)
    assert not torch.equal(alone.action[0, 0], alone.action[0, 1]), "copies have random numbers of their own"
    assert alone.log_prob.unique().item() == pytest.approx(-math.log(5))


@dataclass(frozen=True)
class Uniform(Policy):
    """A policy that takes n actions with equal probability; `weight` is the logit of each."""

    n: int
    weight: float = 0.0

    def act(self, time_step: TimeStep) -> tuple[Distribution, Policy]:
        return Categorical(
            logits=torch.full((*time_step.previous_reward.shape, self.n), self.weight), validate_args=False
        ), self


def test_a_bandit_pays_at_the_success_rates_of_its_arms() -> None:
    world = Bandits(arms=3, horizon=100)
    many = mdps(world, *range(50))
    trajectory, _ = many.rollout(Uniform(3), envs=40)
    for arm in range(3):
        pulled = (trajectory.action == arm).float()
        rate = (trajectory.reward * pulled).sum((1, 2)) / pulled.sum((1, 2))
        assert (rate - many.task[:, arm]).abs().max() < 0.06
    assert many.task.mean() == pytest.approx(0.5, abs=0.08)


def test_actions_are_quantiles() -> None:
    u = torch.tensor([0.1, 0.5, 0.9]).reshape(1, 3, 1)
    assert sample_action(Categorical(torch.tensor([0.2, 0.5, 0.3]).expand(1, 3, 3)), u).tolist() == [[0, 1, 2]]
    torch.testing.assert_close(
        sample_action(Normal(torch.zeros(1, 3, 1), 2 * torch.ones(1, 3, 1)), u).flatten(),
        torch.tensor([-2.5631, 0.0, 2.5631]),
        atol=1e-4,
        rtol=0,
    )


@pytest.mark.parametrize("greedy", [False, True])
def test_a_policy_whose_probabilities_are_not_finite_is_an_error_greedy_or_not(greedy: bool) -> None:
    with pytest.raises(InputError, match="the policy in Bandits is not a finite number"):
        mdps(Bandits(), 1).rollout(Uniform(5, math.nan), greedy=greedy)


class Broken(Corridor):
    """A corridor whose observation or reward in cell 2 is not finite."""

    def __init__(self, part: str, horizon: int):
        super().__init__(horizon)
        self.part = part

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Transition:
        moved = super().step(task, state, action, u)
        there = moved.state[..., 0] == 2
        if self.part == "reward":
            return moved._replace(reward=moved.reward.masked_fill(there, math.nan))
        return moved._replace(observation=moved.observation.masked_fill(there.unsqueeze(-1), math.inf))


@pytest.mark.parametrize("horizon", [2, 4], ids=["the last that is seen", "in the middle"])
@pytest.mark.parametrize(("part", "named"), [("observation", "an observation"), ("reward", "a reward")])
def test_observations_and_rewards_of_a_world_must_be_finite(part: str, named: str, horizon: int) -> None:
    with pytest.raises(InputError, match=f"^{named} in Broken is not a finite number"):
        mdps(Broken(part, horizon), 9, 9).rollout(Counting())
    mdps(Broken(part, 1), 9, 9).rollout(Counting())


@dataclass(frozen=True)
class Witness(Policy):
    """A policy that goes right, and keeps the first time step of each rollout and the end of the last one."""

    resume_from: TimeStep | None = None
    first: tuple[TimeStep, ...] = ()
    fresh: bool = True

    def act(self, time_step: TimeStep) -> tuple[Distribution, Policy]:
        distribution, _ = Counting().act(time_step)
        return distribution, Witness(None, (*self.first, time_step) if self.fresh else self.first, fresh=False)

    def end_rollout(self, time_step: TimeStep) -> Policy:
        return Witness(time_step, self.first)


def test_a_policy_with_a_memory_reads_the_result_of_its_last_action_when_its_trial_continues() -> None:
    """Also after a rollout that stopped within an episode, and in more envs than before."""
    tasks, policy = mdps(Corridor(3), 9, 9), Witness()
    for envs, steps in ((1, None), (1, 2), (4, None)):
        trajectory, policy = tasks.rollout(policy, envs=envs, steps=steps)
        time_step = policy.first[-1]
        assert torch.equal(trajectory.time_steps.observation[:, :, 0], torch.zeros(2, envs, 1)), "an episode begins"
        assert torch.equal(trajectory.time_steps.previous_reward[:, :, 0], time_step.previous_reward), (
            "what it saw is what is recorded"
        )
        began = envs == 1 and steps is None
        assert time_step.previous_reward.tolist() == [[0.0 if began else 1.0] * envs] * 2
        assert time_step.previous_done.tolist() == [[0.0 if began else 1.0] * envs] * 2
        assert time_step.previous_action.tolist() == [[[0.0, 0.0] if began else [0.0, 1.0]] * envs] * 2
    for others, envs in ((mdps(Corridor(3), 9), 4), (tasks, 2)):
        with pytest.raises(InputError, match="remembers 2 tasks in 4 envs and cannot act in"):
            others.rollout(policy, envs=envs)


def test_random_numbers_do_not_depend_on_the_precision_of_a_run() -> None:
    seeds, before = torch.arange(100), torch.get_default_dtype()
    found = uniform(seeds, "arms", 50)
    try:
        torch.set_default_dtype(torch.bfloat16)
        assert torch.equal(uniform(seeds, "arms", 50), found)
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("strategy", [bandits.Greedy, tabular.Greedy])
def test_strategies_keep_the_result_of_the_last_action_of_a_rollout(strategy: type[Policy]) -> None:
    tasks = mdps(Bandits(3, 4) if strategy is bandits.Greedy else TabularMDPs(4, 2, 5), 1, 2)
    policy = strategy(tasks)  # type: ignore[call-arg]  # a dataclass
    rollouts = []
    for purpose in ("first", "second"):
        found, policy = tasks.rollout(policy, purpose=purpose)
        rollouts.append(found)
    assert torch.equal(rollouts[1].time_steps.previous_reward[:, :, 0], rollouts[0].reward[:, :, -1])
    assert torch.equal(rollouts[1].time_steps.previous_action[:, :, 0].argmax(-1), rollouts[0].action[:, :, -1])
    assert policy.resume_from is not None
