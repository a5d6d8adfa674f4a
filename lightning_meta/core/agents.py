"""f_theta over decision processes, and what improves theta."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core.decisions import MDPs, Policy, Trajectories, World


class MetaRLLearner(nn.Module, ABC):
    """f_theta over decision processes. Its parameters are theta; `adapt` makes phi, a policy; `learn` improves theta.

    To add one, write `prior`, `update` and `learn`.
    """

    updates: int  # how often a trial changes phi
    envs: int = 1  # copies of a task in which phi acts side by side between two updates
    episodes: int = 1  # of a trial, in each of them
    total: bool = (
        False  # whether the agent is judged by all rewards of a trial, not by those of its adapted policy alone
    )
    greedy: bool = False  # whether phi is judged by its likeliest actions
    own_step: bool = False  # whether what it improves by is the step itself, for an SGD of rate 1 (TRPO)

    @abstractmethod
    def prior(self, mdps: MDPs) -> Policy:
        """phi of a task of which nothing is known yet."""

    @abstractmethod
    def update(self, policy: Policy, lived: Trajectories) -> Policy:
        """phi, having learned from what it lived through. Pure: writes nothing on the agent."""

    def trial(self, mdps: MDPs) -> Iterator[tuple[Trajectories, Policy]]:
        """Act and update in turn: what was lived through, one episode in each env, and phi then, `updates` times."""
        policy = self.prior(mdps)
        for k in range(self.updates):
            lived, policy = mdps.rollout(policy, self.envs, purpose=f"trial/{k}", greedy=self.greedy)
            policy = self.update(policy, lived)
            yield lived, policy

    def adapt(self, mdps: MDPs) -> Policy:
        """phi = f_theta(M): explore each process and come back with a policy for it."""
        policy = self.prior(mdps)
        for _, policy in self.trial(mdps):  # noqa: B007  the last is wanted
            pass
        return policy

    def returns(self, mdps: MDPs) -> Float[Tensor, "tasks points"]:
        """Returns of phi after 0, 1, ... updates: the adaptation curve. Mean over envs."""
        policy, curve = self.prior(mdps), []
        for lived, policy in self.trial(mdps):  # noqa: B007
            curve.append(lived.returns().mean(1))
        lived, _ = mdps.rollout(policy, self.envs, purpose="adapted", greedy=self.greedy)
        return torch.cat([*curve, lived.returns().mean(1)], 1)

    @abstractmethod
    def learn(self, mdps: MDPs, improve: Callable[[Tensor], None]) -> dict[str, Tensor]:
        """One meta-iteration: live through trials and improve theta. `improve(loss)` takes one step of the outer optimiser
        down the gradient of a loss, its mean over processes. Returns scalars worth a curve, `return` and `steps` (of the
        environment) among them. Within torch.autocast of a loop of your own, switch its cache off (cache_enabled=False), as
        Lightning does: it would keep weights that `improve` has changed."""

    def judged_on(self) -> tuple[int, int, int]:
        """How much of a task it lives through at test: updates, envs and episodes. Agents that differ in it are not judged
        alike."""
        training = self.training
        self.eval()
        found = self.updates, self.envs, self.episodes
        self.train(training)
        return found

    def check(self, world: World) -> None:
        """Raise InputError where the agent cannot act in this world, before anything is trained."""

    def check_batch(self, mdps: MDPs) -> None:
        """Raise InputError where the agent cannot learn from a process's share of a meta-batch."""
