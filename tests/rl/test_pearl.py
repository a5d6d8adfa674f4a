"""PEARL: what is believed of a task, what soft actor-critic is trained towards, whose gradient reaches whom, that it learns."""

import io
import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal, TanhTransform, TransformedDistribution, kl_divergence
from torch.testing import assert_close

from lightning_meta.core import InputError, MDPs, Trajectory, Transition, World
from lightning_meta.rl import PEARL
from lightning_meta.rl.parts.belief import Belief
from lightning_meta.rl.parts.distributions import ClippedNormal, SquashedNormal
from lightning_meta.rl.parts.sac import OUTPUT_PENALTY, SoftActorCritic
from support.outer_steps import Adam, constant, no_step

NOTHING = Belief(torch.zeros(1, 2), torch.zeros(1, 2))


class Sides(World):
    """Going to one side pays, as far as one goes; which one is the task. Odd seeds: the right. Its dense reward is thrice the
    reward."""

    def __init__(self, horizon: int = 4):
        self.observations, self.actions, self.discrete, self.horizon, self.noise = 1, 1, False, horizon, 1

    def task(self, seeds: Tensor) -> Tensor:
        return 2.0 * (seeds % 2) - 1

    def reset(self, task: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return u - 0.5, u - 0.5

    def step(self, task: Tensor, state: Tensor, action: Tensor, u: Tensor) -> Transition:  # noqa: ARG002
        reward = task.unsqueeze(1) * action[..., 0]
        return Transition(state, state, reward, torch.zeros_like(reward, dtype=torch.bool))

    def dense_reward(self, task: Tensor, trajectory: Trajectory) -> Tensor:  # noqa: ARG002
        return 3 * trajectory.reward


def sides(*seeds: int, draw: int = 0) -> MDPs:
    return MDPs(Sides(), torch.tensor(seeds), torch.arange(len(seeds)) + 1000 * draw)


def small(**changes: int | float) -> PEARL:
    settings = {"tasks": 4, "updates": 1, "latents": 2, "width": 16, "depth": 1, "batch": 16, "context": 8}
    return PEARL(1, 1, **(settings | {"gradient_steps": 2, "capacity": 20} | changes))


def test_a_product_of_gaussians_by_hand() -> None:
    """N(1, 1/2) N(4, 1): precisions 2 and 1, so variance 1/3 and mean (2 * 1 + 1 * 4) / 3 = 2."""
    mean, variance = torch.tensor([[[1.0, 5.0], [4.0, 5.0]]]), torch.tensor([[[0.5, 1.0], [1.0, 1.0]]])
    belief = NOTHING.multiply(mean, variance, torch.tensor([[True, True]]))
    assert_close(belief.mean(), torch.tensor([[2.0, 5.0]]))
    assert_close(belief.variance(), torch.tensor([[1 / 3, 1 / 2]]))
    assert_close(NOTHING.multiply(mean, variance, torch.tensor([[False, True]])).mean(), torch.tensor([[4.0, 5.0]]))
    theirs = kl_divergence(Normal(belief.mean(), belief.variance().sqrt()), Normal(0.0, 1.0)).sum(-1)
    assert_close(belief.kl(), theirs)
    assert_close(belief.sample(torch.full((1, 2), 0.8413447)), belief.mean() + belief.variance().sqrt())


def test_without_observations_z_is_standard_normal() -> None:
    assert NOTHING.mean().tolist() == [[0, 0]]
    assert NOTHING.variance().tolist() == [[1, 1]]
    assert NOTHING.kl().tolist() == [0]


def test_a_belief_does_not_depend_on_the_order_or_grouping_of_transitions() -> None:
    agent, steps, all_valid = small().double(), torch.randn(2, 7, 3).double(), torch.ones(2, 7, dtype=torch.bool)
    nothing = Belief(*torch.zeros(2, 2, 2).double())
    whole = agent.infer(nothing, steps, all_valid)
    shuffled = agent.infer(nothing, steps[:, torch.randperm(7)], all_valid)
    parts = agent.infer(agent.infer(nothing, steps[:, :3], all_valid[:, :3]), steps[:, 3:], all_valid[:, 3:])
    for other in (shuffled, parts):
        assert_close(other, whole)
    assert not torch.allclose(whole.mean()[0], whole.mean()[1])


def test_a_squashed_normal_is_torchs_own_and_finite_at_the_ends() -> None:
    mean, std = torch.tensor([-0.5, 0.0, 2.0]).double(), torch.tensor([0.3, 1.0, 0.5]).double()
    ours, theirs = SquashedNormal(mean, std), TransformedDistribution(Normal(mean, std), [TanhTransform()])
    u = torch.tensor([0.1, 0.6, 0.9]).double()
    action, log_prob = ours.rsample_from(u)
    assert_close(action, theirs.icdf(u))
    assert_close(ours.icdf(u), action)
    assert_close(log_prob, theirs.log_prob(action))
    assert_close(ours.log_prob(action), log_prob)
    assert ours.log_prob(torch.tensor([-1.0, 1.0, 1.0])).isfinite().all()
    far = SquashedNormal(torch.tensor(30.0), torch.tensor(1.0)).rsample_from(torch.tensor(0.5))
    assert far[0] == 1
    assert far[1].item() == pytest.approx(-0.5 * math.log(2 * math.pi) - 2 * (math.log(2) - 30), rel=1e-5)


@pytest.mark.parametrize(
    "of", [partial(SquashedNormal, std=torch.tensor(0.5)), partial(ClippedNormal, std=0.5)], ids=["squashed", "clipped"]
)
def test_probabilities_of_actions_add_up_to_one_and_quantiles_are_of_them(of: partial[Distribution]) -> None:
    distribution = of(torch.tensor(0.7))
    grid = torch.linspace(-1, 1, 20001)[1:-1]
    inside = distribution.log_prob(grid).exp() * 1e-4
    ends = distribution.log_prob(torch.tensor([-1.0, 1.0])).exp() * isinstance(distribution, ClippedNormal)
    assert (inside.sum() + ends.sum()).item() == pytest.approx(1, abs=1e-3)
    below = distribution.icdf(torch.tensor(0.3))
    assert (inside[grid < below].sum() + ends[0]).item() == pytest.approx(0.3, abs=1e-3)
    assert distribution.icdf(torch.tensor(0.9999)) <= 1
    assert distribution.mode == distribution.icdf(torch.tensor(0.5))


def test_the_losses_of_soft_actor_critic_by_hand() -> None:
    """With u = 1/2 the action is tanh 0 = 0, and log pi = log N(0; 0, e) = -1 - log(2 pi) / 2."""
    sac = SoftActorCritic(2, 1, width=4, depth=1)
    constant(sac.actor, 0.0, 1.0)
    constant(sac.critics[0], 3.0)
    constant(sac.critics[1], 5.0)
    constant(sac.value, 7.0)
    constant(sac.target_value, 10.0)
    x, action = torch.randn(1, 2, 2), torch.randn(1, 2, 1)
    reward, terminated = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 1.0]])
    losses = sac.losses(x, action, reward, x, terminated, 0.9, torch.full((1, 2, 1), 0.5))
    wanted = torch.tensor([1 + 0.9 * 10, 2.0])
    log_prob = -1 - math.log(2 * math.pi) / 2
    assert_close(losses.critic, (3 - wanted).square().mean() + (5 - wanted).square().mean())
    assert losses.value.item() == pytest.approx((7 - (3 - log_prob)) ** 2, rel=1e-5)
    assert losses.actor.item() == pytest.approx(log_prob - 3 + OUTPUT_PENALTY, rel=1e-5)
    assert losses.entropy.item() == pytest.approx(-log_prob, rel=1e-5)
    sac.update_target(0.1)
    assert sac.target_value(x).flatten().tolist() == pytest.approx([9.7, 9.7])


def test_each_loss_reaches_its_own_networks_alone() -> None:
    sac, x = SoftActorCritic(2, 1, width=8, depth=1), torch.randn(1, 5, 2, requires_grad=True)
    losses = sac.losses(x, torch.randn(1, 5, 1), torch.randn(1, 5), x, torch.zeros(1, 5), 0.9, torch.rand(1, 5, 1))
    for name in ("critic", "value", "actor"):
        sac.zero_grad()
        x.grad = None
        getattr(losses, name).backward(retain_graph=True)
        moved = {part for part, w in sac.named_parameters() if w.grad is not None and w.grad.any()}
        own = "critics" if name == "critic" else name
        assert {part.split(".")[0] for part in moved} == {own}
        assert len(moved) == len(list(getattr(sac, own).parameters()))
        assert (x.grad is not None) == (name == "critic"), "z is trained by the critics alone"


def test_everything_learns_except_the_target_network() -> None:
    agent, untouched = small(), []

    def outer_step(loss: Tensor) -> None:
        agent.zero_grad()
        loss.backward()
        untouched.append({name for name, w in agent.named_parameters() if w.grad is None or not w.grad.any()})

    found = agent.learn(sides(0, 1), outer_step)
    assert untouched == [{f"sac.target_value.{part}" for part in ("0.weight", "0.bias", "2.weight", "2.bias")}] * 2
    assert found["steps"] == 2 * 2 * 4, "tasks, episodes, steps"
    assert {"return", "critic_loss", "value_loss", "entropy", "kl"} < found.keys()
    assert all(value.isfinite() for value in found.values())


def test_every_episode_acts_by_a_z_of_its_own() -> None:
    agent, mdps = small(updates=2), sides(0, 1)
    first = agent.prior(mdps)
    assert not torch.equal(first.z[0], first.z[1]), "each task has random numbers of its own"
    alone = agent.prior(MDPs(mdps.world, mdps.seeds[1:], mdps.noise_seeds[1:]))
    assert torch.equal(alone.z[0], first.z[1])
    trajectory, _ = mdps.rollout(first)
    second = agent.update(first, trajectory)
    assert first.belief.precision.max() == 0, "the policy that was is as it was"
    assert_close(second.z, second.belief.sample(second.u[:, 1]))
    wary = small(updates=2, prior_episodes=2)
    after = wary.update(wary.prior(mdps), trajectory)
    assert_close(after.z, torch.special.ndtri(after.u[:, 1]))
    assert after.belief.precision.min() > 0, "it remembers all the same"


def test_context_has_the_worlds_reward_and_the_critic_the_dense_one() -> None:
    agent, mdps = small(), sides(0, 1)
    trajectory, _ = mdps.rollout(agent.prior(mdps))
    agent.explore(mdps)
    record = agent.record(mdps, trajectory)
    observation, action, reward, dense, following, terminated = record.split([1, 1, 1, 1, 1, 1], -1)
    assert torch.equal(reward[..., 0], trajectory.reward)
    assert torch.equal(dense[..., 0], 3 * trajectory.reward)
    assert torch.equal(
        torch.cat([observation, action], -1), torch.cat([trajectory.time_steps.observation, trajectory.action], -1)
    )
    assert torch.equal(following, trajectory.next_observation)
    assert not terminated.any()


def test_the_critics_learn_from_the_dense_reward_by_hand() -> None:
    agent, mdps = small(reward_scale=2.0, gamma=0.5, standardise_rewards=False), sides(0, 1)
    agent.learn(mdps, no_step)
    for critic in agent.sac.critics:
        constant(critic, 1.0)
    constant(agent.sac.target_value, 4.0)
    rows = agent.replay.sample_rows(mdps.uniform("x/task"))
    steps = agent.replay.sample_steps(rows, mdps.uniform("x/steps", 16))
    wanted = 2 * steps[..., 3] + 0.5 * 4
    assert_close(agent.loss(mdps, "x")[1]["critic_loss"], 2 * (1 - wanted).square().mean())


def test_a_resumed_run_continues_like_one_that_was_not_stopped() -> None:
    through, resumed = small(), small()
    step = Adam(through)
    for k in range(2):
        through.learn(sides(0, 1, draw=k), step)
    file = io.BytesIO()
    torch.save([through.state_dict(), step.optimizer.state_dict()], file)
    file.seek(0)
    theta, moments = torch.load(file, weights_only=True)
    resumed.load_state_dict(theta)
    again = Adam(resumed)
    again.optimizer.load_state_dict(moments)
    for agent, outer_step in ((through, step), (resumed, again)):
        torch.manual_seed(id(agent) % 1000)  # nothing may depend on torch's generator
        agent.learn(sides(2, 1, draw=2), outer_step)
    assert_close(dict(resumed.named_parameters()), dict(through.named_parameters()), rtol=0, atol=0)


@pytest.mark.slow
def test_it_learns_to_find_the_side_that_pays() -> None:
    agent = small(latents=1, width=32, gradient_steps=10, batch=32, gamma=0.0, reward_scale=3.0, kl_weight=0.1)
    outer_step = Adam(agent, 1e-2)
    for k in range(20):
        agent.learn(sides(0, 1, 2, 3, draw=k), outer_step)
    curve = agent.returns(MDPs(Sides(), torch.arange(40), torch.arange(40) - 50)).mean(0)
    assert curve[0] < 1.5, "nobody knows beforehand"
    assert curve[1] > 2.3, "4 is the most"


def test_unsuitable_worlds_and_settings_are_refused() -> None:
    with pytest.raises(InputError, match=r"built for 4 tasks, but met one of another"):
        small().learn(sides(7), no_step)
    with pytest.raises(InputError, match=r"set data\.train_tasks, for example to 100"):
        PEARL(1, 1)
    with pytest.raises(InputError, match="those of the world are discrete"):
        PEARL(1, 2, discrete=True)
    with pytest.raises(InputError, match=r"gamma 1\.5"):
        small(gamma=1.5)


def test_a_replay_too_small_for_one_trial_is_refused() -> None:
    with pytest.raises(InputError, match="capacity is 2, but a trial has 3 episodes"):
        small(updates=2, capacity=2)
