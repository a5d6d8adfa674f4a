"""A rehearsal of a world before training: it must be a pure function that treats a task the same by itself and in a batch."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Normal

from lightning_meta.core.errors import InputError
from lightning_meta.core.mdps import MDPs
from lightning_meta.core.policy import Policy
from lightning_meta.core.snapshots import copy_of, equal, generator_states, row, write_counts
from lightning_meta.core.trajectory import TimeStep
from lightning_meta.core.world import World
from lightning_meta.core.world_calls import call
from lightning_meta.core.world_checks import check_dense_reward, check_start, check_task, check_transition

FIRST_STEPS = 2  # steps of the first episode of a rehearsal
LATER_STEPS = 200  # steps after it, in as many episodes as they take
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}  # rounding differs between batches of one and of several
ARGUMENTS = {"task": ("seeds",), "step": ("task", "state", "action", "u"), "dense_reward": ("task", "trajectory")}
REMEDY = "take all random numbers from u, or in `task` from lightning_meta.core.uniform(seeds, ...)"


def rehearse_world(world: World, mdps: MDPs, steps: int = LATER_STEPS) -> None:
    """Try a world in an episode of two steps of each task and in `steps` more steps after it.

    Args:
        world: the world to try.
        mdps: two tasks of it.
        steps: the number of steps after the first episode.

    Raises:
        InputError: one line that names the method, if the world fails, returns other shapes or types than it should,
            changes its arguments, draws from a global random generator or is not a function of its arguments.
    """
    envs = max(2, -(-world.actions // 2)) if world.discrete else 2  # enough for every action to be taken
    both = MDPs(world, mdps.seeds, mdps.noise_seeds)
    one = MDPs(world, mdps.seeds[1:], mdps.noise_seeds[1:])
    first, second = rehearsal(both, envs, steps), rehearsal(both, envs, steps)
    for (method, result), (_, other) in zip(first, second, strict=True):
        if not equal(result, other):
            raise InputError(impure(world, method, "tried twice with the same seeds and u"))
    for (method, result), (_, other) in zip(first, rehearsal(one, envs), strict=False):  # which is shorter
        if not equal(row(result, 1), row(other, 0), TOLERANCE):
            raise InputError(
                f"{type(world).__name__}.{method} returns something else for a task in a batch of two than for the task by"
                " itself: compute each slot from its own seed, state and u only"
            )
    trajectory, _ = both.rollout(UniformPolicy(world.actions, world.discrete), envs, steps=FIRST_STEPS)
    check = partial(check_dense_reward, world, tuple(trajectory.reward.shape))
    CheckedCall(world, "dense_reward", (both.task, trajectory), check).result()


def rehearsal(mdps: MDPs, envs: int, steps: int = 0) -> list[tuple[str, Any]]:
    """Return (method, result) for a first episode of two steps, the start of a later one and `steps` steps from there.

    Each slot takes other actions, so that all discrete actions are taken.
    """
    world, tasks, device = mdps.world, len(mdps), mdps.seeds.device
    noise = mdps.uniform("rehearsal", FIRST_STEPS + 2, envs, world.noise).movedim(1, 0)
    task = CheckedCall(world, "task", (mdps.seeds,), lambda result: check_task(world, result, tasks, device)).result()
    state, observation = start(world, "reset", task, noise[0])
    results = [("task", copy_of(task)), ("reset", copy_of((state, observation)))]
    for k in range(FIRST_STEPS):
        arguments = task, state, action_of(mdps, envs, k), noise[k + 1]
        transition = CheckedCall(world, "step", arguments, partial(check_transition, world, state)).result()
        state = transition.state
        results.append(("step", copy_of(list_of(transition))))
    later, observation = start(world, "soft_reset", task, noise[FIRST_STEPS + 1])
    if later.shape != state.shape:
        raise InputError(
            f"the state of {type(world).__name__}.soft_reset is {list(later.shape)}, that of its step {list(state.shape)}:"
            " give both the same width"
        )
    return [*results, ("soft_reset", copy_of((later, observation))), *later_steps(mdps, envs, task, later, steps)]


def later_steps(mdps: MDPs, envs: int, task: Any, state: Tensor, steps: int) -> Iterator[tuple[str, Any]]:
    """Yield (method, result) for `steps` steps, as a rollout takes them: a new episode follows the end of one."""
    world, age = mdps.world, torch.zeros(state.shape[:2], dtype=torch.long, device=state.device)
    noise = mdps.uniform("rehearsal/lived", steps, envs, 2, world.noise).movedim(1, 0)
    for k in range(steps):
        arguments = task, state, action_of(mdps, envs, k), noise[k][..., 0, :]
        transition = CheckedCall(world, "step", arguments, partial(check_transition, world, state), k + 1).result()
        yield "step", copy_of(list_of(transition))
        age, state = age + 1, transition.state
        done = transition.terminated | (age >= world.horizon)
        if done.any():
            new_state, observation = start(world, "soft_reset", task, noise[k][..., 1, :], k + 1)
            yield "soft_reset", copy_of((new_state, observation))
            age, state = age.where(~done, 0), torch.where(done.unsqueeze(-1), new_state, state)


def start(world: World, method: str, task: Any, u: Tensor, step: int | None = None) -> tuple[Tensor, Tensor]:
    """Start an episode by `reset` or `soft_reset`, and check what it returns."""
    tasks, envs, _ = u.shape

    def check(result: Any) -> None:
        check_start(world, method, result, tasks, envs, u.device)

    return CheckedCall(world, method, (task, u), check, step).result()


def list_of(transition: Any) -> list[Any]:
    return [transition.state, transition.observation, transition.reward, transition.terminated]


def action_of(mdps: MDPs, envs: int, step: int) -> Tensor:
    """Return an action for each slot, which is the same for a task in any batch."""
    if mdps.world.discrete:
        return ((torch.arange(envs) + step * envs) % mdps.world.actions).expand(len(mdps), -1).clone()
    return 2 * mdps.uniform(f"rehearsal/action/{step}", envs, mdps.world.actions).to(torch.get_default_dtype()) - 1


class CheckedCall:
    """A call of a world's method whose effects and result are checked.

    Args:
        world: the world.
        method: the name of the method.
        arguments: its arguments.
        check: raises InputError if the result has a wrong type or shape.
        step: the number of the step in a longer run, for error messages.
    """

    def __init__(
        self,
        world: World,
        method: str,
        arguments: tuple[Any, ...],
        check: Callable[[Any], None],
        step: int | None = None,
    ):
        self.world, self.method, self.arguments, self.check = world, method, arguments, check
        self.when = "" if step is None else f" at step {step}"
        self.once = world.stateful or step is not None
        self.name = f"{type(world).__name__}.{method}"

    def result(self) -> Any:
        """Call the method, twice unless the world is stateful or this is one of many steps, and return its result."""
        before, counts, states = copy_of(self.arguments), write_counts(self.arguments), generator_states()
        result = call(self.world, self.method, self.arguments, self.when)
        if not equal(generator_states(), states):
            raise InputError(f"{self.name} draws from a global random generator or seeds one: {REMEDY}")
        names = ARGUMENTS.get(self.method, ("task", "u"))
        for name, now, then, count in zip(names, self.arguments, before, counts, strict=True):
            if not (equal(now, then) and write_counts(now) == count) and not (self.world.stateful and name == "state"):
                raise InputError(
                    f"{self.name} changes its {name} in place: leave it as it is, and return new tensors (x = x + 1, not"
                    " x += 1)"
                )
        self.check(result)
        if self.once:
            return result
        kept = copy_of(result)
        if not equal(call(self.world, self.method, self.arguments, self.when), kept):
            raise InputError(impure(self.world, self.method, "called twice with the same arguments"))
        return result


class UniformPolicy(Policy):
    """A policy that takes every action with the same probability, or continuous actions from N(0, 1)."""

    def __init__(self, actions: int, discrete: bool):
        self.actions, self.discrete = actions, discrete

    def act(self, time_step: TimeStep) -> tuple[Distribution, Policy]:
        reward = time_step.previous_reward
        zeros = torch.zeros(*reward.shape, self.actions, device=reward.device)
        return Categorical(logits=zeros) if self.discrete else Normal(zeros, 1.0), self


def impure(world: World, method: str, how: str) -> str:
    """Compose the message about a method that is not a function of its arguments."""
    remedy = "derive it from the seeds only, for example by lightning_meta.core.uniform"
    if method != "task":
        remedy = (
            "let it depend on its arguments only; a simulator, which keeps a state of its own, sets `stateful = True` and"
            " starts afresh in `reset`"
        )
    return f"{type(world).__name__}.{method}, {how}, returns something else the second time: {remedy}"
