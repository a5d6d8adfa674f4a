"""Agents that learn within their memory: to act is to learn, and phi is a policy with what it remembers."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from lightning_meta.core import MDPs, MetaRLLearner, Policy, Seen, Trajectories
from lightning_meta.nn.sequence import Memory, SequenceNetwork, shared
from lightning_meta.rl.rewards import Rewards


class MemoryBased(MetaRLLearner):
    """An agent whose phi goes on over the ends of episodes, and is empty where a trial begins. It is judged by all rewards of
    a trial. To add one, write `prior` and `learn`."""

    updates, total = 0, True

    def update(self, policy: Policy, lived: Trajectories) -> Policy:  # noqa: ARG002  it learned while it acted
        return policy

    def adapt(self, mdps: MDPs, episodes: int | None = None) -> Policy:
        """phi after so many episodes, by default those of a trial. All their time is used, for more of them where they end
        early: so phi of a task is the same whatever other tasks are there."""
        time = (self.episodes if episodes is None else episodes) * mdps.world.horizon
        policy = self.prior(mdps)
        if time:
            _, policy = mdps.rollout(policy, self.envs, time, purpose="trial", greedy=self.greedy, steps=time)
        return policy

    def returns(self, mdps: MDPs) -> Float[Tensor, "tasks episodes"]:
        """The return of each episode of a trial. Mean over envs."""
        lived, _ = mdps.rollout(self.prior(mdps), self.envs, self.episodes, purpose="trial", greedy=self.greedy)
        return lived.returns(self.episodes).mean(1)


@dataclass(frozen=True, eq=False)
class Remembering(Policy):
    """phi: a memory, tensors [tasks * envs, ...], or None where a trial begins. `rewards` standardises what was paid, `token`
    makes of what is seen what `sequence` reads, and `decide` of its outputs, [tasks, envs, d], the distribution of the next
    action."""

    rewards: Rewards
    token: nn.Module
    sequence: SequenceNetwork
    decide: Callable[[Tensor], Distribution]
    memory: Memory | None = None
    before: Seen | None = None

    def act(self, seen: Seen) -> tuple[Distribution, "Remembering"]:
        steps = seen.joined().flatten(0, 1).unsqueeze(1)
        token = self.token(self.rewards.read(steps, begins=self.memory is None).squeeze(1))
        memory = self.sequence.start(token) if self.memory is None else shared(self.memory, len(token))
        output, memory = self.sequence.step(token, memory)
        return self.decide(output.unflatten(0, seen.reward.shape)), replace(self, memory=memory, before=None)

    def after(self, seen: Seen) -> "Remembering":
        return replace(self, before=seen)
