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

from lightning_meta.core import InputError, MDPs, MetaRLLearner, Policy, Seen, Trajectories
from lightning_meta.nn.sequence import check_positive
from lightning_meta.rl.belief import Belief
from lightning_meta.rl.distributions import SquashedNormal
from lightning_meta.rl.networks import layers
from lightning_meta.rl.replay import Replay
from lightning_meta.rl.rewards import Rewards, counted_for_ever
from lightning_meta.rl.sac import SoftActorCritic


class PEARL(MetaRLLearner):
    """theta: an encoder of single steps (s, a, r) and a soft actor-critic told z. phi: a belief q(z | c) over what the task
    may be, and one z drawn from it for each episode, by which the policy acts.

    Each step seen, in any order, is one factor of q(z | c) = prod_n N(z; mu(c_n), sigma^2(c_n)) (eq. 2); before the first,
    z ~ N(0, I). The critics' loss trains the encoder, with `kl` KL(q || N(0, I)) as a bottleneck; actor and value take z as
    given. The encoder reads steps of a task's latest trial, the critics learn from steps of all that is replayed. Where
    rewards are sparse the critics may know a dense one (`World.dense_reward`); the encoder reads the reward itself.

    Here one optimiser steps all networks at once, each down its own loss. `kl` weighs the mean over tasks; the authors' code
    has the sum.

    Args:
        observations, actions, discrete: of the world; its actions are continuous.
        tasks: how many there are to train on, seeds 0 .. tasks - 1; the command line takes it from the data.
        updates: episodes that a trial explores. prior_episodes: how many of them act by N(0, I), whatever was seen.
        latents: numbers in z. width, depth: of the hidden layers of every network.
        gradient_steps: after each meta-batch of trials. batch: steps of a task that a gradient is of; context: steps of the
            task's latest trial that z is inferred from then. The tasks are as many as in the meta-batch, any that were met.
        capacity: episodes of each task that are kept.
        discount: of later rewards. reward_scale: of rewards to the critics, against the entropy's weight 1.
        standardise_rewards: whether the encoder reads rewards with mean 0 and variance 1, and the critics count them from
            their mean, by running statistics of training (`lightning_meta.rl.rewards`); so what every step pays is no matter.
        follow: how far the target value follows with each step.
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
        discount: float = 0.99,
        reward_scale: float = 5.0,
        standardise_rewards: bool = True,
        kl: float = 1.0,
        follow: float = 0.005,
    ):
        super().__init__()
        if discrete:
            raise InputError("PEARL chooses continuous actions, but the world's are discrete: choose another agent")
        if tasks is None:
            raise InputError("PEARL replays what it lived through of each task: set data.train_tasks, to 100 say")
        check_positive(latents=latents, width=width, depth=depth, gradient_steps=gradient_steps)
        check_positive(batch=batch, context=context, prior_episodes=prior_episodes)
        if updates < 0 or not 0 <= discount <= 1 or reward_scale <= 0 or kl < 0 or not 0 < follow <= 1:
            raise InputError(
                f"updates {updates}, discount {discount}, reward_scale {reward_scale}, kl {kl}, follow {follow}: give updates"
                " and kl of 0 or more, discount and follow in 0..1, a positive reward_scale"
            )
        if capacity <= updates:
            raise InputError(f"capacity is {capacity}, a trial has {updates + 1} episodes: give at least as many")
        self.observations, self.actions, self.latents = observations, actions, latents
        self.updates, self.prior_episodes = updates, prior_episodes
        self.gradient_steps, self.batch, self.context = gradient_steps, batch, context
        self.discount, self.reward_scale, self.kl, self.rate = discount, reward_scale, kl, follow
        self.encoder = layers(observations + actions + 1, *[width] * depth, 2 * latents)
        self.sac = SoftActorCritic(observations + latents, actions, width, depth)
        self.seen, self.paid = Rewards(standardise_rewards), Rewards(standardise_rewards)  # by encoder, to critics
        self.replay = Replay(tasks, capacity)

    def prior(self, mdps: MDPs) -> "Believing":
        luck = mdps.chance("z", self.updates + 1, self.latents)
        nothing = torch.zeros_like(luck[:, 0], dtype=torch.get_default_dtype())
        belief = Belief(nothing, nothing)
        return Believing(self, belief, belief.draw(luck[:, 0]), luck)

    def update(self, policy: Policy, lived: Trajectories) -> "Believing":
        """Multiply the belief by what was seen, and draw the next episode's z."""
        assert isinstance(policy, Believing)
        steps = torch.cat([lived.seen.observation, lived.action, lived.reward.unsqueeze(-1)], -1)
        belief = self.inferred(policy.belief, steps.flatten(1, 2), lived.valid.flatten(1))
        episode = policy.episode + 1
        acts = belief if episode >= self.prior_episodes else Belief(*(torch.zeros_like(part) for part in belief))
        z = acts.draw(policy.luck[:, min(episode, self.updates)])
        return replace(policy, belief=belief, z=z, episode=episode)

    def inferred(self, belief: Belief, steps: Float[Tensor, "tasks n step"], valid: Tensor) -> Belief:
        """q(z | c) with these steps (s, a, r) in the context as well."""
        steps = torch.cat([steps[..., :-1], self.seen.standardised(steps[..., -1:])], -1)
        mean, spread = self.encoder(steps).chunk(2, -1)
        return belief.times(mean, F.softplus(spread) + 1e-7, valid)

    def learn(self, mdps: MDPs, improve: Callable[[Tensor], None]) -> dict[str, Tensor]:
        found = self.explore(mdps)
        for k in range(self.gradient_steps):
            loss, parts = self.loss(mdps, f"learn/{k}")
            found |= parts
            improve(loss)
            self.sac.follow(self.rate)
        return found

    @torch.no_grad()
    def explore(self, mdps: MDPs) -> dict[str, Tensor]:
        """Live through a trial of each task, not greedily, and keep it."""
        policy, trial = self.prior(mdps), []
        for k in range(self.updates + 1):
            lived, _ = mdps.rollout(policy, purpose=f"explore/{k}")
            policy = self.update(policy, lived)
            trial.append(lived)
        lives = torch.cat([self.record(mdps, lived) for lived in trial], 1)
        length = torch.cat([lived.valid.sum(-1) for lived in trial], 1)
        lived = torch.arange(lives.shape[2], device=length.device) < length.unsqueeze(-1)
        place = self.observations + self.actions  # of the reward, before the dense one
        for rewards, paid in ((self.seen, lives[..., place]), (self.paid, lives[..., place + 1])):
            rewards.adopt(rewards.with_these(paid, lived))
        self.replay.add(self.rows(mdps), lives, length)
        return {"return": trial[-1].returns().mean(), "steps": length.sum().float()}

    def record(self, mdps: MDPs, lived: Trajectories) -> Float[Tensor, "tasks envs time width"]:
        """(s, a, r, dense r, s', terminated) of each step, up to the world's horizon."""
        dense = mdps.world.dense_reward(mdps.task, lived)
        one = (part.unsqueeze(-1) for part in (lived.reward, dense))
        ended = lived.terminated.unsqueeze(-1).to(dense)
        steps = torch.cat([lived.seen.observation, lived.action, *one, lived.next_observation, ended], -1)
        return F.pad(steps, (0, 0, 0, mdps.world.horizon - steps.shape[2]))

    def rows(self, mdps: MDPs) -> Int[Tensor, " tasks"]:
        if not ((mdps.seeds >= 0) & (mdps.seeds < self.replay.rows)).all():
            raise InputError(
                f"PEARL was built for {self.replay.rows} tasks, but met one of another number: set its `tasks` to how many"
                " there are to train on, data.train_tasks"
            )
        return mdps.seeds

    def check_batch(self, mdps: MDPs) -> None:
        self.replay.check(mdps.world.horizon, 2 * self.observations + self.actions + 3)

    def loss(self, mdps: MDPs, purpose: str) -> tuple[Tensor, dict[str, Tensor]]:
        """One loss for all networks, on steps of as many tasks as these, any that were met."""
        rows = self.replay.known(mdps.chance(f"{purpose}/task"))
        d, a = self.observations, self.actions
        widths = [d, a, 1, 1, d, 1]
        seen = self.replay.steps(rows, mdps.chance(f"{purpose}/context", self.context), last=self.updates + 1)
        nothing = seen.new_zeros(len(rows), self.latents)
        belief = self.inferred(Belief(nothing, nothing), seen[..., : d + a + 1], seen.new_ones(seen.shape[:2]) > 0)
        z = belief.draw(mdps.chance(f"{purpose}/z", self.latents)).unsqueeze(1).expand(-1, self.batch, -1)
        steps = self.replay.steps(rows, mdps.chance(f"{purpose}/steps", self.batch))
        observation, action, _, reward, following, terminated = steps.split(widths, -1)
        losses = self.sac.losses(
            torch.cat([observation, z], -1),
            action,
            self.reward_scale * counted_for_ever(reward, terminated, self.paid.mean, self.discount).squeeze(-1),
            torch.cat([following, z], -1),
            terminated.squeeze(-1),
            self.discount,
            mdps.chance(f"{purpose}/action", self.batch, a),
        )
        kl = belief.kl().mean()
        parts = {"critic_loss": losses.critic, "value_loss": losses.value, "entropy": losses.entropy, "kl": kl}
        return losses.critic + losses.value + losses.actor + self.kl * kl, {k: v.detach() for k, v in parts.items()}


@dataclass(frozen=True, eq=False)
class Believing(Policy):
    """phi of PEARL: what is believed, the z [tasks, latents] of this episode, and the chance of those to come."""

    agent: PEARL
    belief: Belief
    z: Float[Tensor, "tasks latents"]
    luck: Float[Tensor, "tasks episodes latents"]
    episode: int = 0

    def act(self, seen: Seen) -> tuple[SquashedNormal, "Believing"]:
        z = self.z.unsqueeze(1).expand(-1, seen.observation.shape[1], -1)
        return self.agent.sac.policy(torch.cat([seen.observation, z], -1)), self
