"""Recurrent deterministic policy gradients: the history that is read, what the critic learns, whose gradient reaches whom, and
that it solves what takes a memory."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_meta.core import InputError, MDPs, Transition, World
from lightning_meta.nn import GRU, LSTM, Memoryless
from lightning_meta.nn.sequence import SequenceNetwork
from lightning_meta.rl import RecurrentDPG
from lightning_meta.rl.recurrent_dpg import OUTPUT_PENALTY, replay_records
from support.outer_steps import Adam, constant, no_step


class Recall(World):
    """A cue of -1 or 1 is shown at first, then nothing; the last of three steps pays cue * action. With odd seeds it
    terminates there, with even ones it is cut off."""

    def __init__(self) -> None:
        self.observations, self.actions, self.discrete, self.horizon, self.noise = 1, 1, False, 3, 1

    def task(self, seeds: Tensor) -> Tensor:
        return seeds % 2 == 1

    def reset(self, task: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        cue = torch.where(u < 0.5, -1.0, 1.0)
        return torch.cat([cue, torch.zeros_like(cue)], -1), cue

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Transition:
        cue, age = state.unbind(-1)
        last = age == 2
        reward = torch.where(last, cue * action[..., 0], 0)
        return Transition(torch.stack([cue, age + 1], -1), torch.zeros_like(u), reward, last & task.unsqueeze(1))


def recall(*seeds: int, draw: int = 0) -> MDPs:
    return MDPs(Recall(), torch.tensor(seeds), torch.arange(len(seeds)) + 1000 * draw)


def small(sequence: SequenceNetwork | None = None, **changes: float) -> RecurrentDPG:
    settings = {"width": 16, "gradient_steps": 2, "batch": 2, "capacity": 50} | changes
    return RecurrentDPG(sequence or GRU(16), 1, 1, **settings)


def test_a_trial_is_recorded_with_its_final_observation_and_padded() -> None:
    """Two episodes: of the first task cut off, of the second terminated; and what is behind the end of a shorter trial."""
    mdps, agent = recall(0, 1), small(episodes=2)
    trajectory, _ = mdps.rollout(agent.prior(mdps), episodes=2)
    kept = replay_records(trajectory, 8)[:, 0]
    assert kept.shape == (2, 9, 4 + 1 + 1 + 1)
    inputs, action, reward, ended = kept.split([4, 1, 1, 1], -1)
    assert torch.equal(inputs[:, :6], trajectory.time_steps.concatenated()[:, 0])
    assert inputs[:, 3, 3].tolist() == [1, 1], "the end of an episode is seen at the start of the next"
    assert torch.equal(inputs[:, 6, 1:], torch.stack([action[:, 5, 0], reward[:, 5, 0], torch.zeros(2)], -1))
    assert torch.equal(action[:, :6], trajectory.action[:, 0])
    assert torch.equal(reward[:, :6, 0], trajectory.reward[:, 0])
    assert ended.squeeze(-1).tolist() == [[0] * 9, [0, 0, 0, 0, 0, 1, 0, 0, 0]], "within a trial nothing ends"
    assert not kept[:, 7:].any()
    shorter = trajectory._replace(valid=torch.arange(6).expand(2, 1, 6) < 3)
    early = replay_records(shorter, 6)[:, 0]
    assert torch.equal(early[:, 3, 0], trajectory.next_observation[:, 0, 2, 0]), "not the start of the next episode"
    assert early[:, 3, 3].tolist() == [0, 0]
    assert early[:, 2, -1].tolist() == [0, 1]


def test_the_targets_of_the_critic_by_hand() -> None:
    """Constant Q = 2 and Q' = 5: targets are 10 r + 0.5 * 5, and 10 r alone where the trial terminated."""
    agent, mdps = small(gamma=0.5, reward_unit=0.1, standardise_rewards=False), recall(0, 1)
    found = agent.learn(mdps, no_step)
    constant(agent.actor.head, 0.5)
    constant(agent.critic.head, 2.0)
    constant(agent.target_critic.head, 5.0)
    trials, _ = agent.replay.sample_trajectories(torch.tensor([0]), torch.tensor([[0.25, 0.75]]))
    rewards = trials[0, :, 2, 5]
    assert_close(found["return"], rewards.mean())
    agent.batch = 64
    loss, parts = agent.loss(mdps, "x")
    picked, _ = agent.replay.sample_trajectories(torch.zeros(2, dtype=torch.long), mdps.uniform("x/trials", 64))
    reward, ended = picked[..., :3, 5], picked[..., :3, 6]
    wanted = 10 * reward + 0.5 * 5 * (1 - ended)
    assert 0 < ended.mean() < 1 / 3, "both kinds of trial were drawn"
    assert_close(parts["critic_loss"], (2 - wanted).square().mean())
    assert_close(parts["value"], torch.tensor(2.0))
    assert_close(loss, parts["critic_loss"] - 2 + OUTPUT_PENALTY * 0.25)


@pytest.mark.parametrize("stochastic", [False, True])
def test_every_network_but_the_targets_gets_a_gradient_and_the_actors_is_the_critics_slope(stochastic: bool) -> None:
    agent, mdps = small(stochastic=stochastic), recall(0, 1)
    agent.learn(mdps, no_step)
    agent.loss(mdps, "x")[0].backward()
    silent = {name for name, w in agent.named_parameters() if w.grad is None or not w.grad.any()}
    assert silent == {name for name, _ in agent.named_parameters() if "target" in name}
    constant(agent.critic.head, 1.0)
    constant(agent.actor.head, *[0.0] * (1 + stochastic))
    grads = torch.autograd.grad(agent.loss(mdps, "x")[0], list(agent.actor.parameters()))
    assert not any(g.any() for g in grads), "the actor climbs Q alone, and this Q is level"


def test_the_gradient_of_the_actor_goes_back_through_time_only_by_its_own_memory() -> None:
    """The first observation moves the last action, and nothing of the critic's memory reaches the actor."""
    agent, mdps = small(), recall(0, 1)
    agent.learn(mdps, no_step)
    history = torch.randn(1, 3, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(agent.actor(history)[0, 2, 0], history)
    assert (gradient.abs().amax(-1) > 1e-6).all()
    _, parts = agent.loss(mdps, "x")
    critic_alone = torch.autograd.grad(agent.loss(mdps, "x")[0], agent.critic.sequence.gru.weight_hh_l0)[0]
    for w in agent.actor.parameters():
        torch.nn.init.zeros_(w)
    assert_close(torch.autograd.grad(agent.loss(mdps, "x")[0], agent.critic.sequence.gru.weight_hh_l0)[0], critic_alone)
    assert parts["value"] != agent.loss(mdps, "x")[1]["value"], "another actor, worth something else"


def test_nothing_is_learned_from_steps_after_the_end_of_a_trial() -> None:
    agent, mdps = small(), recall(0, 1)
    agent.learn(mdps, no_step)
    before = agent.loss(mdps, "x")[0]
    agent.replay.length.clamp_(max=2)
    shorter = agent.loss(mdps, "x")[0]
    agent.replay.kept[:, :, 2, 5:] = 100.0
    assert torch.equal(agent.loss(mdps, "x")[0], shorter)
    assert shorter != before


def test_the_actor_acts_as_it_is_trained_and_explores() -> None:
    agent, mdps = small(), recall(0, 1, 2)
    greedy, _ = mdps.rollout(agent.prior(mdps), envs=2, greedy=True)
    history = greedy.time_steps.concatenated().flatten(0, 1)
    assert_close(agent.actor(history).tanh(), greedy.action.flatten(0, 1))
    noisy, _ = mdps.rollout(agent.prior(mdps), envs=2)
    off = noisy.action - agent.actor(noisy.time_steps.concatenated().flatten(0, 1)).tanh().reshape(noisy.action.shape)
    assert 0.1 < off.std() < 0.5
    assert noisy.action.abs().max() <= 1


@pytest.mark.parametrize(
    ("sequence", "stochastic", "least", "most"),
    [(GRU, False, 0.9, 1), (partial(LSTM, orthogonal=True), True, 0.8, 1), (Memoryless, False, -0.4, 0.4)],
    ids=["deterministic", "stochastic", "memoryless"],
)
def test_it_remembers_a_cue_which_takes_a_memory(sequence, stochastic: bool, least: float, most: float) -> None:
    agent = small(sequence(16), gradient_steps=5, batch=4, gamma=0.5, stochastic=stochastic, capacity=400, tau=0.05)
    outer_step = Adam(agent, 1e-2)
    for k in range(20):
        agent.learn(recall(*range(16), draw=k), outer_step)
    unseen = recall(*range(100), draw=77)
    assert least <= agent.returns(unseen).mean() <= most


def test_unsuitable_worlds_and_settings_are_refused() -> None:
    with pytest.raises(InputError, match="those of the world are discrete: choose RL2"):
        RecurrentDPG(GRU(4), 1, 2, discrete=True)
    with pytest.raises(InputError, match="exploration_noise 0"):
        small(exploration_noise=0.0)


def test_an_adapted_policy_acts_as_in_the_next_episode_of_its_trial() -> None:
    agent, mdps = small(episodes=2), recall(0, 1)
    trial, _ = mdps.rollout(agent.prior(mdps), episodes=2, purpose="trial", greedy=True)
    third, _ = mdps.rollout(agent.adapt(mdps), purpose="then", greedy=True)
    assert torch.equal(third.time_steps.previous_action[:, :, 0], trial.action[:, :, 5])
    assert torch.equal(third.time_steps.previous_reward[:, :, 0], trial.reward[:, :, 5])
    assert third.time_steps.previous_done[:, :, 0].all()
    output = agent.actor(
        agent.reward_statistics.read(
            torch.cat([trial.time_steps.concatenated(), third.time_steps.concatenated()], 2)[:, 0]
        )
    )
    assert_close(agent.distribution(output[:, 6:]).mode, third.action[:, 0])


def test_the_entropy_of_a_stochastic_policy_is_logged() -> None:
    agent = small(stochastic=True)
    assert "entropy" in agent.learn(recall(0, 1), lambda _: None)
    assert "entropy" not in small().learn(recall(0, 1), lambda _: None)
