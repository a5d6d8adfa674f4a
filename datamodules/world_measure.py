"""A measurement of what a world does: two that are made alike may pose different tasks because of what they keep elsewhere."""

from typing import Any

import torch

from datamodules.world_settings import Settings, digest
from lightning_meta.core import MDPs
from lightning_meta.core.world_calls import call

STEPS = 3


def measured(mdps: MDPs) -> str:
    """A digest of the tasks, of how an episode and a later one begin, and of a few steps under fixed actions."""
    world, task = mdps.world, mdps.task
    luck = mdps.chance("measure", STEPS + 2, 1, world.noise).movedim(1, 0)
    found: list[Any] = [task, call(world, "again", (task, luck[-1]))]
    state, observation = call(world, "reset", (task, luck[-2]))
    found += [state.clone(), observation.clone()]
    for step in range(STEPS):
        if world.discrete:
            action = torch.full((len(mdps), 1), step % world.actions)
        else:
            action = 2 * mdps.chance(f"measure/action/{step}", 1, world.actions).to(torch.get_default_dtype()) - 1
        moved = call(world, "step", (task, state, action, luck[step]))
        state = moved.state
        found += [part.clone() for part in (state, moved.observation, moved.reward, moved.terminated)]
    return digest(repr(Settings(found).value).encode())
