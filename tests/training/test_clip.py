"""The clip of an adapted agent shows the states of its rollout."""

from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from PIL import Image, ImageChops
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.distributions import Distribution, Normal

from datamodules.worlds import Worlds
from lightning_meta.core import InputError, MDPs, Policy, TimeStep
from lightning_meta.envs import AntDirection, HalfCheetahDirection, HalfCheetahVelocity, Navigation
from lightning_meta.nn import SNAIL
from lightning_meta.rl import MAML, RL2
from lightning_meta.training import MetaRL
from lightning_meta.training.clip import Clip, clip_tasks, record_states, states_of
from support.policies import Anything
from support.trainer import SILENT, of_lightning


@dataclass(frozen=True)
class Push(Policy):
    """The same torques at every step, [tasks, torques]."""

    torque: Tensor

    def act(self, time_step: TimeStep) -> tuple[Distribution, Policy]:
        return Normal(self.torque.unsqueeze(1).expand(-1, time_step.previous_reward.shape[1], -1), 1e-6), self


def agent(world: HalfCheetahDirection | HalfCheetahVelocity | Navigation) -> MAML:
    torch.manual_seed(0)
    return MAML(world.observations, world.actions, False, hidden=(8,), envs=2, test_updates=1).eval()


def met(world: HalfCheetahDirection | HalfCheetahVelocity | AntDirection, tasks: int = 2) -> MDPs:
    return MDPs(world, torch.arange(tasks), torch.arange(tasks) + 7)


@of_lightning
def test_a_test_writes_a_clip_before_forward_backward(tmp_path: Path) -> None:
    world = HalfCheetahDirection(horizon=24)
    logger = TensorBoardLogger(tmp_path, name="", version="run")
    trainer = pl.Trainer(**{**SILENT, "logger": logger}, default_root_dir=tmp_path / "run", callbacks=[Clip(every=3)])
    trainer.test(MetaRL(agent(world)), datamodule=Worlds(world, meta_batch=2, test_tasks=4), verbose=False)
    logger.finalize("done")
    gif = Image.open(BytesIO((tmp_path / "run/meta_test_clip.gif").read_bytes()))
    assert gif.info["comment"] == b"before adapting, adapted: forward, adapted: backward"
    assert (gif.n_frames, gif.info["duration"]) == (24 // 3, 150), "three steps of 0.05 s"
    frames = []
    for moment in range(gif.n_frames):
        gif.seek(moment)
        frames.append(gif.convert("L"))
    rows = [[frame.crop((0, y, frame.width, y + frame.height // 3)) for frame in frames] for y in row_tops(frames[0])]
    for row in rows:
        assert all(ImageChops.difference(a, b).getbbox() for a, b in pairwise(row)), "it moves"
    assert all(ImageChops.difference(rows[a][0], rows[b][0]).getbbox() for a, b in ((0, 1), (1, 2))), "other labels"
    (events,) = (tmp_path / "run").glob("events*")
    (image,) = EventAccumulator(str(events)).Reload().Images("meta_test/clip")
    again = Image.open(BytesIO(image.encoded_image_string))
    assert (again.n_frames, again.size) == (8, (image.width, image.height))


def row_tops(frame: Image.Image) -> list[int]:
    return [row * frame.height // 3 for row in range(3)]


def test_a_clip_shows_the_states_of_the_rollout() -> None:
    world = HalfCheetahDirection(horizon=12)
    mdps, policy = met(world), Push(torch.tensor([[0.9] * 6, [-0.9] * 6]))
    states = states_of(policy, mdps, 10, False)
    trajectory, _ = mdps.rollout(policy, purpose="clip", steps=10)
    torch.testing.assert_close(world.observe(states).float(), trajectory.time_steps.observation[:, 0])
    assert states[0, -1, 1] != states[1, -1, 1]


def test_a_clip_of_an_ant_that_falls_ends_with_the_fall() -> None:
    world = AntDirection(horizon=100)
    mdps, policy = met(world, 16), Anything(world)
    states, (trajectory, _) = states_of(policy, mdps, 100, False), mdps.rollout(policy, purpose="clip")
    fallen = trajectory.terminated[:, 0].any(1)
    assert fallen.any()
    assert not fallen.all()
    for film, ended in zip(states[fallen], trajectory.terminated[fallen, 0], strict=True):
        last = int(ended.long().argmax())
        torch.testing.assert_close(film[last:], film[last].expand_as(film[last:]), rtol=0, atol=0)
        assert (film[1 : last + 1, 0] > film[:last, 0]).all(), "until then time goes on"


def test_the_tasks_of_a_clip() -> None:
    batch = met(HalfCheetahDirection(), 6)
    assert clip_tasks(MDPs(batch.world, batch.seeds[1:], batch.noise_seeds[1:])).seeds.tolist() == [0, 1], (
        "both there are"
    )
    mdps = clip_tasks(met(HalfCheetahVelocity(), 6))
    assert mdps.seeds.tolist() == [0, 1]
    assert mdps.noise_seeds.tolist() == [7, 7], "from the same start"
    names, states = record_states(agent(HalfCheetahVelocity()), mdps, 4)
    speeds = [f"adapted: {speed:.1f} m/s" for speed in mdps.task.tolist()]
    assert names == ["before adapting", *speeds]
    torch.testing.assert_close(states[:, 0], states[:1, 0].expand(3, -1), rtol=0, atol=0)


def test_limbs_are_where_the_body_has_them() -> None:
    cheetah = HalfCheetahDirection().physics
    ends, radius = cheetah.limbs(cheetah.upright[None])
    assert ends.shape == (1, 8, 2, 3)
    torch.testing.assert_close(ends[0, 0].sort(0).values, torch.tensor([[-0.5, 0, 0.7], [0.5, 0, 0.7]]).double())
    assert radius.unique().tolist() == [0.046]
    ant = AntDirection().physics
    ends, radius = ant.limbs(ant.upright[None])
    torch.testing.assert_close(ends[0, 0], torch.tensor([[0, 0, 0.75], [0, 0, 0.75]]).double())
    torch.testing.assert_close(ends[0].mean((0, 1)), torch.tensor([0, 0, 0.75]).double(), msg="it is symmetric")
    assert radius.tolist() == [0.25] + [0.08] * 12


@of_lightning
def test_worlds_without_mujoco_have_no_clip(tmp_path: Path) -> None:
    world = Navigation(horizon=3)
    trainer = pl.Trainer(**SILENT, default_root_dir=tmp_path, callbacks=[Clip()])
    trainer.test(MetaRL(agent(world)), datamodule=Worlds(world, meta_batch=2, test_tasks=2), verbose=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"every": 0}, {"steps": 4, "every": 4}])
def test_a_clip_of_no_frames_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="give an `every` of 1 or more"):
        Clip(**wrong)


def test_the_clip_of_a_memory_based_agent_shows_the_last_episode_of_a_trial() -> None:
    """With a network that reads no step more."""
    agent = RL2(SNAIL(length=12, width=8, filters=4), 17, 6, discrete=False, episodes=2).eval()
    mdps = met(HalfCheetahDirection(horizon=6))
    names, states = record_states(agent, mdps, 10)
    assert states.shape == (3, 6, 19)
    assert names[1:] == ["adapted: forward", "adapted: backward"]
    assert not torch.equal(states[0], states[1]), "it knows the first episode"
