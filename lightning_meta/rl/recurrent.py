"""A recurrent agent that learns within its memory: RL2, learning to reinforcement learn, and SNAIL's reinforcement learner.

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

from lightning_meta.core import InputError, MDPs, Trajectories, World, log_prob
from lightning_meta.nn.sequence import SequenceNetwork
from lightning_meta.rl.advantages import discounted_sums, generalised
from lightning_meta.rl.memory_based import MemoryBased, Remembering
from lightning_meta.rl.objectives import PPO, Objective, mean
from lightning_meta.rl.processes import mean_over_processes
from lightning_meta.rl.rewards import Rewards, counted


class RL2(MemoryBased):
    """theta: a sequence network that reads at each step what is seen and the action, reward and end of episode before it,
    and on it a policy and a value. phi: the policy with its memory, which goes on over the ends of episodes and is empty
    where a trial begins. To act is to learn: the objective is all reward of a trial.

    Args:
        sequence: GRU or LSTM of `lightning_meta.nn` (RL2), SNAIL, Transformer or DeltaNet, or a SequenceNetwork of your own.
            DeltaNet learns to keep apart what it met in many places, where a GRU learns it very slowly.
        observations, actions, discrete: as those of the world.
        objective: PPO, or A2C (Wang et al.), as configured.
        episodes: of a trial in training; `test_episodes`, at test, as many unless told.
        discount: gamma of the rewards within a trial, over the ends of its episodes.
        trace: lambda of the generalised advantage estimates.
        standardise_rewards: whether rewards are read with mean 0 and variance 1, and counted from their mean, by running
            statistics of training (`lightning_meta.rl.rewards`). Without, what every step pays is in all values, and where it
            is large beside what actions change nothing is learned.
        reward_unit: rewards are counted in it, so that values, sums of them, are neither tiny nor huge for the network: the
            squared error of values of 50 drowns the policy's gradient, and nothing is learned. None for the root mean square
            of the discounted rewards that are to come, over the steps of a meta-batch; the largest so far. With A2C it also
            sets what the entropy weighs beside them.
        value_weight, entropy_weight: of the squared error of the value and of the policy's entropy (nats) in the loss.
        entropy_falls: (first, last), between which meta-batches the weight of entropy falls evenly to 0; None where it stays.
            An agent that is to find out what to do in many places needs much of it for long, and some to the end.
        first_steps, growth: trials are cut off after `first_steps` at first, and grow to their whole length over the first
            `growth` meta-batches. 0 for whole trials from the start. Long ones are learned faster so, for it takes a policy
            that explores to see that it is worth it.
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
        discount: float = 0.99,
        trace: float = 0.5,
        standardise_rewards: bool = True,
        reward_unit: float | None = None,
        value_weight: float = 0.5,
        entropy_weight: float = 0.01,
        entropy_falls: tuple[int, int] | None = None,
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
        if entropy_falls is not None and not 0 <= entropy_falls[0] < entropy_falls[1]:
            raise InputError(
                f"entropy_falls is {list(entropy_falls)}; give two meta-batches, the earlier first, or null"
            )
        if reward_unit is not None and not reward_unit > 0:
            raise InputError(f"reward_unit is {reward_unit}; give a positive one, or null to have it measured")
        if not (0 <= discount <= 1 and 0 <= trace <= 1):
            raise InputError(f"discount {discount}, trace {trace}: both must be between 0 and 1")
        self.sequence, self.discrete = sequence, discrete
        self.rewards = Rewards(standardise_rewards)
        self.token = nn.Linear(observations + actions + 2, sequence.width)
        self.policy, self.value = nn.Linear(sequence.out_features, actions), nn.Linear(sequence.out_features, 1)
        with torch.no_grad():
            self.policy.weight *= 0.01  # at first all actions are about as likely
        self.log_std = None if discrete else nn.Parameter(torch.zeros(actions))
        self.objective = objective or PPO()
        self.train_episodes, self.test_episodes = episodes, test_episodes
        self.discount, self.trace, self.reward_unit = discount, trace, reward_unit
        self.value_weight, self.entropy_weight, self.entropy_falls = value_weight, entropy_weight, entropy_falls
        self.first_steps, self.growth = first_steps, growth
        self.register_buffer("meta_batches", torch.tensor(0))  # trained on so far
        self.register_buffer("measured_unit", torch.tensor(1e-7))  # not 0, which before any reward would divide 0

    @property
    def episodes(self) -> int:  # type: ignore[override]  # other ones at test
        return self.train_episodes if self.training else self.test_episodes

    def prior(self, mdps: MDPs) -> Remembering:  # noqa: ARG002  the same whatever the task
        return Remembering(self.rewards, self.token, self.sequence, self.distribution)

    def distribution(self, output: Float[Tensor, "*batch d"]) -> Distribution:
        """Of the next action, from an output of the sequence network. In the weights' own precision: a ratio of
        probabilities needs more digits than bfloat16 has."""
        with torch.autocast(output.device.type, enabled=False):
            found = self.policy(output.to(self.policy.weight.dtype))
        if self.log_std is None:
            return Categorical(logits=found, validate_args=False)
        return Normal(found, self.log_std.exp().expand_as(found), validate_args=False)

    def learn(self, mdps: MDPs, improve: Callable[[Tensor], None]) -> dict[str, Tensor]:
        """As every agent does. Advantages are found anew for each minibatch, by the values as they then are; nothing is added
        for what would come behind a trial that `growth` cuts off. `kl`: of the last minibatch, from before the meta-batch to
        behind it."""
        self.check_batch(mdps)
        steps = self.steps(mdps.world)
        lived, _ = mdps.rollout(self.prior(mdps), episodes=self.episodes, steps=steps)
        trials, parts = Trials.of(lived), self.objective.minibatches
        paid, rewards = trials.reward * trials.valid, self.rewards.with_these(trials.reward, trials.valid)
        trials = trials._replace(reward=counted(trials.reward, trials.valid, rewards[0], self.discount, steps))
        if self.reward_unit is None:
            self.measured_unit = torch.maximum(self.measured_unit, self.size_to_come(trials))
        log: dict[str, Tensor] = {}
        some = trials
        for _ in range(self.objective.epochs):
            for part in range(parts):  # the same on any number of processes, each of which has a block of the tasks
                some = Trials(*(x[part::parts] for x in trials))
                loss, log = self.loss(some)
                improve(loss)
        moved = self.moved(some)
        self.meta_batches += 1
        self.rewards.adopt(rewards)  # not before: the policy has acted by, and is compared with, the earlier ones
        return {"return": paid.sum(1).mean(), "steps": trials.valid.sum(), "kl": moved, **log}

    def outputs(self, trials: "Trials") -> Float[Tensor, "trials time d"]:
        """Those of the sequence network along trials."""
        return self.sequence.unroll(self.token(self.rewards.read(trials.token)))

    def loss(self, trials: "Trials") -> tuple[Tensor, dict[str, Tensor]]:
        """The objective on some trials, whose rewards are counted, and what its terms are."""
        output, valid = self.outputs(trials), trials.valid
        distribution, value = self.distribution(output), self.value(output).squeeze(-1)
        likely = log_prob(distribution, trials.action)
        unit = self.measured_unit if self.reward_unit is None else self.reward_unit
        advantage = generalised(trials.reward / unit, value.detach(), valid, self.discount, self.trace)
        value_loss = mean((advantage + value.detach() - value).square(), valid)
        entropy = distribution.entropy()
        entropy = mean(entropy if self.discrete else entropy.sum(-1), valid)
        paid = (
            mean_over_processes(trials.reward.abs().sum()) > 0
        )  # where nothing was, advantages are errors of the values
        loss = self.objective.loss(likely, trials.log_prob, advantage * paid, valid)
        log = {"value_loss": value_loss.detach(), "entropy": entropy.detach()}
        return loss + self.value_weight * value_loss - self.entropy_now() * entropy, log

    @torch.no_grad()
    def moved(self, trials: "Trials") -> Float[Tensor, ""]:
        """KL(before || now) of the policy at a step of these trials, in nats: from the actions taken in them, r - 1 - log r
        with r = now / before, whose mean is right and which is never negative."""
        now = self.distribution(self.outputs(trials))
        log_ratio = (log_prob(now, trials.action) - trials.log_prob) * trials.valid
        return mean(log_ratio.expm1() - log_ratio, trials.valid)

    def entropy_now(self) -> float | Float[Tensor, ""]:
        """What the entropy weighs in the next meta-batch."""
        if self.entropy_falls is None:
            return self.entropy_weight
        first, last = self.entropy_falls
        return self.entropy_weight * ((last - self.meta_batches) / (last - first)).clamp(0, 1)

    def size_to_come(self, trials: "Trials") -> Float[Tensor, ""]:
        """The root mean square, over all processes, of the discounted rewards to come."""
        to_come = discounted_sums(trials.reward * trials.valid, self.discount)
        return mean_over_processes(mean(to_come.square(), trials.valid)).sqrt()

    def steps(self, world: World) -> int:
        """Of a trial of the next meta-batch."""
        whole = self.episodes * world.horizon
        if not self.growth or self.first_steps >= whole:
            return whole
        grown = int(self.meta_batches) * (whole - self.first_steps) // self.growth
        return min(self.first_steps + grown, whole)

    def check_batch(self, mdps: MDPs) -> None:
        if len(mdps) % (parts := self.objective.minibatches):
            raise InputError(
                f"{len(mdps)} tasks of a process do not make {parts} minibatches of equal size: choose others, by"
                " data.meta_batch or the objective's minibatches"
            )

    def check(self, world: World) -> None:
        episodes = max(self.train_episodes, self.test_episodes)
        if (steps := episodes * world.horizon) > self.sequence.length:
            raise InputError(
                f"{type(self.sequence).__name__} reads {self.sequence.length} steps, a trial takes {steps}"
                ": set the `length` of its `sequence` to that"
            )


class Trials(NamedTuple):
    """What an update reads of what was lived through, a trial of each env: tensors [trials, time, ...]."""

    token: Float[Tensor, "trials time width"]
    action: Shaped[Tensor, "trials time *actions"]
    log_prob: Float[Tensor, "trials time"]
    reward: Float[Tensor, "trials time"]
    valid: Float[Tensor, "trials time"]

    @classmethod
    def of(cls, lived: Trajectories) -> "Trials":
        parts = lived.seen.joined(), lived.action, lived.log_prob, lived.reward, lived.valid.float()
        return cls(*(x.flatten(0, 1) for x in parts))
