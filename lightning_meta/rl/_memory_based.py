"""The family of agents that learn within their memory: phi is a policy together with what it remembers."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from lightning_meta.core import MDPs, MetaRLLearner, Policy, TimeStep
from lightning_meta.nn.sequence import Memory, SequenceNetwork, shared
from lightning_meta.rl.parts.reward_statistics import RewardStatistics


class MemoryBased(MetaRLLearner):
    """An agent whose memory is empty at the start of a trial and carries over from one episode to the next.

    It is scored by all rewards of a trial. A new one implements `prior` and `learn`.
    """

    curve_unit = "episode"
    score = "total"
    updates = 0

    def adapt(self, mdps: MDPs) -> Policy:
        """Return phi after the episodes of a trial."""
        return self.after_episodes(mdps, self.episodes)

    def last_episode_policy(self, mdps: MDPs) -> Policy:
        return self.after_episodes(mdps, self.episodes - 1)

    def after_episodes(self, mdps: MDPs, episodes: int) -> Policy:
        """Return phi after the time that this number of episodes takes at most.

        If episodes end early, more of them fit into that time. So phi does not depend on the other tasks of a batch.
        """
        time = episodes * mdps.world.horizon
        policy = self.prior(mdps)
        if time:
            _, policy = mdps.rollout(policy, self.envs, time, purpose="trial", greedy=self.greedy, steps=time)
        return policy

    def returns(self, mdps: MDPs) -> Float[Tensor, "tasks episodes"]:
        """Return the return of each episode of a trial, averaged over envs."""
        trajectory, _ = mdps.rollout(self.prior(mdps), self.envs, self.episodes, purpose="trial", greedy=self.greedy)
        return trajectory.returns(self.episodes).mean(1)


@dataclass(frozen=True, eq=False)
class MemoryPolicy(Policy):
    """phi: a policy that reads its time steps with a sequence network.

    Attributes:
        reward_statistics: standardises the rewards that are read.
        token: maps a time step to the input of the sequence network.
        sequence: the sequence network.
        decide: maps outputs of the sequence network, [tasks, envs, d], to the distribution of the next action.
        memory: the state of the sequence network, tensors [tasks * envs, ...]; None at the start of a trial.
        resume_from: see `Policy`.
    """

    reward_statistics: RewardStatistics
    token: nn.Module
    sequence: SequenceNetwork
    decide: Callable[[Tensor], Distribution]
    memory: Memory | None = None
    resume_from: TimeStep | None = None

    def act(self, time_step: TimeStep) -> tuple[Distribution, "MemoryPolicy"]:
        inputs = time_step.concatenated().flatten(0, 1).unsqueeze(1)
        token = self.token(self.reward_statistics.read(inputs, trial_start=self.memory is None).squeeze(1))
        memory = self.sequence.start(token) if self.memory is None else shared(self.memory, len(token))
        output, memory = self.sequence.step(token, memory)
        action = self.decide(output.unflatten(0, time_step.previous_reward.shape))
        return action, replace(self, memory=memory, resume_from=None)

    def end_rollout(self, time_step: TimeStep) -> "MemoryPolicy":
        return replace(self, resume_from=time_step)
