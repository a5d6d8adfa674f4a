"""A constant in every reward, and the unit of rewards, make no difference to what an agent learns."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_meta.core import MDPs, MetaRLLearner, Trajectory, Transition, World
from lightning_meta.envs import Bandits, PointRobot
from lightning_meta.nn import GRU, LSTM, SNAIL
from lightning_meta.rl import A2C, MAML, PEARL, PPO, RL2, RecurrentDPG
from lightning_meta.rl.parts.reward_statistics import (
    RewardStatistics,
    centred_rewards,
    centred_rewards_infinite_horizon,
)
from support.packaged_agents import default_dtype, improver


class Paying(World):
    """Another world with rewards scale * reward + offset."""

    def __init__(self, world: World, scale: float = 1.0, offset: float = 0.0):
        self.world, self.scale, self.offset = world, scale, offset
        self.observations, self.actions, self.discrete = world.observations, world.actions, world.discrete
        self.horizon, self.noise, self.tasks = world.horizon, world.noise, world.tasks

    def task(self, seeds: Tensor) -> Any:
        return self.world.task(seeds)

    def reset(self, task: Any, u: Tensor) -> tuple[Tensor, Tensor]:
        return self.world.reset(task, u)

    def step(self, task: Any, state: Tensor, action: Tensor, u: Tensor) -> Transition:
        moved = self.world.step(task, state, action, u)
        return moved._replace(reward=self.scale * moved.reward + self.offset)

    def dense_reward(self, task: Any, trajectory: Trajectory) -> Tensor:
        return self.scale * self.world.dense_reward(task, trajectory) + self.offset


def met(world: World, first: int, tasks: int, known: int | None = None) -> MDPs:
    places = torch.arange(first, first + tasks)
    return MDPs(world, places if known is None else places % known, places)


BANDITS = {
    "rl2": lambda: RL2(GRU(8), 0, 3, objective=PPO(epochs=2, minibatches=2)),
    "l2rl": lambda: RL2(LSTM(8), 0, 3, objective=A2C(), episodes=2),
    "snail": lambda: RL2(SNAIL(length=10, width=8, filters=4, values=4), 0, 3, objective=PPO(minibatches=1)),
    "growing": lambda: RL2(GRU(8), 0, 3, objective=A2C(), first_steps=2, growth=2),
    "maml": lambda: MAML(0, 3, True, hidden=(4,), envs=4),
}
ROBOTS = {
    "pearl": lambda: PEARL(
        2, 2, tasks=4, updates=1, width=8, depth=1, gradient_steps=2, batch=8, context=4, capacity=9
    ),
    "rdpg": lambda: RecurrentDPG(GRU(8), 2, 2, width=8, gradient_steps=2, batch=2, capacity=50),
}
MAKERS: dict[str, tuple[Callable[[], MetaRLLearner], World]] = {
    **{name: (make, Bandits(3, 5)) for name, make in BANDITS.items()},
    **{name: (make, PointRobot("dense", 5)) for name, make in ROBOTS.items()},
}
OFFSETS = [(1.0, 5.0), (1.0, -5.0), (1.0, 50.0)]
SCALES = [
    (0.01, 0.0),
    (100.0, 500.0),
]  # of PEARL and recurrent DPG, told what their rewards are counted in, are settings


@pytest.mark.parametrize(
    ("name", "scale", "offset"),
    [(name, *kind) for name in MAKERS for kind in OFFSETS + (SCALES if name not in ROBOTS else [])],
)
def test_an_agent_learns_the_same_whatever_the_offset_of_rewards(name: str, scale: float, offset: float) -> None:
    """From the first meta-batch on, up to rounding."""
    make, world = MAKERS[name]
    found = []
    with default_dtype(torch.float64):
        for each in (world, Paying(world, scale, offset)):
            torch.manual_seed(0)
            agent = make().train()
            outer_step = improver(agent)
            for step in range(3):
                agent.learn(met(each, 100 * step, 8, 4 if name == "pearl" else None), outer_step)
            trajectory, _ = met(each, 0, 4).rollout(agent.eval().adapt(met(each, 0, 4)), purpose="then")
            found.append([*agent.parameters(), trajectory.log_prob])
    assert_close(found[1], found[0], rtol=1e-5, atol=1e-7)


def test_statistics_are_those_of_all_valid_rewards_and_stay_at_test() -> None:
    torch.manual_seed(0)
    rewards, paid, valid = RewardStatistics(True), 50 + 3 * torch.randn(4, 20, 10), torch.rand(4, 20, 10) < 0.8
    for k in range(4):
        rewards.store(rewards.including(paid[k], valid[k]))
    parts = [paid[k][valid[k]] for k in range(4)]
    means = torch.stack([part.mean() for part in parts])
    squares = torch.stack([part.square().mean() for part in parts])
    assert_close(rewards.mean, means.mean())
    assert_close(rewards.variance, squares.mean() - means.mean().square(), rtol=1e-3, atol=0)
    again = RewardStatistics(True)
    again.load_state_dict(rewards.state_dict())
    assert torch.equal(again.standardised(paid), rewards.standardised(paid))
    assert rewards.standardised(paid)[valid].mean().abs() < 0.01
    assert rewards.standardised(torch.tensor(1e9)) == 10
    agent = RL2(GRU(4), 0, 3)
    agent.learn(met(Bandits(3, 5), 0, 8), lambda _: None)
    before = agent.reward_statistics.mean.clone()
    agent.eval().returns(met(Paying(Bandits(3, 5), 1, 99), 0, 8))
    assert torch.equal(agent.reward_statistics.mean, before)


def test_no_reward_is_read_before_the_first_meta_batch_or_at_the_start_of_a_trial() -> None:
    inputs = torch.rand(2, 3, 5)
    rewards = RewardStatistics(True)
    assert not rewards.read(inputs)[..., 3].any()
    rewards.store((torch.tensor(0.5), torch.tensor(0.04)))
    read = rewards.read(inputs)
    assert not read[:, 0, 3].any()
    assert_close(read[:, 1:, 3], (inputs[:, 1:, 3] - 0.5) / 0.2)
    assert_close(rewards.read(inputs, trial_start=False)[:, 0, 3], (inputs[:, 0, 3] - 0.5) / 0.2)
    assert torch.equal(read[..., [0, 1, 2, 4]], inputs[..., [0, 1, 2, 4]])
    assert RewardStatistics(False).read(inputs) is inputs


def test_a_trial_that_ends_early_receives_zero_and_not_the_mean_afterwards() -> None:
    """Sums of centred rewards are those of rewards minus a function of time only."""
    reward, valid = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]]), torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]])
    found = centred_rewards(reward, valid, torch.tensor(0.5), 0.5, 5)
    assert_close(found[0], torch.tensor([0.5, 0.5, 0.5, 0.5 - 0.25]))
    assert_close(found[1], torch.tensor([0.5, 0.5 - 0.5 * (0.5 + 0.25 + 0.125), 0, 0]))
    ended = torch.tensor([0.0, 1.0])
    for_ever = centred_rewards_infinite_horizon(torch.tensor([1.0, 1.0]), ended, torch.tensor(0.5), 0.5)
    value = 3.0  # of the state that follows, which in counted rewards is 0.5 / (1 - 0.5) less
    assert_close(for_ever + 0.5 * (1 - ended) * (value - 1), torch.tensor([1 + 0.5 * 3, 1.0]) - 1)
    assert torch.equal(centred_rewards_infinite_horizon(reward, valid, torch.tensor(0.5), 1.0), reward), (
        "no such shift without discounting"
    )


def test_nothing_is_learned_if_every_step_pays_the_same() -> None:
    """Even without an entropy term the policy hardly changes: noise of the values is not magnified."""
    torch.manual_seed(0)
    agent, world = RL2(GRU(8), 0, 3, objective=PPO(minibatches=2), entropy_weight=0.0), Paying(Bandits(3, 5), 0.0, 5.0)
    outer_step = improver(agent, 0.003)
    entropies = [agent.learn(met(world, 64 * step, 64), outer_step)["entropy"] for step in range(15)]
    assert entropies[-1] > 0.95 * torch.tensor(3.0).log()


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 5.0), (1.0, -50.0), (0.01, 0.0), (100.0, 0.0)])
def test_bandits_are_learned_at_any_offset_and_scale(scale: float, offset: float) -> None:
    """70 meta-batches of the packaged task: 6.5 of 10 pulls won as without an offset, where 5 is chance."""
    torch.manual_seed(0)
    world = Paying(Bandits(5, 10), scale, offset)
    agent = RL2(GRU(48), 0, 5, objective=PPO(minibatches=8))
    optimizer = torch.optim.Adam(agent.parameters(), lr=0.003)

    def outer_step(loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(agent.parameters(), 1.0)
        optimizer.step()

    for step in range(70):
        agent.learn(met(world, 256 * step, 256), outer_step)
    returns = agent.eval().returns(met(world, 10**6, 4096)).sum(1)
    assert ((returns.mean() - 10 * offset) / scale) > 6.3
