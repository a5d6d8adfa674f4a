"""MuJoCo behind tensors: bodies by the batch, advanced by `mujoco.rollout` without a Python loop over them."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_meta.core import InputError

PHYSICS_STEPS = 5  # that an action lasts, gymnasium's `frame_skip`
MISSING = "worlds of MuJoCo need it and gymnasium, which are not installed: pip install 'lightning-meta[rl]'"


class Physics:
    """A body of gymnasium's, as many as there are states [..., s]: time in seconds, places, velocities. On as many threads
    as torch has, with the same result on any number.

    Solvers begin cold at every action, so that what happens is a function of state and torque alone.
    """

    def __init__(self, file: str):
        mujoco, text = installed(file)
        self.file, self.mujoco = file, mujoco
        mass = re.search(r' settotalmass="([\d.]+)"', text)  # deprecated, and told so at each compilation
        self.model = mujoco.MjModel.from_xml_string(text.replace(mass[0], "") if mass else text)
        if mass:
            mujoco.mj_setTotalmass(self.model, float(mass[1]))
            mujoco.mj_setConst(self.model, mujoco.MjData(self.model))
        threads = torch.get_num_threads()
        self.data = [mujoco.MjData(self.model) for _ in range(threads)]
        self.pool = mujoco.rollout.Rollout(nthread=threads if threads > 1 else 0)
        self.seconds = PHYSICS_STEPS * self.model.opt.timestep  # that an action lasts
        self.places, self.velocities, self.torques = self.model.nq, self.model.nv, self.model.nu
        self.upright = torch.cat([torch.zeros(1), torch.tensor(self.model.qpos0), torch.zeros(self.velocities)])

    def __reduce__(self) -> Any:
        return Physics, (self.file,)

    def moved(self, state: Float[Tensor, "*n s"], torque: Float[Tensor, "*n torques"]) -> Float[Tensor, "*n s"]:
        """Where these torques, in [-1, 1], lead in one action."""
        begun = state.flatten(0, -2).cpu().numpy()
        held = torque.flatten(0, -2).cpu().unsqueeze(1).expand(-1, PHYSICS_STEPS, -1).contiguous().numpy()
        led, _ = self.pool.rollout(self.model, self.data, begun, held)
        return torch.from_numpy(led[:, -1].copy()).reshape(state.shape).to(state.device)

    def limbs(self, state: Float[Tensor, "n s"]) -> tuple[Float[Tensor, "n limbs 2 3"], Float[Tensor, " limbs"]]:
        """Where both ends of each limb are, x, y and z in metres, and how thick the limbs are, as radii."""
        model, data = self.model, self.data[0]
        limbs = [i for i in range(model.ngeom) if model.geom_bodyid[i]]  # the ground is body 0
        radius, half = torch.from_numpy(model.geom_size[limbs]).unbind(1)[:2]
        ends = []
        for places in state[:, 1 : 1 + self.places].cpu().numpy():
            data.qpos[:] = places
            self.mujoco.mj_kinematics(model, data)
            middle, axis = torch.from_numpy(data.geom_xpos[limbs]), torch.from_numpy(data.geom_xmat[limbs])
            along = half.unsqueeze(1) * axis[:, 2::3]
            ends.append(torch.stack([middle - along, middle + along], 1))
        return torch.stack(ends), radius


def installed(file: str) -> tuple[Any, str]:
    """MuJoCo, and the text of a model that comes with gymnasium; InputError where either is not there."""
    try:
        import mujoco.rollout
    except ImportError as error:
        raise InputError(MISSING) from error
    gymnasium = find_spec("gymnasium")
    if not (gymnasium and gymnasium.origin):
        raise InputError(MISSING)
    return mujoco, Path(gymnasium.origin).with_name("envs").joinpath("mujoco", "assets", file).read_text()
