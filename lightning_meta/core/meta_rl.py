"""The interface of an agent: policy = f_theta(M), scored by the return of the policy in M."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from lightning_meta.core.mdps import MDPs
from lightning_meta.core.policy import Policy
from lightning_meta.core.world import World


class EvaluationBudget(NamedTuple):
    """The experience with a task that an agent gets at test. Scores are comparable only between equal budgets.

    Attributes:
        updates: adaptation updates per trial.
        envs: parallel copies of each task.
        episodes: episodes per trial and copy.
    """

    updates: int
    envs: int
    episodes: int


class MetaRLLearner(nn.Module, ABC):
    """f_theta over decision processes. Its parameters are theta, `adapt` returns phi, and `learn` improves theta.

    A new agent derives from one of two families of `lightning_meta.rl`: `UpdateBased`, which alternates rollouts and
    updates of phi, or `MemoryBased`, which learns within the memory of its policy.

    Attributes:
        curve_unit: what the points of `returns` count, `updates` of phi (from 0) or each `episode` of a trial (from 1).
        score: what the agent is scored by, the `return` of its last point or the `total` return of a trial.
        updates: adaptation updates per trial.
        envs: parallel copies of each task in which phi acts.
        episodes: episodes per trial in each copy.
        greedy: whether phi takes its most likely actions at test.
        own_outer_step: whether `learn` computes the outer step itself, to be applied by SGD with rate 1 (TRPO).
    """

    curve_unit: Literal["updates", "episode"]
    score: Literal["return", "total"] = "return"
    updates: int
    envs: int = 1
    episodes: int = 1
    greedy: bool = False
    own_outer_step: bool = False

    @abstractmethod
    def prior(self, mdps: MDPs) -> Policy:
        """Return phi before anything is known of the tasks."""

    @abstractmethod
    def adapt(self, mdps: MDPs) -> Policy:
        """Explore every process and return a policy for it: phi = f_theta(M)."""

    @abstractmethod
    def returns(self, mdps: MDPs) -> Float[Tensor, "tasks points"]:
        """Return the adaptation curve: the return at each point of `curve_unit`, averaged over envs."""

    @abstractmethod
    def last_episode_policy(self, mdps: MDPs) -> Policy:
        """Return phi as it begins the last episode at test, which `return` is the return of."""

    @abstractmethod
    def learn(self, mdps: MDPs, outer_step: Callable[[Tensor], None]) -> dict[str, Tensor]:
        """Run one meta-iteration: roll out trials and improve theta.

        Within a torch.autocast of a training loop of your own, switch its cache off (cache_enabled=False) as Lightning does:
        the cache would keep weights that `outer_step` has changed.

        Args:
            mdps: the meta-batch of tasks.
            outer_step: takes one step of the outer optimiser down the gradient of a loss, averaged over processes.

        Returns:
            Scalars to log, among them `return` and `steps` (environment steps).
        """

    def evaluation_budget(self) -> EvaluationBudget:
        """Return the experience that the agent gets at test."""
        training = self.training
        self.eval()
        budget = EvaluationBudget(self.updates, self.envs, self.episodes)
        self.train(training)
        return budget

    def check(self, world: World) -> None:
        """Raise InputError if the agent cannot act in this world. It is called before training."""

    def check_batch(self, mdps: MDPs) -> None:
        """Raise InputError if the agent cannot learn from this process's share of a meta-batch."""
