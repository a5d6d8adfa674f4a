"""A world tried before it is trained in: whether it is a pure function of what it is given, the same alone and in a batch."""

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Normal

from lightning_meta.core.decisions import MDPs, Policy, Seen, World
from lightning_meta.core.errors import InputError
from lightning_meta.core.world_calls import call
from lightning_meta.core.world_shapes import check_dense, check_moved, check_start, check_task

STEPS = 2  # of the first episode of a meeting
LIVED = 200  # steps after it, in as many episodes as that takes
CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # rounding differs between batches of one and of several
ARGUMENTS = {"task": ("seeds",), "step": ("task", "state", "action", "u"), "dense_reward": ("task", "trajectories")}
CHANCE = "take all chance from u, or in `task` from lightning_meta.core.uniform(seeds, ...)"


def rehearse_world(world: World, mdps: MDPs, steps: int = LIVED) -> None:
    """InputError, one line that names the method, where a world fails, gives other shapes or types than it should, changes
    what it was given, draws from a global random generator, or is no function of its arguments alone: in an episode of two
    steps of each task, and in `steps` more after them. `mdps`: two tasks."""
    envs = max(2, -(-world.actions // 2)) if world.discrete else 2  # so many that every action is taken
    both, alone = MDPs(world, mdps.seeds, mdps.draws), MDPs(world, mdps.seeds[1:], mdps.draws[1:])
    first, again = meeting(both, envs, steps), meeting(both, envs, steps)
    for (method, one), (_, other) in zip(first, again, strict=True):
        if not same(one, other):
            raise InputError(impure(world, method, "met twice with the same seeds and u"))
    for (method, one), (_, other) in zip(first, meeting(alone, envs), strict=False):  # which ends before
        if not same(row(one, 1), row(other, 0), CLOSE):
            raise InputError(
                f"{type(world).__name__}.{method} gives a task something else in a batch of two than alone: let nothing"
                " but its own slot, seed and u tell what happens to it"
            )
    lived, _ = both.rollout(Anyhow(world.actions, world.discrete), envs, steps=STEPS)
    Call(world, "dense_reward", (both.task, lived), partial(check_dense, world, tuple(lived.reward.shape))).made()


def meeting(mdps: MDPs, envs: int, steps: int = 0) -> list[tuple[str, Any]]:
    """What each method of the world gives in a first episode of two steps, at the start of a later one, and in so many steps
    from there on. Slot by slot other actions are taken: of discrete ones all."""
    world, tasks, device = mdps.world, len(mdps), mdps.seeds.device
    luck = mdps.chance("rehearsal", STEPS + 2, envs, world.noise).movedim(1, 0)
    task = Call(world, "task", (mdps.seeds,), lambda found: check_task(world, found, tasks, device)).made()
    state, seen = started(world, "reset", task, luck[0])
    outcomes = [("task", copied(task)), ("reset", copied((state, seen)))]
    for k in range(STEPS):
        moved = Call(
            world, "step", (task, state, action(mdps, envs, k), luck[k + 1]), partial(check_moved, world, state)
        ).made()
        state = moved.state
        outcomes.append(("step", copied([moved.state, moved.observation, moved.reward, moved.terminated])))
    later, seen = started(world, "again", task, luck[STEPS + 1])
    if later.shape != state.shape:
        raise InputError(
            f"the state of {type(world).__name__}.again is {list(later.shape)}, that of its step {list(state.shape)}: give"
            " both one width"
        )
    return [*outcomes, ("again", copied((later, seen))), *lived(mdps, envs, task, later, steps)]


def lived(mdps: MDPs, envs: int, task: Any, state: Tensor, steps: int) -> Iterator[tuple[str, Any]]:
    """The same in so many steps, as a rollout takes them: where an episode ends, another begins."""
    world, age = mdps.world, torch.zeros(state.shape[:2], dtype=torch.long, device=state.device)
    luck = mdps.chance("rehearsal/lived", steps, envs, 2, world.noise).movedim(1, 0)
    for k in range(steps):
        given = task, state, action(mdps, envs, k), luck[k][..., 0, :]
        moved = Call(world, "step", given, partial(check_moved, world, state), k + 1).made()
        yield "step", copied([moved.state, moved.observation, moved.reward, moved.terminated])
        age, state = age + 1, moved.state
        done = moved.terminated | (age >= world.horizon)
        if done.any():
            first, seen = started(world, "again", task, luck[k][..., 1, :], k + 1)
            yield "again", copied((first, seen))
            age, state = age.where(~done, 0), torch.where(done.unsqueeze(-1), first, state)


def started(world: World, method: str, task: Any, u: Tensor, step: int | None = None) -> tuple[Tensor, Tensor]:
    tasks, envs, _ = u.shape

    def check(found: Any) -> None:
        check_start(world, method, found, tasks, envs, u.device)

    return Call(world, method, (task, u), check, step).made()


def action(mdps: MDPs, envs: int, step: int) -> Tensor:
    """An action for each slot, the same for a task in any batch."""
    if mdps.world.discrete:
        return ((torch.arange(envs) + step * envs) % mdps.world.actions).expand(len(mdps), -1).clone()
    return 2 * mdps.chance(f"rehearsal/action/{step}", envs, mdps.world.actions).to(torch.get_default_dtype()) - 1


class Call:
    """A method of a world with arguments, to be called and judged; `check` refuses what has a wrong shape."""

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

    def made(self) -> Any:
        """What it gives. Called twice, unless the world is stateful or this is one of many steps."""
        before, written, generators = copied(self.arguments), writes(self.arguments), chances()
        found = call(self.world, self.method, self.arguments, self.when)
        if not same(chances(), generators):
            raise InputError(f"{self.name} draws from a global random generator or seeds one: {CHANCE}")
        names = ARGUMENTS.get(self.method, ("task", "u"))
        for name, now, then, count in zip(names, self.arguments, before, written, strict=True):
            if not (same(now, then) and writes(now) == count) and not (self.world.stateful and name == "state"):
                raise InputError(
                    f"{self.name} changes its {name} in place: leave it as it is, and return new tensors (x = x + 1, not"
                    " x += 1)"
                )
        self.check(found)
        if self.once:
            return found
        kept = copied(found)
        if not same(call(self.world, self.method, self.arguments, self.when), kept):
            raise InputError(impure(self.world, self.method, "called twice with the same arguments"))
        return found


class Anyhow(Policy):
    """Any action, as likely as another."""

    def __init__(self, actions: int, discrete: bool):
        self.actions, self.discrete = actions, discrete

    def act(self, seen: Seen) -> tuple[Distribution, Policy]:
        nothing = torch.zeros(*seen.reward.shape, self.actions, device=seen.reward.device)
        return Categorical(logits=nothing) if self.discrete else Normal(nothing, 1.0), self


def impure(world: World, method: str, how: str) -> str:
    remedy = "derive it from the seeds alone, by lightning_meta.core.uniform say"
    if method != "task":
        remedy = (
            "let it depend on its arguments alone; a simulator, which keeps a state of its own, says `stateful = True` and"
            " begins anew in `reset`"
        )
    return f"{type(world).__name__}.{method}, {how}, gives something else the second time: {remedy}"


def copied(value: Any) -> Any:
    """Tensors and arrays in copies, whatever holds them."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, (tuple, list)):
        return [copied(part) for part in value]
    return {key: copied(part) for key, part in value.items()} if isinstance(value, dict) else value


def writes(value: Any) -> Any:
    """How often tensors were written to in place, as PyTorch counts: numbers may stay the same where something is added to a
    large one, or clamped."""
    if isinstance(value, Tensor):
        return 0 if value.is_inference() else value._version
    if isinstance(value, (tuple, list)):
        return [writes(part) for part in value]
    return {key: writes(part) for key, part in value.items()} if isinstance(value, dict) else 0


def row(value: Any, index: int) -> Any:
    """What is in one slot of a batch."""
    if isinstance(value, (Tensor, np.ndarray)):
        return value[index]
    return [row(part, index) for part in value] if isinstance(value, (tuple, list)) else None


def same(one: Any, other: Any, within: dict[str, float] | None = None) -> bool:
    """Whether tensors and arrays are the same to the bit, or `within` a tolerance."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        alike = one.shape == other.shape and one.dtype == other.dtype
        if within and alike:
            return torch.allclose(one.double(), other.double(), **within, equal_nan=True)
        return alike and bool(((one == other) | ((one != one) & (other != other))).all())
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(same(a, b, within) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key], within) for key in one)
    plain = (int, float, complex, str, bytes, type(None))
    return one == other if isinstance(one, plain) else type(one) is type(other)  # of other objects no more can be told


def chances() -> list[Any]:
    """The states of the generators that any code can draw from."""
    return [torch.get_rng_state(), np.random.get_state(), hash(random.getstate())]
