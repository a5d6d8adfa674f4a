"""A short clip of what adapting changes in a MuJoCo world."""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from lightning_utilities.core.rank_zero import rank_zero_info
from PIL import Image, ImageDraw, ImageFont
from pytorch_lightning import Callback, LightningModule, Trainer
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[attr-defined]  # made by protobuf
from torch import Tensor

from lightning_meta.core import InputError, MDPs, MetaRLLearner, Policy, Transition, World
from lightning_meta.envs.running import Running
from lightning_meta.training.base import MetaModule
from lightning_meta.training.tensorboard import boards

METRE, WIDTH, HEIGHT, GROUND = 90, 480, 170, 30  # pixels; GROUND from the lower edge
DEPTH = 0.35  # the shift along the picture's axes per metre away from the viewer
PAPER, LINE, LIMB, EDGE = "white", "#b0b0b0", "#c88a4a", "#5a3a1a"


class Clip(Callback):
    """Draw what adapting changes, at test in a MuJoCo world.

    The clip shows one episode before adapting and one of the adapted policy in each of two tasks, from the same start, drawn
    from the side one below the other. It is an animated GIF in the folder of the run and in TensorBoard, at real speed.

    Args:
        steps: The largest number of steps of an episode.
        every: The number of steps per frame.
    """

    def __init__(self, steps: int = 100, every: int = 2):
        if not 0 < every < steps:
            raise InputError(
                f"steps is {steps} and every {every}: give an `every` of 1 or more, and more steps than that"
            )
        self.steps, self.every = steps, every

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002  Lightning's signature
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        if batch_idx or not (isinstance(batch, MDPs) and isinstance(batch.world, Running)):
            return
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, MetaModule)
        assert isinstance(pl_module.learner, MetaRLLearner)
        names, states = record_states(pl_module.learner, clip_tasks(batch), self.steps)
        frames = states[:, :: self.every]
        seconds = float((frames[0, 1:2, 0] - frames[0, 0, 0]).sum())  # 0 if an episode is one frame long
        gif = animated(names, pictures(batch.world, names, frames), seconds)
        path = Path(trainer.default_root_dir, f"{pl_module.test_stage.file}_clip.gif")
        path.write_bytes(gif)
        rank_zero_info(f"clip: {path}")
        image = Summary.Image(height=HEIGHT * len(names), width=WIDTH, colorspace=3, encoded_image_string=gif)
        value = Summary.Value(tag=f"{pl_module.test_stage.tag}/clip", image=image)
        for board in boards(trainer):
            board._get_file_writer().add_summary(Summary(value=[value]), trainer.global_step)


def clip_tasks(mdps: MDPs) -> MDPs:
    """Return the tasks of a clip: all if their number is finite, otherwise two; all with the same random numbers."""
    seeds = mdps.seeds[:2]
    if mdps.world.tasks:
        seeds = torch.arange(mdps.world.tasks, device=seeds.device)
    return MDPs(mdps.world, seeds, mdps.noise_seeds[:1].expand(len(seeds)))


def record_states(agent: MetaRLLearner, mdps: MDPs, steps: int) -> tuple[list[str], Float[Tensor, "rows time s"]]:
    """Return captions and states of an episode of the prior in the first task and one of phi in each task.

    An episode that ends early stays in its last state. phi acts in the last episode of a trial, which is the one that is
    scored.
    """
    assert isinstance(mdps.world, Running)
    first = MDPs(mdps.world, mdps.seeds[:1], mdps.noise_seeds[:1])
    before = states_of(agent.prior(first), first, steps, agent.greedy)
    after = states_of(agent.last_episode_policy(mdps), mdps, steps, agent.greedy)
    time = max(before.shape[1], after.shape[1])
    rows = [torch.cat([row, row[:, -1:].expand(-1, time - row.shape[1], -1)], 1) for row in (before, after)]
    names = [f"adapted: {name}" for name in mdps.world.describe(mdps.task)]
    return ["before adapting", *names], torch.cat(rows)


def states_of(policy: Policy, mdps: MDPs, steps: int, greedy: bool) -> Float[Tensor, "tasks time s"]:
    """Return the states of one episode of a policy."""
    world = StateRecorder(mdps.world)
    recorded = MDPs(world, mdps.seeds, mdps.noise_seeds)
    trajectory, _ = recorded.rollout(policy, purpose="clip", steps=steps, greedy=greedy)
    states = torch.stack(world.states, 1)[:, :, 0]
    last = trajectory.valid[:, 0].sum(1) - 1  # the state after the end is that of another episode
    kept = torch.arange(states.shape[1], device=last.device).minimum(last.unsqueeze(1))
    return states.gather(1, kept.unsqueeze(-1).expand_as(states)).cpu()


class StateRecorder(World):
    """Another world, of which the states in which an action was taken are kept, each [tasks, envs, s]."""

    def __init__(self, world: World):
        self.world, self.states = world, list[Tensor]()
        self.observations, self.actions, self.discrete = world.observations, world.actions, world.discrete
        self.horizon, self.noise, self.tasks = world.horizon, world.noise, world.tasks

    def task(self, seeds: Tensor) -> Any:
        return self.world.task(seeds)

    def reset(self, task: Any, u: Tensor) -> tuple[Tensor, Tensor]:
        return self.world.reset(task, u)

    def step(self, task: Any, state: Tensor, action: Tensor, u: Tensor) -> Transition:
        self.states.append(state)
        return self.world.step(task, state, action, u)


def pictures(world: Running, names: list[str], states: Float[Tensor, "rows time s"]) -> list[Image.Image]:
    """Draw one frame per time step, with the rows below each other."""
    font, frames = ImageFont.load_default(14), []
    limbs = [world.physics.limbs(row) for row in states]
    for time in range(states.shape[1]):
        frame = Image.new("RGB", (WIDTH, HEIGHT * len(names)), PAPER)
        pen = ImageDraw.Draw(frame)
        for row, (name, (ends, radius)) in enumerate(zip(names, limbs, strict=True)):
            far = float(states[row, time, 1] - states[row, 0, 1])
            draw(pen, (row + 1) * HEIGHT - GROUND, ends[time], radius, font)
            pen.text((8, row * HEIGHT + 4), f"{name}   {far:+.1f} m", EDGE, font)
        frames.append(frame)
    return frames


def draw(pen: ImageDraw.ImageDraw, ground: int, ends: Tensor, radius: Tensor, font: Any) -> None:
    """Draw a body from the side, with the camera beside its torso, on a ground with a mark per metre."""
    x, y, _ = ends[0].mean(0).tolist()
    pen.line([(0, ground), (WIDTH, ground)], LINE, 2)
    for mark in range(int(x) - 3, int(x) + 4):
        across = WIDTH / 2 + METRE * (mark - x)
        pen.line([(across, ground), (across, ground + 6)], LINE, 2)
        pen.text((across, ground + 8), str(mark), LINE, font, anchor="ma")
    away = ends[..., 1] - y
    flat = torch.stack([ends[..., 0] - x + DEPTH * away, -ends[..., 2] - DEPTH * away], -1) * METRE
    flat = flat + torch.tensor([WIDTH / 2, ground])
    for limb in away.mean(1).argsort(descending=True).tolist():  # the farthest first
        thick = METRE * float(radius[limb])
        for colour, r in ((EDGE, thick + 1), (LIMB, thick - 1)):
            (a, b), (c, d) = flat[limb].tolist()
            pen.line([(a, b), (c, d)], colour, round(2 * r))
            for u, v in ((a, b), (c, d)):
                pen.ellipse([u - r, v - r, u + r, v + r], colour)


def animated(names: list[str], frames: list[Image.Image], seconds: float) -> bytes:
    """Return a GIF that repeats, with the names as its comment."""
    file, colours = BytesIO(), [frame.quantize(32) for frame in frames]
    note, pause = ", ".join(names).encode(), round(1000 * seconds)
    colours[0].save(file, "GIF", save_all=True, append_images=colours[1:], duration=pause, loop=0, comment=note)
    return file.getvalue()
