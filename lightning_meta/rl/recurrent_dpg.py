"""Memory-based control by off-policy learning: recurrent deterministic and stochastic policy gradients.

Nicolas Heess, Jonathan J. Hunt, Timothy P. Lillicrap and David Silver. Memory-based control with recurrent neural networks.
2015, arXiv:1512.04455.
"""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core import InputError, MDPs, Seen, Trajectories
from lightning_meta.nn.sequence import SequenceNetwork, check_positive
from lightning_meta.rl.distributions import ClippedNormal, SquashedNormal
from lightning_meta.rl.memory_based import MemoryBased, Remembering
from lightning_meta.rl.networks import follow, held, layers
from lightning_meta.rl.processes import mean_over_processes
from lightning_meta.rl.replay import Replay
from lightning_meta.rl.rewards import Rewards, counted_for_ever

SMALL = 0.003  # weight of the squared outputs of the actor: far out tanh has no slope, and what it learns is lost


class RecurrentDPG(MemoryBased):
    """theta: an actor mu(h_t) and a critic Q(h_t, a_t), each with a sequence network of its own that reads the history
    h_t = (o_1, a_1, r_1, ..., o_t), and targets that follow them. phi: the actor with its memory, which goes on over the
    ends of episodes and is empty where a trial begins.

    Whole trials are kept and read again from the start; gradients go back through all their time. The critic learns
    y_t = r_t + discount Q'(h_{t+1}, mu'(h_{t+1})) (algorithm 1), over the ends of episodes too: what is learned of a task in
    one is worth something in the next. Nothing follows where the last one terminated.

    Args:
        sequence: LSTM or GRU of `lightning_meta.nn`, or a SequenceNetwork of your own; actor and critic each get a copy.
        observations, actions, discrete: of the world; its actions are continuous.
        episodes: of a trial.
        stochastic: RSVG(0), a policy with a spread of its own, instead of RDPG, whose exploration is normal noise of
            standard deviation `noise`.
        width: of the critic's hidden layer, above its memory.
        gradient_steps: after each meta-batch of trials. batch: trials of a gradient for each task of the meta-batch, of
            whichever task they were.
        capacity: trials that are kept, the latest.
        discount: of later rewards.
        standardise_rewards: whether rewards are read with mean 0 and variance 1, and counted from their mean, by running
            statistics of training (`lightning_meta.rl.rewards`); so what every step pays is no matter.
        reward_unit: rewards are counted in it, so that values, sums of them, are neither tiny nor huge for the network.
        follow: how far the targets follow with each step.
    """

    greedy = True

    def __init__(
        self,
        sequence: SequenceNetwork,
        observations: int,
        actions: int,
        discrete: bool = False,
        episodes: int = 1,
        stochastic: bool = False,
        noise: float = 0.3,
        width: int = 128,
        gradient_steps: int = 10,
        batch: int = 4,
        capacity: int = 10_000,
        discount: float = 0.99,
        standardise_rewards: bool = True,
        reward_unit: float = 1.0,
        follow: float = 0.01,
    ):
        super().__init__()
        if discrete:
            raise InputError("RecurrentDPG chooses continuous actions, but the world's are discrete: choose RL2 there")
        check_positive(episodes=episodes, width=width, gradient_steps=gradient_steps, batch=batch)
        if min(noise, reward_unit) <= 0 or not 0 <= discount <= 1 or not 0 < follow <= 1:
            raise InputError(
                f"noise {noise}, reward_unit {reward_unit}, discount {discount}, follow {follow}: give a positive noise and"
                " reward_unit, and the others in 0..1"
            )
        self.actions, self.episodes, self.stochastic, self.noise = actions, episodes, stochastic, noise
        self.gradient_steps, self.batch = gradient_steps, batch
        self.discount, self.reward_unit, self.rate = discount, reward_unit, follow
        self.token = observations + actions + 2
        self.actor = Reader(self.token, sequence, 0, width, 2 * actions if stochastic else actions)
        self.critic = Reader(self.token, sequence, actions, width, 1)
        self.actor_target = copy.deepcopy(self.actor).requires_grad_(False)
        self.critic_target = copy.deepcopy(self.critic).requires_grad_(False)
        self.rewards, self.replay = Rewards(standardise_rewards), Replay(1, capacity)

    def prior(self, mdps: MDPs) -> Remembering:  # noqa: ARG002  the same whatever the task
        return Remembering(self.rewards, self.actor.token, self.actor.sequence, self.decide)

    def decide(self, output: Float[Tensor, "tasks envs d"]) -> ClippedNormal | SquashedNormal:
        """Of the next action, from an output of the actor's sequence network."""
        return self.distribution(self.actor.head(output))

    def distribution(self, output: Float[Tensor, "*batch out"]) -> ClippedNormal | SquashedNormal:
        """Of the next action, from what the actor says."""
        if self.stochastic:
            mean, log_std = output.chunk(2, -1)
            return SquashedNormal(mean, log_std.clamp(-20, 2).exp())
        return ClippedNormal(output.tanh(), self.noise)

    def learn(self, mdps: MDPs, improve: Callable[[Tensor], None]) -> dict[str, Tensor]:
        lived, _ = mdps.rollout(self.prior(mdps), self.envs, self.episodes, purpose="explore")
        length = lived.valid.sum(-1)
        self.rewards.adopt(self.rewards.with_these(lived.reward, lived.valid))
        self.replay.add(torch.zeros_like(mdps.seeds), record(lived, self.episodes * mdps.world.horizon), length)
        found = {"return": lived.returns(self.episodes).sum(-1).mean(), "steps": length.sum().float()}
        for k in range(self.gradient_steps):
            loss, parts = self.loss(mdps, f"learn/{k}")
            found |= parts
            improve(loss)
            follow(self.actor_target, self.actor, self.rate)
            follow(self.critic_target, self.critic, self.rate)
        return found

    def check_batch(self, mdps: MDPs) -> None:
        self.replay.check(self.episodes * mdps.world.horizon + 1, self.token + self.actions + 2)

    def loss(self, mdps: MDPs, purpose: str) -> tuple[Tensor, dict[str, Tensor]]:
        """The critic's and the actor's, on trials of the replay: each reaches its own network alone."""
        rows = torch.zeros_like(mdps.seeds)  # of the replay, which holds the trials of all tasks together
        trials, length = self.replay.whole(rows, mdps.chance(f"{purpose}/trials", self.batch))
        history, action, reward, ended = trials.flatten(0, 1).split([self.token, self.actions, 1, 1], -1)
        history = self.rewards.read(history)
        action, reward, ended = action[:, :-1], reward[:, :-1, 0], ended[:, :-1, 0]
        reward = counted_for_ever(reward, ended, self.rewards.mean, self.discount)
        steps = torch.arange(reward.shape[1], device=length.device)
        valid = (steps < length.flatten().unsqueeze(1)).to(reward)

        def mean(x: Tensor) -> Tensor:
            return (x * valid).sum() / mean_over_processes(valid.sum())

        luck = mdps.chance(f"{purpose}/action", self.batch, history.shape[1], self.actions).flatten(0, 1)
        with torch.no_grad():
            chosen, _ = self.chosen(self.actor_target(history), luck)
            wanted = (
                reward / self.reward_unit + self.discount * (1 - ended) * self.critic_target(history, chosen)[:, 1:, 0]
            )
        memory = self.critic.read(history[:, :-1])
        q = self.critic.head(torch.cat([memory, action], -1)).squeeze(-1)
        critic = mean((q - wanted).square())
        output = self.actor(history[:, :-1])
        chosen, likely = self.chosen(output, luck[:, :-1])
        worth = mean(held(self.critic.head, torch.cat([memory.detach(), chosen], -1)).squeeze(-1))
        parts = {"critic_loss": critic.detach(), "value": worth.detach()}
        if likely is not None:
            parts["entropy"] = -mean(likely.detach().sum(-1))
        return critic - worth + SMALL * mean(output.square().mean(-1)), parts

    def chosen(
        self, output: Float[Tensor, "trials time out"], u: Float[Tensor, "trials time actions"]
    ) -> tuple[Tensor, Tensor | None]:
        """Actions [trials, time, actions] with a gradient: mu, or those that numbers u in (0, 1) stand for and their log
        probabilities."""
        distribution = self.distribution(output)
        return distribution.draw(u) if isinstance(distribution, SquashedNormal) else (distribution.mode, None)


class Reader(nn.Module):
    """A sequence network that reads a history, and two layers on what it remembers, which may be told more."""

    def __init__(self, token: int, sequence: SequenceNetwork, told: int, width: int, out: int):
        super().__init__()
        self.token, self.sequence = nn.Linear(token, sequence.width), copy.deepcopy(sequence)
        self.head = layers(sequence.out_features + told, width, out)

    def read(self, history: Float[Tensor, "trials time token"]) -> Float[Tensor, "trials time d"]:
        return self.sequence.unroll(self.token(history))

    def forward(
        self, history: Float[Tensor, "trials time token"], *told: Float[Tensor, "trials time more"]
    ) -> Float[Tensor, "trials time out"]:
        return self.head(torch.cat([self.read(history), *told], -1))


def record(lived: Trajectories, steps: int) -> Float[Tensor, "tasks envs time width"]:
    """(what is seen, action, reward, ended) of each of `steps` steps and once more, of which only what is seen counts: that
    which the last step led to, as if the trial went on. `ended`: 1 where that last step terminated."""
    length = lived.valid.sum(-1, keepdim=True)
    last = torch.arange(lived.valid.shape[-1], device=length.device) == length - 1
    one = [part.unsqueeze(-1) for part in (lived.reward, (lived.terminated & last).to(lived.reward))]
    seen = lived.seen.joined()
    onward = Seen(lived.next_observation, lived.action, lived.reward, torch.zeros_like(lived.reward)).joined()
    then = torch.where(last.unsqueeze(-1), onward, torch.cat([seen[:, :, 1:], onward[:, :, -1:]], 2))
    history = torch.cat([seen[:, :, :1], then], 2)
    did = F.pad(torch.cat([lived.action, *one], -1), (0, 0, 0, 1))
    return F.pad(torch.cat([history, did], -1), (0, 0, 0, steps - last.shape[-1]))
