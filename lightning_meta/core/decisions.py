"""The formula for decision processes: policy = f_theta(M), judged by the return of the policy in M.

Axis names: `tasks` (the meta-batch), `envs` (copies of a task's process that run side by side), `time` (steps), `d`.
Words: an episode ends where its process does (terminated) or at its horizon (truncated); a trial is all that an agent
lives through with one task, and goes on over the ends of its episodes.
"""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.distributions import Categorical, Distribution

from lightning_meta.core.errors import InputError
from lightning_meta.core.noise import uniform
from lightning_meta.core.world_calls import call
from lightning_meta.core.world_shapes import check_moved, check_start, check_task


class Seen(NamedTuple):
    """What an agent perceives before it acts; recorded, every tensor has a time axis after envs.

    observation: [tasks, envs, d]. action: the one before, [tasks, envs, actions], one-hot where actions are discrete.
    reward: what that gave, [tasks, envs]. done: 1 where that ended an episode, [tasks, envs]. At the start of a trial all
    three are 0.
    """

    observation: Float[Tensor, "tasks envs *time d"]
    action: Float[Tensor, "tasks envs *time actions"]
    reward: Float[Tensor, "tasks envs *time"]
    done: Float[Tensor, "tasks envs *time"]

    def joined(self) -> Float[Tensor, "tasks envs *time width"]:
        """All of it along the last axis, d + actions + 2 wide."""
        return torch.cat([self.observation, self.action, self.reward.unsqueeze(-1), self.done.unsqueeze(-1)], -1)


class Moved(NamedTuple):
    """What a step leads to: the next state [tasks, envs, s], its observation [tasks, envs, d], reward and terminated
    [tasks, envs]."""

    state: Shaped[Tensor, "tasks envs s"]
    observation: Float[Tensor, "tasks envs d"]
    reward: Float[Tensor, "tasks envs"]
    terminated: Bool[Tensor, "tasks envs"]


class World(ABC):
    """p(M): a family of decision processes, as pure functions over a batch with a different task in every slot: new tensors
    come out, and what came in stays as it was.

    Chance comes in from outside, as numbers u evenly spread in (0, 1); a world draws none itself. `stateful` is for a
    simulator, whose step needs what the world keeps of the one before.
    """

    observations: int  # numbers in an observation; 0 where there is nothing to see
    actions: int  # actions to choose from or, of continuous ones, numbers in an action, each meant to be in [-1, 1]
    discrete: bool
    horizon: int  # steps after which an episode is cut off
    noise: int  # random numbers that a reset or a step takes
    tasks: int | None = None  # how many different tasks there are, if they can be counted: seeds 0 .. tasks - 1
    stateful: bool = False  # whether a step is a function of all since the reset, and not of the state alone

    @abstractmethod
    def task(self, seeds: Int[Tensor, " tasks"]) -> Any:
        """What differs between tasks, a tensor [tasks, ...] or a tuple of them: a pure function of each seed."""

    @abstractmethod
    def reset(self, task: Any, u: Float[Tensor, "tasks envs noise"]) -> tuple[Tensor, Tensor]:
        """The first state [tasks, envs, s] of an episode and its observation [tasks, envs, d]."""

    def again(self, task: Any, u: Float[Tensor, "tasks envs noise"]) -> tuple[Tensor, Tensor]:
        """The same for a later episode of a trial; by default as the first."""
        return self.reset(task, u)

    @abstractmethod
    def step(self, task: Any, state: Tensor, action: Tensor, u: Float[Tensor, "tasks envs noise"]) -> Moved:
        """What an action leads to: whole numbers [tasks, envs], or [tasks, envs, actions] where they are continuous."""

    def dense_reward(self, task: Any, lived: "Trajectories") -> Float[Tensor, "tasks envs time"]:  # noqa: ARG002
        """What a critic may learn from in training where the reward is sparse; by default the reward."""
        return lived.reward


class Policy(ABC):
    """phi, an adapted agent, as a value: it acts, and what it then has seen is in the policy that follows.

    before: what the last action of a rollout led to, which comes with what is first seen in the next; None where a trial
    begins.
    """

    before: Seen | None = None

    @abstractmethod
    def act(self, seen: Seen) -> tuple[Distribution, "Policy"]:
        """The distribution of the next action, of batch shape [tasks, envs] for discrete ones and [tasks, envs, actions]
        otherwise, and the policy to go on with: itself, or one with another memory."""

    def after(self, seen: Seen) -> "Policy":  # noqa: ARG002  nothing to remember it with
        """The policy at the end of a rollout, told what its last action led to; by default itself. One with a memory keeps it
        as `before`."""
        return self


class Trajectories(NamedTuple):
    """What was lived through: every tensor [tasks, envs, time, ...]. log_prob: of the action when it was chosen, in nats.
    valid: False behind the last episode of an env, where nothing is to be learned."""

    seen: Seen
    action: Shaped[Tensor, "tasks envs time *actions"]
    log_prob: Float[Tensor, "tasks envs time"]
    reward: Float[Tensor, "tasks envs time"]
    next_observation: Float[Tensor, "tasks envs time d"]  # before a new episode begins
    terminated: Bool[Tensor, "tasks envs time"]
    truncated: Bool[Tensor, "tasks envs time"]
    valid: Bool[Tensor, "tasks envs time"]

    def returns(self, episodes: int = 1) -> Float[Tensor, "tasks envs episodes"]:
        """The sum of rewards of each episode."""
        done = (self.terminated | self.truncated).long()
        number = (done.cumsum(-1) - done).clamp(max=episodes - 1)
        total = self.reward.new_zeros(*self.reward.shape[:2], episodes)
        return total.scatter_add(-1, number, self.reward * self.valid)


class MDPs:
    """M_1 ... M_tasks, one decision process for each of the `seeds`. The `draws` name the luck of this meeting with them:
    the same task met again has other luck."""

    def __init__(self, world: World, seeds: Int[Tensor, " tasks"], draws: Int[Tensor, " tasks"]):
        self.world, self.seeds, self.draws = world, seeds, draws

    def __len__(self) -> int:
        return len(self.seeds)

    @cached_property
    def task(self) -> Any:
        task = call(self.world, "task", (self.seeds,))
        check_task(self.world, task, len(self), self.seeds.device)
        return task

    def to(self, device: torch.device | str) -> "MDPs":
        return MDPs(self.world, self.seeds.to(device), self.draws.to(device))

    def chance(self, purpose: str, *shape: int) -> Float[Tensor, "tasks *shape"]:
        """Random numbers in (0, 1) of each task, [tasks, *shape]; for another purpose others."""
        return uniform(self.draws, purpose, *shape)

    @torch.no_grad()
    def rollout(
        self,
        policy: Policy,
        envs: int = 1,
        episodes: int = 1,
        purpose: str = "rollout",
        greedy: bool = False,
        steps: int | None = None,
    ) -> tuple[Trajectories, Policy]:
        """Let a policy live through so many episodes of each task in each of `envs` copies of it, or the first `steps` steps
        of them; what it lived through, and the policy that it then is. `greedy` takes the likeliest action. A trial begins,
        nothing having been seen before; that of a policy which remembers an earlier rollout goes on with a new episode.
        An env that is through with its episodes lives on until all are, and what a policy remembers goes on with it. What is
        recorded are copies, whatever the world does with its tensors later.

        Raises InputError where an observation, a reward or the policy is no number, the world gives other shapes or types
        than it should, or a policy remembers another number of tasks.
        """
        world, whole = self.world, episodes * self.world.horizon
        steps = whole if steps is None else min(steps, whole)
        real = torch.get_default_dtype()  # what an agent perceives, whatever a world computes in
        luck = self.chance(f"{purpose}/world", steps + 1, envs, 2, world.noise).movedim(1, 0)
        dice = self.chance(f"{purpose}/action", steps, envs, 1 if world.discrete else world.actions).movedim(1, 0)
        begin = "reset" if policy.before is None else "again"
        started = call(world, begin, (self.task, luck[steps][..., 0, :]))
        check_start(world, begin, started, len(self), envs, self.seeds.device)
        state, observation = started[0], started[1].to(real, copy=True)
        nothing = torch.zeros(len(self), envs, device=self.seeds.device)
        blank = Seen(observation, nothing.unsqueeze(-1).expand(-1, -1, world.actions), nothing, nothing)
        seen = blank if policy.before is None else resumed(policy.before, blank)
        age, left = nothing.long(), nothing.long() + episodes
        record, over = [], False
        for step in range(steps):
            distribution, policy = policy.act(seen)
            action = distribution.mode if greedy else choose(distribution, dice[step])
            likely = nothing if greedy and not world.discrete else log_prob(distribution, action)
            when = f" at step {step + 1} of {purpose}"
            moved = call(world, "step", (self.task, state, action.clone(), luck[step][..., 0, :]), when)
            check_moved(world, state, moved)
            age, terminated = age + 1, moved.terminated.clone()
            truncated = (age >= world.horizon) & ~terminated
            done, valid = terminated | truncated, left > 0
            reward, shown = moved.reward.to(real, copy=True), moved.observation.to(real, copy=True)
            record.append(Trajectories(seen, action, likely, reward, shown, terminated, truncated, valid))
            left, state, observation = left - done.long(), moved.state, shown
            if done.any():
                over = not (left > 0).any()
                age = age.where(~done, 0)
                first, start = call(world, "again", (self.task, luck[step][..., 1, :]), when)
                state = torch.where(done.unsqueeze(-1), first, state)
                observation = torch.where(done.unsqueeze(-1), start.to(real), observation)
            seen = Seen(observation, self.encoded(action), reward, done.to(real))
            if over:
                break
        lived = joined(record)
        check_numbers(world, lived)
        return lived, policy.after(seen._replace(done=torch.ones_like(nothing)))

    def encoded(self, action: Tensor) -> Float[Tensor, "tasks envs actions"]:
        """An action as an agent sees it: one-hot where actions are discrete."""
        return F.one_hot(action, self.world.actions).to(torch.get_default_dtype()) if self.world.discrete else action


def resumed(before: Seen, blank: Seen) -> Seen:
    """What is seen first where a trial goes on, in as many envs for each that it was lived through in before."""
    (tasks, envs), (adapted, each) = blank.reward.shape, before.reward.shape
    if tasks != adapted or envs % each:
        raise InputError(
            f"a policy that remembers {adapted} tasks in {each} envs cannot act in {tasks} tasks in {envs} envs: give it those"
            f" tasks, and envs a multiple of {each}"
        )
    return Seen(blank.observation, *(part.repeat_interleave(envs // each, 1) for part in before[1:]))


def choose(distribution: Distribution, u: Float[Tensor, "tasks envs k"]) -> Tensor:
    """The action that the numbers u stand for: the quantile of the distribution, along its list of actions for a discrete
    one (k is 1)."""
    if isinstance(distribution, Categorical):
        return (distribution.probs.float().cumsum(-1) < u).sum(-1).clamp(max=distribution.probs.shape[-1] - 1)
    return distribution.icdf(u)


def log_prob(distribution: Distribution, action: Tensor) -> Float[Tensor, "tasks envs *time"]:
    """Of whole actions, in nats (of continuous ones, of a density)."""
    found = distribution.log_prob(action)
    return found if isinstance(distribution, Categorical) else found.sum(-1)


def joined(record: list[Trajectories]) -> Trajectories:
    """Steps along a new time axis."""
    seen, *rest = zip(*record, strict=True)
    return Trajectories(
        Seen(*(torch.stack(part, 2) for part in zip(*seen, strict=True))), *(torch.stack(part, 2) for part in rest)
    )


def check_numbers(world: World, lived: Trajectories) -> None:
    """InputError where something is no number, what was so first. One look at the end of a rollout, for each look waits for
    the device."""
    parts = [
        ("an observation", lived.seen.observation),
        ("the policy", lived.action),
        ("the policy", lived.log_prob),
        ("a reward", lived.reward),
        ("an observation", lived.next_observation),
    ]
    if torch.stack([numbers.isfinite().all() for _, numbers in parts]).all():
        return
    broken = [(~numbers.isfinite()).movedim(2, 0).flatten(1).any(1) for _, numbers in parts]
    which = int(torch.stack(broken, 1).nonzero()[0, 1])
    raise InputError(
        f"{parts[which][0]} in {type(world).__name__} is not a finite number: if it is the policy, lower the learning rates or"
        " clip gradients; otherwise look at the world"
    )
