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

from lightning_meta.core import InputError, MDPs, TimeStep, Trajectory, check_at_least
from lightning_meta.core.distributed import mean_over_processes
from lightning_meta.nn.sequence import SequenceNetwork
from lightning_meta.rl._memory_based import MemoryBased, MemoryPolicy
from lightning_meta.rl.parts.distributions import ClippedNormal, SquashedNormal
from lightning_meta.rl.parts.networks import call_frozen, relu_mlp, soft_update
from lightning_meta.rl.parts.replay import Replay
from lightning_meta.rl.parts.reward_statistics import RewardStatistics, centred_rewards_infinite_horizon

OUTPUT_PENALTY = 0.003  # the weight of the squared outputs of the actor: tanh of large outputs has no slope


class RecurrentDPG(MemoryBased):
    """Recurrent DPG learns an actor and a critic with memory off-policy, from a replay of whole trials.

    theta: an actor mu(h_t) and a critic Q(h_t, a_t), each with a sequence network of its own that reads the history
    h_t = (o_1, a_1, r_1, ..., o_t), and their target networks. phi: the actor with its memory, which is empty at the start of
    a trial and carries over from one episode to the next.

    Whole trials are kept and read again from the start; gradients go back through all their time. The critic learns
    y_t = r_t + gamma Q'(h_{t+1}, mu'(h_{t+1})) (algorithm 1), also across the ends of episodes: what is learned of a task in
    one is worth something in the next. Nothing follows the termination of the last one.

    Args:
        sequence: The sequence network: LSTM or GRU of `lightning_meta.nn`, or a SequenceNetwork of your own. Actor and
            critic each get a copy.
        observations: Numbers in an observation of the world; the command line takes it from the data.
        actions: Numbers in an action of the world; the command line takes it from the data.
        discrete: Whether actions are discrete, which RecurrentDPG refuses; the command line takes it from the data.
        episodes: Episodes per trial.
        stochastic: Whether to learn a stochastic policy, RSVG(0), instead of the deterministic one of RDPG.
        exploration_noise: The standard deviation of the normal noise that a deterministic policy explores with.
        width: The width of the hidden layer of the critic, on the outputs of its sequence network.
        gradient_steps: Outer steps after each meta-batch of trials.
        batch: Trials in an outer step per task of the meta-batch, sampled from the trials of all tasks.
        capacity: The number of latest trials that are kept.
        gamma: The discount of rewards.
        standardise_rewards: Whether rewards are read with mean 0 and variance 1 and counted from their mean, by running
            statistics of training (`lightning_meta.rl.parts.reward_statistics`). Then a reward that every step receives does
            not matter.
        reward_unit: The unit that rewards are divided by, so that values are neither tiny nor huge for the network.
        tau: The rate at which the target networks follow the actor and the critic at each step.
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
        exploration_noise: float = 0.3,
        width: int = 128,
        gradient_steps: int = 10,
        batch: int = 4,
        capacity: int = 10_000,
        gamma: float = 0.99,
        standardise_rewards: bool = True,
        reward_unit: float = 1.0,
        tau: float = 0.01,
    ):
        super().__init__()
        if discrete:
            raise InputError(
                "RecurrentDPG needs continuous actions, but those of the world are discrete: choose RL2 instead"
            )
        check_at_least(1, episodes=episodes, width=width, gradient_steps=gradient_steps, batch=batch)
        if min(exploration_noise, reward_unit) <= 0 or not 0 <= gamma <= 1 or not 0 < tau <= 1:
            raise InputError(
                f"exploration_noise {exploration_noise}, reward_unit {reward_unit}, gamma {gamma}, tau {tau}: give a positive"
                " exploration_noise and reward_unit, and the others in 0..1"
            )
        self.actions, self.episodes, self.stochastic = actions, episodes, stochastic
        self.exploration_noise, self.gradient_steps, self.batch = exploration_noise, gradient_steps, batch
        self.gamma, self.reward_unit, self.tau = gamma, reward_unit, tau
        self.token_width = observations + actions + 2
        self.actor = RecurrentNetwork(self.token_width, sequence, 0, width, 2 * actions if stochastic else actions)
        self.critic = RecurrentNetwork(self.token_width, sequence, actions, width, 1)
        self.target_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.reward_statistics, self.replay = RewardStatistics(standardise_rewards), Replay(1, capacity)

    def prior(self, mdps: MDPs) -> MemoryPolicy:  # noqa: ARG002  the same for every task
        return MemoryPolicy(self.reward_statistics, self.actor.token, self.actor.sequence, self.decide)

    def decide(self, memory: Float[Tensor, "tasks envs d"]) -> ClippedNormal | SquashedNormal:
        """Return the distribution of the next action, given an output of the actor's sequence network."""
        return self.distribution(self.actor.head(memory))

    def distribution(self, output: Float[Tensor, "*batch out"]) -> ClippedNormal | SquashedNormal:
        """Return the distribution of the next action, given an output of the actor."""
        if self.stochastic:
            mean, log_std = output.chunk(2, -1)
            return SquashedNormal(mean, log_std.clamp(-20, 2).exp())
        return ClippedNormal(output.tanh(), self.exploration_noise)

    def learn(self, mdps: MDPs, outer_step: Callable[[Tensor], None]) -> dict[str, Tensor]:
        trajectory, _ = mdps.rollout(self.prior(mdps), self.envs, self.episodes, purpose="explore")
        length = trajectory.valid.sum(-1)
        self.reward_statistics.store(self.reward_statistics.including(trajectory.reward, trajectory.valid))
        records = replay_records(trajectory, self.episodes * mdps.world.horizon)
        self.replay.add(torch.zeros_like(mdps.seeds), records, length)
        log = {"return": trajectory.returns(self.episodes).sum(-1).mean(), "steps": length.sum().float()}
        for k in range(self.gradient_steps):
            loss, terms = self.loss(mdps, f"learn/{k}")
            log |= terms
            outer_step(loss)
            soft_update(self.target_actor, self.actor, self.tau)
            soft_update(self.target_critic, self.critic, self.tau)
        return log

    def check_batch(self, mdps: MDPs) -> None:
        self.replay.check(self.episodes * mdps.world.horizon + 1, self.token_width + self.actions + 2)

    def loss(self, mdps: MDPs, purpose: str) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of the losses of critic and actor on trials of the replay. Each trains only its own network."""
        rows = torch.zeros_like(mdps.seeds)  # of the replay, which holds the trials of all tasks together
        trials, length = self.replay.sample_trajectories(rows, mdps.uniform(f"{purpose}/trials", self.batch))
        history, action, reward, terminated = trials.flatten(0, 1).split([self.token_width, self.actions, 1, 1], -1)
        history = self.reward_statistics.read(history)
        action, reward, terminated = action[:, :-1], reward[:, :-1, 0], terminated[:, :-1, 0]
        reward = centred_rewards_infinite_horizon(reward, terminated, self.reward_statistics.mean, self.gamma)
        steps = torch.arange(reward.shape[1], device=length.device)
        valid = (steps < length.flatten().unsqueeze(1)).to(reward)

        def mean(x: Tensor) -> Tensor:
            return (x * valid).sum() / mean_over_processes(valid.sum())

        u = mdps.uniform(f"{purpose}/action", self.batch, history.shape[1], self.actions).flatten(0, 1)
        with torch.no_grad():
            target_action, _ = self.sample_actions(self.target_actor(history), u)
            target_q = self.target_critic(history, target_action)[:, 1:, 0]
            target = reward / self.reward_unit + self.gamma * (1 - terminated) * target_q
        memory = self.critic.read(history[:, :-1])
        q_values = self.critic.head(torch.cat([memory, action], -1)).squeeze(-1)
        critic_loss = mean((q_values - target).square())
        output = self.actor(history[:, :-1])
        new_action, log_prob = self.sample_actions(output, u[:, :-1])
        value = mean(call_frozen(self.critic.head, torch.cat([memory.detach(), new_action], -1)).squeeze(-1))
        terms = {"critic_loss": critic_loss.detach(), "value": value.detach()}
        if log_prob is not None:
            terms["entropy"] = -mean(log_prob.detach().sum(-1))
        return critic_loss - value + OUTPUT_PENALTY * mean(output.square().mean(-1)), terms

    def sample_actions(
        self, output: Float[Tensor, "trials time out"], u: Float[Tensor, "trials time actions"]
    ) -> tuple[Tensor, Tensor | None]:
        """Return differentiable actions [trials, time, actions] and, for a stochastic policy, their log probabilities.

        The actions are mu, or samples of the stochastic policy computed from u uniform in (0, 1).
        """
        distribution = self.distribution(output)
        return distribution.rsample_from(u) if isinstance(distribution, SquashedNormal) else (distribution.mode, None)


class RecurrentNetwork(nn.Module):
    """A sequence network that reads a history, and two layers on its outputs, which may take further inputs.

    Args:
        token_width: Numbers per step of the history.
        sequence: The sequence network, of which a copy is made.
        extra: Numbers per step of the further inputs.
        width: The width of the hidden layer.
        out: The width of the output.
    """

    def __init__(self, token_width: int, sequence: SequenceNetwork, extra: int, width: int, out: int):
        super().__init__()
        self.token, self.sequence = nn.Linear(token_width, sequence.width), copy.deepcopy(sequence)
        self.head = relu_mlp(sequence.out_features + extra, width, out)

    def read(self, history: Float[Tensor, "trials time token"]) -> Float[Tensor, "trials time d"]:
        return self.sequence.unroll(self.token(history))

    def forward(
        self, history: Float[Tensor, "trials time token"], *extra: Float[Tensor, "trials time more"]
    ) -> Float[Tensor, "trials time out"]:
        return self.head(torch.cat([self.read(history), *extra], -1))


def replay_records(trajectory: Trajectory, steps: int) -> Float[Tensor, "tasks envs time width"]:
    """Return (input, action, reward, terminated) of each of `steps` steps and of one more.

    Of the last one only the input counts: the result of the last action, as if the trial continued. `terminated` is 1 if
    the last step of the trial terminated.
    """
    length = trajectory.valid.sum(-1, keepdim=True)
    last = torch.arange(trajectory.valid.shape[-1], device=length.device) == length - 1
    terminated = (trajectory.terminated & last).to(trajectory.reward)
    scalars = [part.unsqueeze(-1) for part in (trajectory.reward, terminated)]
    inputs = trajectory.time_steps.concatenated()
    no_done = torch.zeros_like(trajectory.reward)
    next_inputs = TimeStep(trajectory.next_observation, trajectory.action, trajectory.reward, no_done).concatenated()
    following = torch.cat([inputs[:, :, 1:], next_inputs[:, :, -1:]], 2)
    history = torch.cat([inputs[:, :, :1], torch.where(last.unsqueeze(-1), next_inputs, following)], 2)
    outcome = F.pad(torch.cat([trajectory.action, *scalars], -1), (0, 0, 0, 1))
    return F.pad(torch.cat([history, outcome], -1), (0, 0, 0, steps - last.shape[-1]))
