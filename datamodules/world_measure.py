"""A measurement of what a world does, because two worlds with equal settings may differ by something they read elsewhere."""

from typing import Any

import torch

from datamodules.world_settings import Settings, digest
from lightning_meta.core import MDPs
from lightning_meta.core.world_calls import call

STEPS = 3


def fingerprint(mdps: MDPs) -> str:
    """Return a digest of the tasks, of the start of a first and a later episode, and of a few steps with fixed actions."""
    world, task = mdps.world, mdps.task
    noise = mdps.uniform("measure", STEPS + 2, 1, world.noise).movedim(1, 0)
    parts: list[Any] = [task, call(world, "soft_reset", (task, noise[-1]))]
    state, observation = call(world, "reset", (task, noise[-2]))
    parts += [state.clone(), observation.clone()]
    for step in range(STEPS):
        if world.discrete:
            action = torch.full((len(mdps), 1), step % world.actions)
        else:
            action = 2 * mdps.uniform(f"measure/action/{step}", 1, world.actions).to(torch.get_default_dtype()) - 1
        transition = call(world, "step", (task, state, action, noise[step]))
        state = transition.state
        results = state, transition.observation, transition.reward, transition.terminated
        parts += [part.clone() for part in results]
    return digest(repr(Settings(parts).value).encode())
