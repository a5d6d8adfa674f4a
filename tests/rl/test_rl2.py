"""RL2: the extent of its memory, and its update by hand."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_meta.core import InputError
from lightning_meta.envs import Bandits, IMaze
from lightning_meta.nn import GRU, LSTM, SNAIL, DeltaNet, Transformer
from lightning_meta.rl import A2C, PPO, RL2
from lightning_meta.rl.rl2 import Trials
from support.small_worlds import Paying, Reaching, bandit_agent, mdps

NETWORKS = {
    "gru": lambda: GRU(8),
    "lstm": lambda: LSTM(8),
    "snail": lambda: SNAIL(length=12, width=8, filters=4, values=2),
    "transformer": lambda: Transformer(8, layers=2, heads=2),
    "deltanet": lambda: DeltaNet(8, layers=2, heads=2),
}
every_network = pytest.mark.parametrize("network", [pytest.param(make, id=name) for name, make in NETWORKS.items()])


@every_network
def test_acting_step_by_step_agrees_with_reading_the_whole_trial_in_the_update(network):
    torch.manual_seed(1)
    agent = bandit_agent(network(), episodes=3)
    agent.policy.weight.data *= 100  # as decided as after training
    trajectory, _ = mdps(Bandits(3, horizon=4), *range(5)).rollout(agent.prior(mdps(Bandits(3), 0)), envs=2, episodes=3)
    trials = Trials.of(trajectory)
    distribution = agent.distribution(agent.outputs(trials))
    assert trials.inputs.shape == (10, 12, 3 + 2)
    assert trials.log_prob.std() > 0.1
    assert_close(distribution.log_prob(trials.action), trials.log_prob, rtol=0, atol=1e-5)


def test_memory_is_kept_across_episodes_and_empty_at_the_start_of_a_trial():
    """With one step per episode only memory knows the rewards of earlier ones."""
    torch.manual_seed(1)
    world = Bandits(3, horizon=1)
    agent = bandit_agent(LSTM(8), episodes=6)
    trajectory, _ = mdps(world, 4).rollout(agent.prior(mdps(world, 4)), episodes=6)
    assert trajectory.time_steps.previous_done[0, 0].tolist() == [0, 1, 1, 1, 1, 1]
    trials = Trials.of(trajectory)
    token = trials.inputs.clone().requires_grad_()
    output = agent.outputs(trials._replace(inputs=token))
    (felt,) = torch.autograd.grad(agent.policy(output)[0, 5].square().sum(), token)
    assert (felt[0].abs().amax(-1) > 1e-9).all(), "the sixth episode, of each before it"
    again, _ = mdps(world, 4).rollout(agent.prior(mdps(world, 4)), episodes=6)
    assert torch.equal(again.log_prob, trajectory.log_prob), "a new trial begins as the first did"


@every_network
def test_nothing_of_one_task_reaches_another(network):
    agent, world = bandit_agent(network(), episodes=2), Bandits(3, horizon=5)
    assert_close(agent.returns(mdps(world, 3, 8, 5))[1:2], agent.returns(mdps(world, 8)), rtol=0, atol=0)
    assert agent.returns(mdps(world, 3, 8, 5)).shape == (3, 2)
    trajectory, _ = mdps(world, 3, 8).rollout(agent.prior(mdps(world, 3)), episodes=2)
    trials = Trials.of(trajectory)
    token = trials.inputs.clone().requires_grad_()
    (felt,) = torch.autograd.grad(agent.policy(agent.outputs(trials._replace(inputs=token)))[0].square().sum(), token)
    assert felt[0].any()
    assert not felt[1].any()


def test_adapting_returns_a_policy_with_its_memory():
    agent, world = bandit_agent(GRU(8), episodes=2), Bandits(3, horizon=5)
    phi = agent.adapt(mdps(world, 3, 8))
    (state,) = phi.memory
    trajectory, _ = mdps(world, 3, 8).rollout(agent.prior(mdps(world, 3, 8)), episodes=2, purpose="trial")
    read = agent.sequence.read(
        agent.token(agent.reward_statistics.read(trajectory.time_steps.concatenated().flatten(0, 1)))
    )
    assert_close(state, read[0])
    before = state.clone()
    mdps(world, 3, 8).rollout(phi)
    assert torch.equal(phi.memory[0], before), "a policy is a value"


@every_network
def test_an_adapted_policy_acts_as_in_the_next_episode_of_its_trial(network):
    """The reward of the last action is included."""
    agent, world = bandit_agent(network(), episodes=2), Bandits(3, horizon=4)
    agent.policy.weight.data *= 100
    tasks = mdps(world, 3, 8)
    whole, _ = tasks.rollout(agent.prior(tasks), episodes=3, purpose="trial")
    trajectory, _ = tasks.rollout(agent.adapt(tasks), purpose="then")
    for name in ("previous_action", "previous_reward", "previous_done"):
        resumed, unbroken = getattr(trajectory.time_steps, name), getattr(whole.time_steps, name)
        assert torch.equal(resumed[:, :, 0], unbroken[:, :, 8]), name
    trials = Trials.of(whole)
    third = agent.distribution(agent.outputs(trials)[:, 8])
    assert_close(third.log_prob(trajectory.action[:, 0, 0]), trajectory.log_prob[:, 0, 0], rtol=0, atol=1e-5)


def test_no_cue_is_shown_again_to_a_policy_whose_trial_continues():
    agent, tasks = RL2(GRU(8), 6, 4, episodes=2), mdps(IMaze(ends=2, length=2, horizon=8), 0, 1)
    first, _ = tasks.rollout(agent.prior(tasks))
    later, _ = tasks.rollout(agent.adapt(tasks))
    assert first.time_steps.observation[:, 0, 0, 4:].tolist() == [[1, 0], [0, 1]]
    assert not later.time_steps.observation[:, 0, 0, 4:].any()


@pytest.mark.parametrize("sequence", [GRU(8), SNAIL(length=8, width=8, filters=4, values=2)], ids=["gru", "snail"])
def test_adapting_does_not_depend_on_when_other_tasks_end(sequence):
    """Law 3 in a world whose episodes end early."""
    torch.manual_seed(1)
    agent = RL2(sequence, 1, 2, discrete=False, episodes=2)
    both, alone = mdps(Reaching(), 3, 6), mdps(Reaching(), 6)
    trajectory, _ = both.rollout(agent.prior(both), episodes=2, purpose="trial")
    assert trajectory.terminated[0].any(), "so that the test can fail"
    phi, lone = agent.adapt(both), agent.adapt(alone)
    assert_close(phi.memory[0][1], lone.memory[0][0], rtol=0, atol=1e-6)
    assert_close(phi.resume_from.previous_reward[1:], lone.resume_from.previous_reward, rtol=0, atol=1e-6)


def test_the_loss_by_hand():
    """A2C on one trial of two steps, the numbers of the network read off: policy, value and entropy terms."""
    torch.manual_seed(1)
    agent = bandit_agent(
        GRU(4),
        arms=2,
        objective=A2C(),
        gamma=0.5,
        gae_lambda=1.0,
        value_weight=0.3,
        entropy_weight=0.1,
        reward_unit=1.0,
    )
    token = torch.randn(1, 2, 4)
    trials = Trials(token, torch.tensor([[1, 0]]), torch.zeros(1, 2), torch.tensor([[1.0, 3.0]]), torch.ones(1, 2))
    output = agent.outputs(trials)[0]
    value, chances = agent.value(output)[:, 0], agent.policy(output).softmax(-1)
    target = torch.tensor([1 + 0.5 * 3, 3.0])
    chosen = torch.stack([chances[0, 1], chances[1, 0]]).log()
    by_hand = (
        -(chosen * (target - value.detach())).mean()
        + 0.3 * (target - value).square().mean()
        + 0.1 * (chances * chances.log()).sum(-1).mean()
    )
    loss, log = agent.loss(trials)
    assert_close(loss, by_hand)
    assert_close(log["entropy"], -(chances * chances.log()).sum(-1).mean().detach())
    for ours, theirs in zip(
        torch.autograd.grad(loss, list(agent.parameters())),
        torch.autograd.grad(by_hand, list(agent.parameters())),
        strict=True,
    ):
        assert_close(ours, theirs)


def test_steps_after_the_end_of_a_trial_change_nothing():
    agent = RL2(GRU(8), 1, 2, False, A2C(), episodes=2, reward_unit=1.0)
    trajectory, _ = mdps(Reaching(), *range(20)).rollout(agent.prior(mdps(Reaching(), 0)), episodes=2)
    trials = Trials.of(trajectory)
    assert not trials.valid.all(), "some episodes ended early"
    loss, _ = agent.loss(trials)
    other = trials._replace(reward=trials.reward + 9 * (1 - trials.valid), log_prob=trials.log_prob * trials.valid)
    assert_close(agent.loss(other)[0], loss, rtol=0, atol=0)


def test_the_measured_reward_unit_is_the_size_of_the_rewards_to_go():
    agent = bandit_agent(GRU(8), gamma=0.5, objective=A2C())
    tokens, none = torch.zeros(2, 3, 5), torch.zeros(2, 3)
    valid = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    trials = Trials(tokens, none.long(), none, torch.tensor([[4.0, 0.0, 8.0], [2.0, 9.0, 9.0]]), valid)
    assert_close(agent.reward_scale(trials), torch.tensor((6.0**2 + 4.0**2 + 8.0**2 + 2.0**2) / 4).sqrt())
    agent.learn(mdps(Paying(1000), *range(20)), list[Tensor]().append)
    large = agent.measured_unit.item()
    assert 500 < large < 2000, "0.5 a pull, and half of what comes after"
    agent.learn(mdps(Paying(1), *range(20)), list[Tensor]().append)
    assert agent.measured_unit.item() == large, "values learned in one unit are not read in a smaller one"
    again = bandit_agent(GRU(8))
    again.load_state_dict(agent.state_dict())
    assert again.measured_unit.item() == large, "it is in the checkpoint"
    for unit, same in ((large, True), (2 * large, False)):
        told = bandit_agent(GRU(8), gamma=0.5, objective=A2C(), reward_unit=unit)
        told.load_state_dict(agent.state_dict())
        assert torch.equal(told.loss(trials)[0], agent.loss(trials)[0]) is same, "what is configured counts"


def test_trials_grow_with_the_number_of_meta_batches():
    agent, world = bandit_agent(GRU(8), episodes=2, first_steps=4, growth=3, objective=A2C()), Bandits(3, horizon=5)
    lengths = []
    for seed in range(5):
        log = agent.learn(mdps(world, seed, seed + 50), list[Tensor]().append)
        lengths.append(log["steps"].item() / 2)
    assert lengths == [4, 6, 8, 10, 10]
    again = bandit_agent(GRU(8), episodes=2, first_steps=4, growth=3)
    again.load_state_dict(agent.state_dict())
    assert again.trial_steps(world) == 10, "how far it has come is in the checkpoint"
    assert agent.returns(mdps(world, 1)).shape == (1, 2), "judged on whole trials"


def test_the_entropy_weight_falls_with_the_number_of_meta_batches():
    torch.manual_seed(1)
    agent = bandit_agent(GRU(8), objective=A2C(), entropy_weight=0.4, entropy_decay=(1, 3), reward_unit=1.0)
    trials, weights = Trials.of(mdps(Bandits(3), 0, 1).rollout(agent.prior(mdps(Bandits(3), 0)))[0]), []
    for seed in range(5):
        loss, log = agent.loss(trials)
        agent.entropy_weight = 0.0
        weights.append((agent.loss(trials)[0] - loss).item() / log["entropy"].item())
        agent.entropy_weight = 0.4
        agent.learn(mdps(Bandits(3), seed), list[Tensor]().append)
    assert weights == pytest.approx([0.4, 0.4, 0.2, 0.0, 0.0], abs=1e-5)


def test_minibatches_are_those_of_the_whole_meta_batch_on_any_number_of_processes():
    """Minibatch p has the tasks i with i % m = p; a process has a block of tasks, so its part has the same remainder."""
    gradients: list[Tensor] = []
    agent, world = bandit_agent(GRU(8), objective=PPO(epochs=1, minibatches=2), entropy_weight=0.0), Bandits(3)

    def record(loss: Tensor) -> None:
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(agent.parameters()))]))

    agent.learn(mdps(world, *range(8)), record)
    trajectory, _ = mdps(world, *range(8)).rollout(agent.prior(mdps(world, 0)))
    for part, found in enumerate(gradients):
        loss, _ = agent.loss(Trials(*(x[part::2] for x in Trials.of(trajectory))))
        assert_close(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(agent.parameters()))]), found)
    with pytest.raises(InputError, match="5 tasks per process cannot be split into 2 minibatches"):
        agent.learn(mdps(world, *range(5)), record)


def test_a_trial_longer_than_the_network_reads_is_refused_before_training():
    agent = bandit_agent(SNAIL(length=12, width=8, filters=4), episodes=4)
    agent.check(Bandits(3, horizon=3))
    with pytest.raises(InputError, match="SNAIL reads 12 steps, but a trial takes 16"):
        agent.check(Bandits(3, horizon=4))


@pytest.mark.parametrize(
    "wrong",
    [
        {"episodes": 0},
        {"growth": -1},
        {"first_steps": 0},
        {"entropy_decay": (5, 5)},
        {"entropy_decay": (-1, 5)},
        {"gamma": 1.5},
        {"gae_lambda": -0.1},
        {"reward_unit": 0.0},
        {"reward_unit": math.nan},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, float]):
    with pytest.raises(InputError):
        bandit_agent(GRU(8), **wrong)
