"""A short film of what adapting changes."""

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

from lightning_meta.core import InputError, MDPs, MetaRLLearner, Moved, Policy, World
from lightning_meta.envs.mujoco import Running
from lightning_meta.rl.memory_based import MemoryBased
from lightning_meta.training.base import MetaModule
from lightning_meta.training.monitor import boards

METRE, WIDTH, HEIGHT, GROUND = 90, 480, 170, 30  # pixels; GROUND from the lower edge
DEPTH = 0.35  # how far along the picture's axes a metre away from the viewer is
PAPER, LINE, LIMB, EDGE = "white", "#b0b0b0", "#c88a4a", "#5a3a1a"


class Clip(Callback):
    """At test in a world of MuJoCo: an episode before adapting and one of the adapted policy in each of two tasks, from the
    same start, drawn from the side one below the other. An animated GIF in the run's folder and in TensorBoard, at the pace
    of life.

    steps: of an episode, at most; every `every`th is a frame.
    """

    def __init__(self, steps: int = 100, every: int = 2):
        if not 0 < every < steps:
            raise InputError(
                f"a clip of steps {steps}, every {every}: give an `every` of 1 or more, and more steps than that"
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
        names, states = filmed(pl_module.learner, shown(batch), self.steps)
        frames = states[:, :: self.every]
        seconds = float((frames[0, 1:2, 0] - frames[0, 0, 0]).sum())  # none where an episode is one frame long
        gif = animated(names, pictures(batch.world, names, frames), seconds)
        path = Path(trainer.default_root_dir, f"{pl_module.test_name}_clip.gif")
        path.write_bytes(gif)
        rank_zero_info(f"clip: {path}")
        image = Summary.Image(height=HEIGHT * len(names), width=WIDTH, colorspace=3, encoded_image_string=gif)
        value = Summary.Value(tag=f"{pl_module.test_name}/clip", image=image)
        for board in boards(trainer):
            board._get_file_writer().add_summary(Summary(value=[value]), trainer.global_step)


def shown(mdps: MDPs) -> MDPs:
    """The tasks of a film: all where they are counted, otherwise two; all with the same luck."""
    seeds = mdps.seeds[:2]
    if mdps.world.tasks:
        seeds = torch.arange(mdps.world.tasks, device=seeds.device)
    return MDPs(mdps.world, seeds, mdps.draws[:1].expand(len(seeds)))


def filmed(agent: MetaRLLearner, mdps: MDPs, steps: int) -> tuple[list[str], Float[Tensor, "films time s"]]:
    """An episode of the prior in the first task, then one of phi in each: what each shows, and the states gone through. An
    episode that ends early stays where it ended. Of an agent that learns while it acts phi is as the last episode of a trial
    finds it, which is what it is judged by."""
    assert isinstance(mdps.world, Running)
    first = MDPs(mdps.world, mdps.seeds[:1], mdps.draws[:1])
    before = states_of(agent.prior(first), first, steps, agent.greedy)
    phi = agent.adapt(mdps, agent.episodes - 1) if isinstance(agent, MemoryBased) else agent.adapt(mdps)
    after = states_of(phi, mdps, steps, agent.greedy)
    time = max(before.shape[1], after.shape[1])
    films = [torch.cat([film, film[:, -1:].expand(-1, time - film.shape[1], -1)], 1) for film in (before, after)]
    names = [f"adapted: {name}" for name in mdps.world.names(mdps.task)]
    return ["before adapting", *names], torch.cat(films)


def states_of(policy: Policy, mdps: MDPs, steps: int, greedy: bool) -> Float[Tensor, "tasks time s"]:
    film = Film(mdps.world)
    lived, _ = MDPs(film, mdps.seeds, mdps.draws).rollout(policy, purpose="clip", steps=steps, greedy=greedy)
    states = torch.stack(film.states, 1)[:, :, 0]
    last = lived.valid[:, 0].sum(1) - 1  # the state after the end is that of another episode
    kept = torch.arange(states.shape[1], device=last.device).minimum(last.unsqueeze(1))
    return states.gather(1, kept.unsqueeze(-1).expand_as(states)).cpu()


class Film(World):
    """A world that keeps the states it was acted in, each [tasks, envs, s]."""

    def __init__(self, world: World):
        self.world, self.states = world, list[Tensor]()
        self.observations, self.actions, self.discrete = world.observations, world.actions, world.discrete
        self.horizon, self.noise, self.tasks = world.horizon, world.noise, world.tasks

    def task(self, seeds: Tensor) -> Any:
        return self.world.task(seeds)

    def reset(self, task: Any, u: Tensor) -> tuple[Tensor, Tensor]:
        return self.world.reset(task, u)

    def step(self, task: Any, state: Tensor, action: Tensor, u: Tensor) -> Moved:
        self.states.append(state)
        return self.world.step(task, state, action, u)


def pictures(world: Running, names: list[str], states: Float[Tensor, "films time s"]) -> list[Image.Image]:
    """A frame for each moment, a film below the other."""
    font, frames = ImageFont.load_default(14), []
    drawn = [world.physics.limbs(film) for film in states]
    for moment in range(states.shape[1]):
        frame = Image.new("RGB", (WIDTH, HEIGHT * len(names)), PAPER)
        pen = ImageDraw.Draw(frame)
        for row, (name, (ends, radius)) in enumerate(zip(names, drawn, strict=True)):
            far = float(states[row, moment, 1] - states[row, 0, 1])
            draw(pen, (row + 1) * HEIGHT - GROUND, ends[moment], radius, font)
            pen.text((8, row * HEIGHT + 4), f"{name}   {far:+.1f} m", EDGE, font)
        frames.append(frame)
    return frames


def draw(pen: ImageDraw.ImageDraw, ground: int, ends: Tensor, radius: Tensor, font: Any) -> None:
    """One animal from the side, the camera beside its torso, on a ground with a mark each metre."""
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
    """A GIF that begins again at its end, with the names as its comment."""
    file, colours = BytesIO(), [frame.quantize(32) for frame in frames]
    note, pause = ", ".join(names).encode(), round(1000 * seconds)
    colours[0].save(file, "GIF", save_all=True, append_images=colours[1:], duration=pause, loop=0, comment=note)
    return file.getvalue()
