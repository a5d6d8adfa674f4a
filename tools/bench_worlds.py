"""Steps per CPU second of every world, beside gymnasium's vector environments or a plain loop over environments.

    python tools/bench_worlds.py [--quick] [--json]

One thread, random actions, new episodes begun where one ends. Ours steps 1,024 envs at once (of MuJoCo 128), 64 of them a
task. The peer is gymnasium's SyncVectorEnv of 16 where gymnasium has that world, and once more envpool's 64 environments in
C++ where envpool is installed (not among our packages: 0.8 GB); elsewhere it is what one writes without a library, an object
for each environment that steps in Python and numpy. The limit is a bare copy of what a step returns; for MuJoCo, its own step
of one body, with no reward, observation or tensor. The last rows are the share of a meta-iteration's time that is spent in
the world, for packaged configurations, no peer.
"""

import importlib.util
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

from bench import Row, arguments, race, show  # sets OMP_NUM_THREADS before torch is imported

from lightning_meta.core.allocator import keep_freed_memory

keep_freed_memory()  # as the command line does

import gymnasium  # noqa: E402
import mujoco  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from plain_worlds import PLAIN, Plain  # noqa: E402

from lightning_meta.config.merge import PACKAGED, read  # noqa: E402
from lightning_meta.core import MDPs, MetaRLLearner, World  # noqa: E402
from lightning_meta.envs import (  # noqa: E402
    AntDirection,
    Bandits,
    CartPole,
    HalfCheetahDirection,
    HalfCheetahVelocity,
    IMaze,
    Navigation,
    Pendulum,
    PointRobot,
    TabularMDPs,
    TwoArms,
)
from lightning_meta.envs.mujoco import PHYSICS_STEPS  # noqa: E402
from lightning_meta.envs.running import Running  # noqa: E402
from lightning_meta.nn.build import build, find  # noqa: E402

WORLDS: list[tuple[World, str | None]] = [
    (Bandits(), None),
    (TwoArms(), None),
    (TabularMDPs(), None),
    (Navigation(), None),
    (PointRobot(), None),
    (IMaze(), None),
    (CartPole(), "CartPole-v1"),
    (Pendulum(), "Pendulum-v1"),
    (HalfCheetahDirection(), "HalfCheetah-v5"),
    (HalfCheetahVelocity(), "HalfCheetah-v5"),
    (AntDirection(), "Ant-v5"),
]
CONTACTS = {"Ant-v5": {"contact_cost_weight": 0, "include_cfrc_ext_in_observation": False}}  # left out in ours too
ENVPOOL_CONTACTS = {"Ant-v5": {"contact_cost_weight": 0.0, "use_contact_force": False}}
SHARES = [
    ("rl2", "bandits", "RL2 on bandits"),
    ("maml_rl", "navigation", "MAML on 2-D navigation"),
    ("maml_rl", "cheetah_direction", "MAML on the cheetah"),
]


def main() -> None:
    args = arguments(__doc__ or "")
    mujoco.set_mju_user_warning(lambda _: None)  # type: ignore[attr-defined]  # of each of gymnasium's cheetahs
    steps, repeats = (3, 1) if args.quick else (40, 5)
    rows = [row for world, peer in WORLDS for row in world_rows(world, peer, steps, repeats)]
    rows += [share(*names) for names in SHARES[: 2 if args.quick else None]]
    show(rows, args.json)


def world_rows(world: World, name: str | None, steps: int, repeats: int) -> list[Row]:
    """Beside each peer, which steps a multiple of `steps` times a call."""
    tasks, copies = 2 if isinstance(world, Running) else 16, 64
    if name is None:
        peers = {"a loop in Python": plain_steps(PLAIN[type(world)], 10 * steps)}
    else:
        peers = {f"gymnasium's {name}": gymnasium_steps(name, 10 * steps)}
        if importlib.util.find_spec("envpool"):
            peers[f"envpool's {name}"] = envpool_steps(name, 10 * steps)
    limit = physics_rate(world, 100 * steps) if isinstance(world, Running) else copy_rate(world, tasks * copies)
    ours = our_steps(world, tasks, copies, steps)
    return [race(f"steps/s, {type(world).__name__}; {peer}", ours, peers[peer], limit, repeats) for peer in peers]


def our_steps(world: World, tasks: int, copies: int, steps: int) -> Callable[[], int]:
    """Step as `MDPs.rollout` does, with actions and random numbers that cost as little as the peer's.

    Each call continues where the last one ended.
    """
    task, shape = world.task(torch.arange(tasks)), (tasks, copies)
    state, _ = world.reset(task, torch.rand(*shape, world.noise))
    age = torch.randint(world.horizon, shape)

    def act() -> int:
        nonlocal state, age
        for _ in range(steps):
            moved = world.step(task, state, random_actions(world, shape), torch.rand(*shape, world.noise))
            state, age = moved.state, age + 1
            done = moved.terminated | (age >= world.horizon)
            if done.any():
                first, _ = world.soft_reset(task, torch.rand(*shape, world.noise))
                state, age = torch.where(done.unsqueeze(-1), first, state), age.where(~done, 0)
        return steps * age.numel()

    return act


def random_actions(world: World, shape: tuple[int, int]) -> torch.Tensor:
    return torch.randint(world.actions, shape) if world.discrete else 2 * torch.rand(*shape, world.actions) - 1


def gymnasium_steps(name: str, steps: int, envs: int = 16) -> Callable[[], int]:
    def make() -> gymnasium.Env:
        return gymnasium.make(name, **CONTACTS.get(name, {}))

    peer = gymnasium.vector.SyncVectorEnv([make] * envs)
    peer.reset(seed=0)
    return stepping(peer, [peer.action_space.sample() for _ in range(200)], steps, envs)


def envpool_steps(name: str, steps: int, envs: int = 64) -> Callable[[], int]:
    import envpool  # type: ignore[import-not-found]

    options = ENVPOOL_CONTACTS.get(name, {})
    peer = envpool.make_gymnasium(name, num_envs=envs, num_threads=1, seed=0, **options)
    peer.reset()
    actions = [np.stack([peer.action_space.sample() for _ in range(envs)]) for _ in range(200)]
    return stepping(peer, actions, steps, envs)


def stepping(peer: Any, actions: list[np.ndarray], steps: int, envs: int) -> Callable[[], int]:
    ahead = cycle(actions)

    def act() -> int:
        for _ in range(steps):
            peer.step(next(ahead))
        return steps * envs

    return act


def plain_steps(kind: type[Plain], steps: int, envs: int = 16) -> Callable[[], int]:
    rng = np.random.default_rng(0)
    peers = [kind(rng) for _ in range(envs)]

    def act() -> int:
        for peer in peers:
            for _ in range(steps):
                peer.act()
        return steps * envs

    return act


def physics_rate(world: Running, steps: int) -> float:
    """Steps per CPU second of MuJoCo alone, one body."""
    model, data = world.physics.model, world.physics.data[0]
    torques = np.random.default_rng(0).uniform(-1, 1, (steps, world.physics.torques))
    start = time.process_time()
    for torque in torques:
        data.ctrl[:] = torque
        world.physics.mujoco.mj_step(model, data, PHYSICS_STEPS)
    return steps / (time.process_time() - start)


def copy_rate(world: World, envs: int) -> float:
    """Steps per CPU second of a bare copy of what they return."""
    task, noise = world.task(torch.arange(envs)), torch.rand(envs, 1, world.noise)
    state, _ = world.reset(task, noise)
    moved = world.step(task, state, random_actions(world, (envs, 1)), noise)
    start = time.process_time()
    for _ in range(100):
        for part in moved:
            part.clone()
    return 100 * envs / (time.process_time() - start)


def share(agent: str, task: str, item: str) -> Row:
    """Of the second meta-iteration's CPU time."""
    data = read(PACKAGED / "tasks" / f"{task}.yaml")["data"]["init_args"]
    world = find(data["world"]["class_path"])(**data["world"]["init_args"])
    told = {"observations": world.observations, "actions": world.actions, "discrete": world.discrete}
    spec = read(PACKAGED / "agents" / f"{agent}.yaml")["model"]["learner"]
    learner = build({**spec, "init_args": {**spec["init_args"], **told}})
    assert isinstance(learner, MetaRLLearner)
    clock = Clock(world)
    optimizer = torch.optim.SGD(learner.parameters(), lr=1e-3)

    def outer_step(loss: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def iterate(number: int) -> None:
        places = torch.arange(data["meta_batch"]) + 1000 * number
        learner.train().learn(MDPs(world, places, places), outer_step)

    iterate(0)
    clock.spent, start = 0.0, time.process_time()
    iterate(1)
    whole = time.process_time() - start
    return Row(f"share of time in the world, {item}", clock.spent / whole, float("nan"), float("nan"), 0.0)


class Clock:
    """CPU seconds spent in a world's functions."""

    def __init__(self, world: World):
        self.spent = 0.0
        for name in ("task", "reset", "soft_reset", "step"):
            setattr(world, name, self.timed(getattr(world, name)))

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            start = time.process_time()
            found = function(*given)
            self.spent += time.process_time() - start
            return found

        return call


if __name__ == "__main__":
    main()
