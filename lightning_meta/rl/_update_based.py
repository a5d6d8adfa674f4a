"""The family of agents that adapt by explicit updates between rollouts."""

from abc import abstractmethod
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_meta.core import MDPs, MetaRLLearner, Policy, Trajectory


class UpdateBased(MetaRLLearner):
    """An agent that alternates rollouts and updates of phi, and is scored by the return of phi after the last update.

    A new one implements `prior`, `update` and `learn`.
    """

    curve_unit = "updates"

    @abstractmethod
    def update(self, policy: Policy, trajectory: Trajectory) -> Policy:
        """Return phi after learning from a trajectory. This must not write anything on the agent."""

    def trial(self, mdps: MDPs) -> Iterator[tuple[Trajectory, Policy]]:
        """Yield the trajectory of one episode per env, and phi updated by it, `updates` times."""
        policy = self.prior(mdps)
        for k in range(self.updates):
            trajectory, policy = mdps.rollout(policy, self.envs, purpose=f"trial/{k}", greedy=self.greedy)
            policy = self.update(policy, trajectory)
            yield trajectory, policy

    def adapt(self, mdps: MDPs) -> Policy:
        """Run a trial and return phi after its last update."""
        policy = self.prior(mdps)
        for _, policy in self.trial(mdps):  # noqa: B007  only the last is returned
            pass
        return policy

    def last_episode_policy(self, mdps: MDPs) -> Policy:
        return self.adapt(mdps)

    def returns(self, mdps: MDPs) -> Float[Tensor, "tasks points"]:
        """Return the returns of phi after 0, 1, ... updates, averaged over envs."""
        policy, curve = self.prior(mdps), []
        for trajectory, policy in self.trial(mdps):  # noqa: B007
            curve.append(trajectory.returns().mean(1))
        trajectory, _ = mdps.rollout(policy, self.envs, purpose="adapted", greedy=self.greedy)
        return torch.cat([*curve, trajectory.returns().mean(1)], 1)
