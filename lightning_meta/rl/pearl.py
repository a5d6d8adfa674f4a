"""PEARL: a probabilistic embedding of the task, and off-policy learning.

Kate Rakelly, Aurick Zhou, Deirdre Quillen, Chelsea Finn and Sergey Levine. Efficient Off-Policy Meta-Reinforcement Learning
via Probabilistic Context Variables. ICML 2019, arXiv:1903.08254.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lightning_meta.core import InputError, MDPs, Policy, TimeStep, Trajectory, check_at_least
from lightning_meta.rl._update_based import UpdateBased
from lightning_meta.rl.parts.belief import Belief
from lightning_meta.rl.parts.distributions import SquashedNormal
from lightning_meta.rl.parts.networks import relu_mlp
from lightning_meta.rl.parts.replay import Replay
from lightning_meta.rl.parts.reward_statistics import RewardStatistics, centred_rewards_infinite_horizon
from lightning_meta.rl.parts.sac import SoftActorCritic


class PEARL(UpdateBased):
    """PEARL infers a belief over what the task is, and acts by a sample from it with a soft actor-critic.

    theta: an encoder of single transitions (s, a, r), and a soft actor-critic that is given z. phi: a belief q(z | c) over
    the hidden z of the task, and one z sampled from it per episode, by which the policy acts.

    Each transition, in any order, is one factor of q(z | c) = prod_n N(z; mu(c_n), sigma^2(c_n)) (eq. 2); before the first,
    z ~ N(0, I). The loss of the critics trains the encoder, with `kl_weight` times KL(q || N(0, I)) as a bottleneck; actor
    and value take z as given. The encoder reads transitions of the latest trial of a task, the critics learn from all
    transitions of the replay. If rewards are sparse the critics may use a dense one (`World.dense_reward`); the encoder
    reads the reward itself.

    Deviations: one optimiser steps all networks at once, each down its own loss. `kl_weight` weighs the mean over tasks,
    where the code of the authors has the sum.

    Args:
        observations: Numbers in an observation of the world; the command line takes it from the data.
        actions: Numbers in an action of the world; the command line takes it from the data.
        discrete: Whether actions are discrete, which PEARL refuses; the command line takes it from the data.
        tasks: The number of training tasks, seeds 0 .. tasks - 1; the command line takes it from the data.
        updates: Exploration episodes per trial, each followed by an update of the belief.
        prior_episodes: The number of exploration episodes that act by N(0, I), whatever was observed.
        latents: Numbers in z.
        width: The width of the hidden layers of every network.
        depth: The number of hidden layers of every network.
        gradient_steps: Outer steps after each meta-batch of trials. Each is on as many tasks as the meta-batch has, sampled
            from all tasks met so far.
        batch: Transitions per task in an outer step.
        context: Transitions of the latest trial of a task that z is inferred from in an outer step.
        capacity: Episodes per task in the replay.
        gamma: The discount of rewards.
        reward_scale: The factor of rewards in the critics, relative to the weight 1 of the entropy.
        standardise_rewards: Whether the encoder reads rewards with mean 0 and variance 1, and the critics count them from
            their mean, by running statistics of training (`lightning_meta.rl.parts.reward_statistics`). Then a reward that
            every step receives does not matter.
        kl_weight: The weight of KL(q || N(0, I)) in the loss of the encoder.
        tau: The rate at which the target value network follows the value network at each step.
    """

    greedy = True

    def __init__(
        self,
        observations: int,
        actions: int,
        discrete: bool = False,
        tasks: int | None = None,
        updates: int = 3,
        prior_episodes: int = 1,
        latents: int = 5,
        width: int = 300,
        depth: int = 3,
        gradient_steps: int = 50,
        batch: int = 256,
        context: int = 64,
        capacity: int = 1000,
        gamma: float = 0.99,
        reward_scale: float = 5.0,
        standardise_rewards: bool = True,
        kl_weight: float = 1.0,
        tau: float = 0.005,
    ):
        super().__init__()
        if discrete:
            raise InputError(
                "PEARL needs continuous actions, but those of the world are discrete: choose another agent"
            )
        if tasks is None:
            raise InputError(
                "PEARL keeps a replay per task and needs a fixed number of tasks: set data.train_tasks, for example to 100"
            )
        check_at_least(1, latents=latents, width=width, depth=depth, gradient_steps=gradient_steps)
        check_at_least(1, batch=batch, context=context, prior_episodes=prior_episodes)
        if updates < 0 or not 0 <= gamma <= 1 or reward_scale <= 0 or kl_weight < 0 or not 0 < tau <= 1:
            raise InputError(
                f"updates {updates}, gamma {gamma}, reward_scale {reward_scale}, kl_weight {kl_weight}, tau {tau}: give"
                " updates and kl_weight of 0 or more, gamma and tau in 0..1, a positive reward_scale"
            )
        if capacity <= updates:
            raise InputError(f"capacity is {capacity}, but a trial has {updates + 1} episodes: give at least as many")
        self.observations, self.actions, self.latents = observations, actions, latents
        self.updates, self.prior_episodes = updates, prior_episodes
        self.gradient_steps, self.batch, self.context = gradient_steps, batch, context
        self.gamma, self.reward_scale, self.kl_weight, self.tau = gamma, reward_scale, kl_weight, tau
        self.encoder = relu_mlp(observations + actions + 1, *[width] * depth, 2 * latents)
        self.sac = SoftActorCritic(observations + latents, actions, width, depth)
        self.encoder_statistics = RewardStatistics(standardise_rewards)
        self.critic_statistics = RewardStatistics(standardise_rewards)
        self.replay = Replay(tasks, capacity)

    def prior(self, mdps: MDPs) -> "PosteriorPolicy":
        u = mdps.uniform("z", self.updates + 1, self.latents)
        zeros = torch.zeros_like(u[:, 0], dtype=torch.get_default_dtype())
        belief = Belief(zeros, zeros)
        return PosteriorPolicy(self, belief, belief.sample(u[:, 0]), u)

    def update(self, policy: Policy, trajectory: Trajectory) -> "PosteriorPolicy":
        """Multiply the belief by the observed transitions, and sample z for the next episode."""
        assert isinstance(policy, PosteriorPolicy)
        observation, reward = trajectory.time_steps.observation, trajectory.reward.unsqueeze(-1)
        transitions = torch.cat([observation, trajectory.action, reward], -1)
        belief = self.infer(policy.belief, transitions.flatten(1, 2), trajectory.valid.flatten(1))
        episode = policy.episode + 1
        acting = belief if episode >= self.prior_episodes else Belief(*(torch.zeros_like(part) for part in belief))
        z = acting.sample(policy.u[:, min(episode, self.updates)])
        return replace(policy, belief=belief, z=z, episode=episode)

    def infer(self, belief: Belief, transitions: Float[Tensor, "tasks n step"], valid: Tensor) -> Belief:
        """Return q(z | c) with these transitions (s, a, r) added to the context."""
        reward = self.encoder_statistics.standardised(transitions[..., -1:])
        mean, spread = self.encoder(torch.cat([transitions[..., :-1], reward], -1)).chunk(2, -1)
        return belief.multiply(mean, F.softplus(spread) + 1e-7, valid)

    def learn(self, mdps: MDPs, outer_step: Callable[[Tensor], None]) -> dict[str, Tensor]:
        log = self.explore(mdps)
        for k in range(self.gradient_steps):
            loss, terms = self.loss(mdps, f"learn/{k}")
            log |= terms
            outer_step(loss)
            self.sac.update_target(self.tau)
        return log

    @torch.no_grad()
    def explore(self, mdps: MDPs) -> dict[str, Tensor]:
        """Roll out a trial of each task with sampled actions, and add it to the replay."""
        policy, trial = self.prior(mdps), []
        for k in range(self.updates + 1):
            trajectory, _ = mdps.rollout(policy, purpose=f"explore/{k}")
            policy = self.update(policy, trajectory)
            trial.append(trajectory)
        records = torch.cat([self.record(mdps, trajectory) for trajectory in trial], 1)
        length = torch.cat([trajectory.valid.sum(-1) for trajectory in trial], 1)
        valid = torch.arange(records.shape[2], device=length.device) < length.unsqueeze(-1)
        place = self.observations + self.actions  # of the reward, which the dense reward follows
        for statistics, reward in (
            (self.encoder_statistics, records[..., place]),
            (self.critic_statistics, records[..., place + 1]),
        ):
            statistics.store(statistics.including(reward, valid))
        self.replay.add(self.rows(mdps), records, length)
        return {"return": trial[-1].returns().mean(), "steps": length.sum().float()}

    def record(self, mdps: MDPs, trajectory: Trajectory) -> Float[Tensor, "tasks envs time width"]:
        """Return (s, a, r, dense r, s', terminated) of each step, padded to the horizon of the world."""
        dense = mdps.world.dense_reward(mdps.task, trajectory)
        rewards = (part.unsqueeze(-1) for part in (trajectory.reward, dense))
        terminated = trajectory.terminated.unsqueeze(-1).to(dense)
        observation = trajectory.time_steps.observation
        steps = torch.cat([observation, trajectory.action, *rewards, trajectory.next_observation, terminated], -1)
        return F.pad(steps, (0, 0, 0, mdps.world.horizon - steps.shape[2]))

    def rows(self, mdps: MDPs) -> Int[Tensor, " tasks"]:
        """Return the row of each task in the replay."""
        if not ((mdps.seeds >= 0) & (mdps.seeds < self.replay.rows)).all():
            raise InputError(
                f"PEARL was built for {self.replay.rows} tasks, but met one of another number: set its `tasks` to the number"
                " of training tasks, data.train_tasks"
            )
        return mdps.seeds

    def check_batch(self, mdps: MDPs) -> None:
        self.replay.check(mdps.world.horizon, 2 * self.observations + self.actions + 3)

    def loss(self, mdps: MDPs, purpose: str) -> tuple[Tensor, dict[str, Tensor]]:
        """Return one loss for all networks, on transitions of as many tasks as these, sampled from all met so far."""
        rows = self.replay.sample_rows(mdps.uniform(f"{purpose}/task"))
        d, a = self.observations, self.actions
        widths = [d, a, 1, 1, d, 1]
        u = mdps.uniform(f"{purpose}/context", self.context)
        context = self.replay.sample_steps(rows, u, last=self.updates + 1)
        zeros = context.new_zeros(len(rows), self.latents)
        belief = self.infer(Belief(zeros, zeros), context[..., : d + a + 1], context.new_ones(context.shape[:2]) > 0)
        z = belief.sample(mdps.uniform(f"{purpose}/z", self.latents)).unsqueeze(1).expand(-1, self.batch, -1)
        steps = self.replay.sample_steps(rows, mdps.uniform(f"{purpose}/steps", self.batch))
        observation, action, _, reward, next_observation, terminated = steps.split(widths, -1)
        reward = centred_rewards_infinite_horizon(reward, terminated, self.critic_statistics.mean, self.gamma)
        losses = self.sac.losses(
            torch.cat([observation, z], -1),
            action,
            self.reward_scale * reward.squeeze(-1),
            torch.cat([next_observation, z], -1),
            terminated.squeeze(-1),
            self.gamma,
            mdps.uniform(f"{purpose}/action", self.batch, a),
        )
        kl = belief.kl().mean()
        terms = {"critic_loss": losses.critic, "value_loss": losses.value, "entropy": losses.entropy, "kl": kl}
        loss = losses.critic + losses.value + losses.actor + self.kl_weight * kl
        return loss, {name: term.detach() for name, term in terms.items()}


@dataclass(frozen=True, eq=False)
class PosteriorPolicy(Policy):
    """phi of PEARL.

    Attributes:
        agent: the agent, whose actor acts.
        belief: the belief q(z | c).
        z: the z of this episode, [tasks, latents].
        u: uniform numbers from which the z of each episode is sampled.
        episode: the number of this episode in the trial.
    """

    agent: PEARL
    belief: Belief
    z: Float[Tensor, "tasks latents"]
    u: Float[Tensor, "tasks episodes latents"]
    episode: int = 0

    def act(self, time_step: TimeStep) -> tuple[SquashedNormal, "PosteriorPolicy"]:
        z = self.z.unsqueeze(1).expand(-1, time_step.observation.shape[1], -1)
        return self.agent.sac.policy(torch.cat([time_step.observation, z], -1)), self
