"""MuJoCo behind tensors: a batch of bodies, advanced by `mujoco.rollout` without a Python loop over them."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_meta.core import InputError

PHYSICS_STEPS = 5  # per action, gymnasium's `frame_skip`
MISSING = "MuJoCo worlds need mujoco and gymnasium, which are not installed: pip install 'lightning-meta[rl]'"


class Physics:
    """The physics of a body of gymnasium, for any number of states [..., s]: time in seconds, positions, velocities.

    It runs on as many threads as torch has, with the same result on any number. Solvers start cold at every action, so the
    result is a function of state and torque only.

    Args:
        file: The name of a model file that comes with gymnasium.
    """

    def __init__(self, file: str):
        mujoco, text = read_model(file)
        self.file, self.mujoco = file, mujoco
        mass = re.search(r' settotalmass="([\d.]+)"', text)  # deprecated, with a warning at each compilation
        self.model = mujoco.MjModel.from_xml_string(text.replace(mass[0], "") if mass else text)
        if mass:
            mujoco.mj_setTotalmass(self.model, float(mass[1]))
            mujoco.mj_setConst(self.model, mujoco.MjData(self.model))
        threads = torch.get_num_threads()
        self.data = [mujoco.MjData(self.model) for _ in range(threads)]
        self.pool = mujoco.rollout.Rollout(nthread=threads if threads > 1 else 0)
        self.seconds = PHYSICS_STEPS * self.model.opt.timestep  # per action
        self.positions, self.velocities, self.torques = self.model.nq, self.model.nv, self.model.nu
        self.upright = torch.cat([torch.zeros(1), torch.tensor(self.model.qpos0), torch.zeros(self.velocities)])

    def __reduce__(self) -> Any:
        return Physics, (self.file,)

    def advance(self, state: Float[Tensor, "*n s"], torque: Float[Tensor, "*n torques"]) -> Float[Tensor, "*n s"]:
        """Return the states after one action with these torques, each in [-1, 1]."""
        start = state.flatten(0, -2).cpu().numpy()
        control = torque.flatten(0, -2).cpu().unsqueeze(1).expand(-1, PHYSICS_STEPS, -1).contiguous().numpy()
        states, _ = self.pool.rollout(self.model, self.data, start, control)
        return torch.from_numpy(states[:, -1].copy()).reshape(state.shape).to(state.device)

    def limbs(self, state: Float[Tensor, "n s"]) -> tuple[Float[Tensor, "n limbs 2 3"], Float[Tensor, " limbs"]]:
        """Return both ends of each limb, x, y and z in metres, and the radii of the limbs."""
        model, data = self.model, self.data[0]
        limbs = [i for i in range(model.ngeom) if model.geom_bodyid[i]]  # the ground is body 0
        radius, half = torch.from_numpy(model.geom_size[limbs]).unbind(1)[:2]
        ends = []
        for positions in state[:, 1 : 1 + self.positions].cpu().numpy():
            data.qpos[:] = positions
            self.mujoco.mj_kinematics(model, data)
            middle, axis = torch.from_numpy(data.geom_xpos[limbs]), torch.from_numpy(data.geom_xmat[limbs])
            along = half.unsqueeze(1) * axis[:, 2::3]
            ends.append(torch.stack([middle - along, middle + along], 1))
        return torch.stack(ends), radius


def read_model(file: str) -> tuple[Any, str]:
    """Return the module mujoco and the text of a model of gymnasium. Raise InputError if either is not installed."""
    try:
        import mujoco.rollout
    except ImportError as error:
        raise InputError(MISSING) from error
    gymnasium = find_spec("gymnasium")
    if not (gymnasium and gymnasium.origin):
        raise InputError(MISSING)
    return mujoco, Path(gymnasium.origin).with_name("envs").joinpath("mujoco", "assets", file).read_text()
