"""RL2 learns to use its memory and continuous actions, and reports it."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_meta.core import World
from lightning_meta.envs import Bandits
from lightning_meta.nn import GRU, Memoryless
from lightning_meta.rl import A2C, PPO, RL2
from lightning_meta.rl.rl2 import Trials
from support.small_worlds import Paying, Reaching, bandit_agent, mdps


def train(agent: RL2, world: World, meta_batches: int, tasks: int, lr: float) -> None:
    optimizer = torch.optim.Adam(agent.parameters(), lr=lr)

    def outer_step(loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(agent.parameters(), 1.0)
        optimizer.step()

    for step in range(meta_batches):
        agent.learn(mdps(world, *range(step * tasks, (step + 1) * tasks)), outer_step)


def judge(agent: RL2, world: World, tasks: int = 8192) -> float:
    return float(agent.returns(mdps(world, *range(10**6, 10**6 + tasks))).sum(1).mean())


WIN_STAY_LOSE_SHIFT = 5.796  # in closed form, the best that knows the last pull alone; 6.022 is the best there is


@pytest.mark.parametrize("make", [lambda: GRU(16), lambda: Memoryless(64)], ids=["GRU", "Memoryless"])
@pytest.mark.slow
def test_ppo_on_two_arms_passes_win_stay_lose_shift_if_it_remembers(make):
    torch.manual_seed(0)
    sequence, world = make(), Bandits(arms=2, horizon=10)
    agent = bandit_agent(sequence, arms=2, objective=PPO(minibatches=4), gae_lambda=0.7)
    train(agent, world, meta_batches=90, tasks=256, lr=0.01)
    found = judge(agent, world)
    if isinstance(sequence, GRU):
        assert found > WIN_STAY_LOSE_SHIFT + 0.06
    else:
        assert 5.3 < found < WIN_STAY_LOSE_SHIFT + 0.06, "better than chance, 5"


def test_continuous_actions_are_learned():
    torch.manual_seed(0)
    agent = RL2(GRU(16), 1, 2, False, PPO(minibatches=2), episodes=2)
    before = judge(agent, Reaching(), 500)
    train(agent, Reaching(), meta_batches=25, tasks=128, lr=0.01)
    assert judge(agent, Reaching(), 500) > 0.6 * before, "returns are negative"
    assert not math.isclose(float(agent.log_std.detach().mean()), 0)


def test_rewards_of_any_size_teach_the_same():
    """This concerns learning only; a network that reads rewards of another size starts as another policy."""
    heads = []
    for factor in (1.0, 1024.0):
        torch.manual_seed(0)
        agent = bandit_agent(Memoryless(8), objective=PPO(epochs=2, minibatches=2))
        with torch.no_grad():
            agent.token.weight[:, 3] /= factor  # the reward is the fourth number that it reads
        train(agent, Paying(factor), meta_batches=3, tasks=64, lr=0.0)
        trajectory, _ = mdps(Paying(factor), *range(64)).rollout(agent.prior(mdps(Paying(factor), 0)))
        loss, _ = agent.loss(Trials.of(trajectory))
        heads.append(torch.autograd.grad(loss, [agent.policy.weight, agent.value.weight]))
    assert_close(heads[0], heads[1])


@pytest.mark.parametrize("objective", [A2C(), PPO(epochs=2, minibatches=2)], ids=["A2C", "PPO"])
def test_the_divergence_of_an_update_is_logged(objective):
    """By hand: in the last minibatch, from the policy before the meta-batch to the one after it."""
    torch.manual_seed(1)
    agent, world = bandit_agent(GRU(8), objective=objective), Bandits(3, horizon=5)
    tasks = mdps(world, *range(64))
    assert abs(float(agent.learn(tasks, lambda _: None)["kl"])) < 1e-6
    trajectory, _ = tasks.rollout(agent.prior(tasks))
    trials = Trials.of(trajectory)
    optimizer = torch.optim.SGD(agent.parameters(), lr=1.0)

    def outer_step(loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    told = agent.learn(tasks, outer_step)["kl"]
    now = agent.distribution(agent.outputs(trials))
    log_ratio = (now.log_prob(trials.action) - trials.log_prob)[
        agent.objective.minibatches - 1 :: agent.objective.minibatches
    ]
    assert told > 1e-5
    assert_close(told, (log_ratio.exp() - 1 - log_ratio).mean().detach(), rtol=1e-2, atol=1e-7)
