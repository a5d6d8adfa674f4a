"""RL2: a recurrent agent that learns within its memory. With SNAIL for its sequence network it is SNAIL's RL agent.

Yan Duan et al. RL2: Fast Reinforcement Learning via Slow Reinforcement Learning. 2016, arXiv:1611.02779.
Jane X. Wang et al. Learning to reinforcement learn. 2016, arXiv:1611.05763.
Nikhil Mishra et al. A Simple Neural Attentive Meta-Learner. ICLR 2018, arXiv:1707.03141, section 4.2.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Normal

from lightning_meta.core import InputError, MDPs, Trajectory, World, log_prob
from lightning_meta.core.distributed import mean_over_processes
from lightning_meta.nn.sequence import SequenceNetwork
from lightning_meta.rl._memory_based import MemoryBased, MemoryPolicy
from lightning_meta.rl.parts.advantages import discounted_sums, generalised_advantages
from lightning_meta.rl.parts.ppo import PPO, Objective, masked_mean
from lightning_meta.rl.parts.reward_statistics import RewardStatistics, centred_rewards


class RL2(MemoryBased):
    """RL2 learns a policy whose memory, carried over the episodes of a trial, does the learning of a task.

    theta: a sequence network that reads at each step the observation and the previous action, reward and end of episode,
    and a policy and a value on its outputs. phi: the policy with its memory, which is empty at the start of a trial. Acting
    is adapting: the objective is the sum of all rewards of a trial.

    Args:
        sequence: The sequence network: GRU or LSTM of `lightning_meta.nn` as in RL2, SNAIL, Transformer or DeltaNet, or a
            SequenceNetwork of your own. DeltaNet learns to tell apart what it met in many states, which a GRU learns very
            slowly.
        observations: Numbers in an observation of the world; the command line takes it from the data.
        actions: The number of discrete actions, or of numbers in a continuous action; the command line takes it from the
            data.
        discrete: Whether actions are discrete; the command line takes it from the data.
        objective: The policy gradient objective with its settings: PPO, or A2C as in Wang et al.
        episodes: Episodes per trial in training.
        test_episodes: Episodes per trial at test; `episodes` if not given.
        gamma: The discount of rewards within a trial, across the ends of its episodes.
        gae_lambda: Lambda of generalised advantage estimation.
        standardise_rewards: Whether rewards are read with mean 0 and variance 1 and counted from their mean, by running
            statistics of training (`lightning_meta.rl.parts.reward_statistics`). Without it, a reward that every step receives
            is in all values, and if it is large beside what actions change nothing is learned.
        reward_unit: The unit that rewards are divided by, so that values are neither tiny nor huge for the network: the
            squared error of values of 50 drowns the gradient of the policy. None for the root mean square of the discounted
            rewards to go over the steps of a meta-batch, the largest so far. With A2C it also sets the relative weight of
            the entropy.
        value_weight: The weight of the squared error of the value in the loss.
        entropy_weight: The weight of the entropy of the policy (nats) in the loss.
        entropy_decay: Two meta-batches (first, last) between which `entropy_weight` falls linearly to 0; None to keep it
            constant. An agent that has to find out what to do in many states needs much entropy for long, and some to the
            end.
        first_steps: The number of steps that trials are cut off after at first, if `growth` is not 0.
        growth: The number of meta-batches over which trials grow from `first_steps` to their whole length; 0 for whole
            trials from the start. Long trials are learned faster with growth, because exploring pays only for a policy that
            can use what it finds.
    """

    meta_batches: Tensor
    measured_unit: Tensor

    def __init__(
        self,
        sequence: SequenceNetwork,
        observations: int,
        actions: int,
        discrete: bool = True,
        objective: Objective | None = None,
        episodes: int = 1,
        test_episodes: int | None = None,
        gamma: float = 0.99,
        gae_lambda: float = 0.5,
        standardise_rewards: bool = True,
        reward_unit: float | None = None,
        value_weight: float = 0.5,
        entropy_weight: float = 0.01,
        entropy_decay: tuple[int, int] | None = None,
        first_steps: int = 10,
        growth: int = 0,
    ):
        super().__init__()
        test_episodes = episodes if test_episodes is None else test_episodes
        if min(episodes, test_episodes, first_steps) < 1 or growth < 0:
            raise InputError(
                f"episodes {episodes}, test_episodes {test_episodes}, first_steps {first_steps}, growth {growth}: give 1 or"
                " more, growth 0 or more"
            )
        if entropy_decay is not None and not 0 <= entropy_decay[0] < entropy_decay[1]:
            raise InputError(
                f"entropy_decay is {list(entropy_decay)}: give two meta-batches, the earlier first, or null"
            )
        if reward_unit is not None and not reward_unit > 0:
            raise InputError(f"reward_unit is {reward_unit}: give a positive number, or null to have it measured")
        if not (0 <= gamma <= 1 and 0 <= gae_lambda <= 1):
            raise InputError(f"gamma {gamma}, gae_lambda {gae_lambda}: both must be between 0 and 1")
        self.sequence, self.discrete = sequence, discrete
        self.reward_statistics = RewardStatistics(standardise_rewards)
        self.token = nn.Linear(observations + actions + 2, sequence.width)
        self.policy, self.value = nn.Linear(sequence.out_features, actions), nn.Linear(sequence.out_features, 1)
        with torch.no_grad():
            self.policy.weight *= 0.01  # at first all actions are about equally likely
        self.log_std = None if discrete else nn.Parameter(torch.zeros(actions))
        self.objective = objective or PPO()
        self.train_episodes, self.test_episodes = episodes, test_episodes
        self.gamma, self.gae_lambda, self.reward_unit = gamma, gae_lambda, reward_unit
        self.value_weight, self.entropy_weight, self.entropy_decay = value_weight, entropy_weight, entropy_decay
        self.first_steps, self.growth = first_steps, growth
        self.register_buffer("meta_batches", torch.tensor(0))  # trained on so far
        self.register_buffer("measured_unit", torch.tensor(1e-7))  # not 0, which before any reward would divide 0

    @property
    def episodes(self) -> int:  # type: ignore[override]  # differs between training and test
        return self.train_episodes if self.training else self.test_episodes

    def prior(self, mdps: MDPs) -> MemoryPolicy:  # noqa: ARG002  the same for every task
        return MemoryPolicy(self.reward_statistics, self.token, self.sequence, self.distribution)

    def distribution(self, output: Float[Tensor, "*batch d"]) -> Distribution:
        """Return the distribution of the next action, given an output of the sequence network.

        It is computed in the precision of the weights: a ratio of probabilities needs more digits than bfloat16 has.
        """
        with torch.autocast(output.device.type, enabled=False):
            parameters = self.policy(output.to(self.policy.weight.dtype))
        if self.log_std is None:
            return Categorical(logits=parameters, validate_args=False)
        return Normal(parameters, self.log_std.exp().expand_as(parameters), validate_args=False)

    def learn(self, mdps: MDPs, outer_step: Callable[[Tensor], None]) -> dict[str, Tensor]:
        """Roll out a trial of each task and take the outer steps of the objective on them.

        Advantages are computed again for each minibatch, by the values at that moment. Nothing is added for the rewards
        after a trial that `growth` cuts off. The logged `kl` is that of the last minibatch, from the policy before the
        meta-batch to the one after it.
        """
        self.check_batch(mdps)
        steps = self.trial_steps(mdps.world)
        trajectory, _ = mdps.rollout(self.prior(mdps), episodes=self.episodes, steps=steps)
        trials, parts = Trials.of(trajectory), self.objective.minibatches
        raw_reward = trials.reward * trials.valid
        statistics = self.reward_statistics.including(trials.reward, trials.valid)
        trials = trials._replace(reward=centred_rewards(trials.reward, trials.valid, statistics[0], self.gamma, steps))
        if self.reward_unit is None:
            self.measured_unit = torch.maximum(self.measured_unit, self.reward_scale(trials))
        log: dict[str, Tensor] = {}
        minibatch = trials
        for _ in range(self.objective.epochs):
            for part in range(parts):  # the same on any number of processes, each of which has a block of the tasks
                minibatch = Trials(*(x[part::parts] for x in trials))
                loss, log = self.loss(minibatch)
                outer_step(loss)
        kl = self.approximate_kl(minibatch)
        self.meta_batches += 1
        self.reward_statistics.store(statistics)  # not earlier: the policy has acted by the earlier ones
        return {"return": raw_reward.sum(1).mean(), "steps": trials.valid.sum(), "kl": kl, **log}

    def outputs(self, trials: "Trials") -> Float[Tensor, "trials time d"]:
        """Return the outputs of the sequence network along trials."""
        return self.sequence.unroll(self.token(self.reward_statistics.read(trials.inputs)))

    def loss(self, trials: "Trials") -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss on trials with centred rewards, and its terms to log."""
        output, valid = self.outputs(trials), trials.valid
        distribution, value = self.distribution(output), self.value(output).squeeze(-1)
        new_log_prob = log_prob(distribution, trials.action)
        unit = self.measured_unit if self.reward_unit is None else self.reward_unit
        advantage = generalised_advantages(trials.reward / unit, value.detach(), valid, self.gamma, self.gae_lambda)
        value_loss = masked_mean((advantage + value.detach() - value).square(), valid)
        entropy = distribution.entropy()
        entropy = masked_mean(entropy if self.discrete else entropy.sum(-1), valid)
        # Without any reward, advantages are only errors of the values.
        rewarded = mean_over_processes(trials.reward.abs().sum()) > 0
        loss = self.objective.loss(new_log_prob, trials.log_prob, advantage * rewarded, valid)
        log = {"value_loss": value_loss.detach(), "entropy": entropy.detach()}
        return loss + self.value_weight * value_loss - self.current_entropy_weight() * entropy, log

    @torch.no_grad()
    def approximate_kl(self, trials: "Trials") -> Float[Tensor, ""]:
        """Estimate KL(old || new) of the policy per step in nats, from the actions taken in trials.

        The estimate is the mean of r - 1 - log r with r = new / old, which is unbiased and never negative.
        """
        new = self.distribution(self.outputs(trials))
        log_ratio = (log_prob(new, trials.action) - trials.log_prob) * trials.valid
        return masked_mean(log_ratio.expm1() - log_ratio, trials.valid)

    def current_entropy_weight(self) -> float | Float[Tensor, ""]:
        """Return the weight of the entropy in the next meta-batch."""
        if self.entropy_decay is None:
            return self.entropy_weight
        first, last = self.entropy_decay
        return self.entropy_weight * ((last - self.meta_batches) / (last - first)).clamp(0, 1)

    def reward_scale(self, trials: "Trials") -> Float[Tensor, ""]:
        """Return the root mean square of the discounted rewards to go, over all processes."""
        to_go = discounted_sums(trials.reward * trials.valid, self.gamma)
        return mean_over_processes(masked_mean(to_go.square(), trials.valid)).sqrt()

    def trial_steps(self, world: World) -> int:
        """Return the number of steps of a trial of the next meta-batch."""
        all_steps = self.episodes * world.horizon
        if not self.growth or self.first_steps >= all_steps:
            return all_steps
        grown = int(self.meta_batches) * (all_steps - self.first_steps) // self.growth
        return min(self.first_steps + grown, all_steps)

    def check_batch(self, mdps: MDPs) -> None:
        if len(mdps) % (parts := self.objective.minibatches):
            raise InputError(
                f"{len(mdps)} tasks per process cannot be split into {parts} minibatches of equal size: change"
                " data.meta_batch or the minibatches of the objective"
            )

    def check(self, world: World) -> None:
        episodes = max(self.train_episodes, self.test_episodes)
        if (steps := episodes * world.horizon) > self.sequence.length:
            raise InputError(
                f"{type(self.sequence).__name__} reads {self.sequence.length} steps, but a trial takes {steps}: set the"
                " `length` of its `sequence` to that"
            )


class Trials(NamedTuple):
    """The part of a trajectory that the loss reads, with one trial per env: tensors [trials, time, ...]."""

    inputs: Float[Tensor, "trials time width"]
    action: Shaped[Tensor, "trials time *actions"]
    log_prob: Float[Tensor, "trials time"]
    reward: Float[Tensor, "trials time"]
    valid: Float[Tensor, "trials time"]

    @classmethod
    def of(cls, trajectory: Trajectory) -> "Trials":
        inputs, valid = trajectory.time_steps.concatenated(), trajectory.valid.float()
        parts = inputs, trajectory.action, trajectory.log_prob, trajectory.reward, valid
        return cls(*(x.flatten(0, 1) for x in parts))
